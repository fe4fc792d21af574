"""What lies in the data folders, as the digests that a spec pins in ``science.index.manifests``.

A dataset's manifest is over its files (`datasets.digest`). A benchmark's is over its questions and the
bytes of their images: benchmarks take their images from datasets, so they have no files of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fundus_r1.benchmarks import BENCHMARKS, RawQuestion, load_benchmark
from fundus_r1.datasets.digest import Contents
from fundus_r1.fingerprint import fingerprint
from fundus_r1.pictures import Source, Span


class Manifests:
    """Digests of what lies in data folders; each file is read once.

    Args:
        roots: the folders.

    Raises:
        DataError: a folder is missing or a file cannot be read.
    """

    def __init__(self, roots: Sequence[Path]):
        self._roots = roots
        self._contents = Contents(roots)

    def data_digest(self) -> str:
        """SHA-256 over all of it, 64 hexadecimal digits."""
        return self._contents.digest()

    def of(self, name: str) -> str | None:
        """SHA-256 of a dataset's or a benchmark's manifest, 64 hexadecimal digits; None if it is not there.

        Raises:
            DataError: a benchmark is there and cannot be read.
        """
        if name not in BENCHMARKS:
            return self._contents.manifest(name)
        questions = [question for root in self._roots for question in load_benchmark(name, root)]
        if not questions:
            return None
        return fingerprint(sorted((self._question(question) for question in questions), key=fingerprint))

    def _question(self, question: RawQuestion) -> list[object]:
        return [
            question.question_id,
            question.task,
            question.subtask,
            question.question,
            question.options,
            list(question.answers),
            self._picture(question.file),
        ]

    def _picture(self, source: Source) -> list[object]:
        if isinstance(source, Span):
            return [self._contents.of_file(source.file), source.offset, source.length]
        return [self._contents.of_file(source)]
