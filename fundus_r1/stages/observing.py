"""A worker of stage 3: the rows of one part of the index (paper, Sec. 3.2.2).

The observer is asked about each image in several rollouts, which vote. An image with masks takes
its findings from them; it is asked all the same if `observe_masked`, so that the observer can be
measured (Tab. 6). What is asked of a sample, and with which seed, depends on the sample and the
spec alone, never on the part or the worker.

The images of a part go to the observer as one stream, so that it is busy until the part's last
one. Parts do not overlap: a worker that is killed loses one part at most.
"""

from __future__ import annotations

from collections.abc import Iterator

from fundus_r1.errors import ModelError
from fundus_r1.fingerprint import sha256
from fundus_r1.models.presence import asked_of, parse_rollout, question, schema, vote
from fundus_r1.models.protocol import VisionAnswer, VisionModel, VisionRequest
from fundus_r1.models.vision import open_vision
from fundus_r1.progress import Progress
from fundus_r1.rows import Findings, Sample, VocabularyEntry
from fundus_r1.spec import Spec
from fundus_r1.spec.models import VisionRef
from fundus_r1.spec.science import FindingsScience
from fundus_r1.stages.base import Context
from fundus_r1.stages.workers import WorkerLog
from fundus_r1.storage.lines import json_lines
from fundus_r1.storage.tables import from_parquet


class FindingsSlice(Spec):
    """What of the science the findings depend on."""

    findings: FindingsScience
    observer: VisionRef


def open_observer(ctx: Context[FindingsSlice]) -> VisionModel:
    """The observer, in process or at its endpoint."""
    place = ctx.placement
    return open_vision(
        ctx.science.observer, place, place.endpoints.observer, role="observer", weights=ctx.store
    )


class Observing:
    """Computes parts; the observer is loaded when the first image is to be asked about.

    Args:
        ctx: the stage's.
        progress: is told of each image.
        log: is told of each part.
    """

    def __init__(self, ctx: Context[FindingsSlice], progress: Progress, log: WorkerLog):
        self._ctx = ctx
        self._science = ctx.science.findings
        self._progress = progress
        self._log = log
        self._names = ctx.inputs["index"].names("samples/")
        rows = ctx.inputs["knowledge"].read_rows("vocabulary.jsonl", VocabularyEntry)
        self._vocabulary = {(entry.label, entry.modality): entry for entry in rows}
        self._model: VisionModel | None = None
        self._begun = False

    def part(self, number: int) -> tuple[bytes, int]:
        """The rows of one part of the index, as JSON lines."""
        samples = from_parquet(self._ctx.inputs["index"].read_bytes(self._names[number]), Sample)
        rows = list(self._rows(samples))
        self._log.done(len(rows), self._model.usage.counts() if self._model else {})
        return json_lines(rows), len(rows)

    def _rows(self, samples: list[tuple[Sample, bytes]]) -> Iterator[Findings]:
        """A row for each sample, in order, as the observer's answers arrive."""
        asked = [self._asked(sample) for sample, _ in samples]
        requests = (
            self._request(sample, image, findings)
            for (sample, image), findings in zip(samples, asked, strict=True)
            if findings
        )
        model = self._observer() if any(asked) else None
        self._begin()
        answers = iter(model.generate(requests) if model else ())
        for (sample, _), findings in zip(samples, asked, strict=True):
            yield self._row(sample, findings, self._next(answers, sample) if findings else None)
            self._progress.advance()
        if next(answers, None) is not None:
            raise self._lost("more answers than it was asked for", samples[-1][0])

    def _begin(self) -> None:
        """Rates count from here: loading the observer may take longer than a part."""
        if not self._begun:
            self._begun = True
            self._progress.begin()
            self._log.begin()

    def _next(self, answers: Iterator[VisionAnswer], sample: Sample) -> VisionAnswer:
        answer = next(answers, None)
        if answer is None:
            raise self._lost("no answer", sample)
        return answer

    def _lost(self, what: str, sample: Sample) -> ModelError:
        return ModelError(
            f"The observer gave {what}",
            where=sample.sample_id,
            hint="this is a fault of the program, not of the model",
        )

    def _asked(self, sample: Sample) -> tuple[str, ...]:
        if sample.findings is not None and not self._science.observe_masked:
            return ()
        return asked_of(sample, self._vocabulary)

    def _request(self, sample: Sample, image: bytes, asked: tuple[str, ...]) -> VisionRequest:
        science = self._science
        return VisionRequest(
            image=image,
            prompt=question(sample.modality, asked),
            n=science.rollouts,
            max_tokens=science.max_tokens,
            temperature=science.temperature,
            seed=int(sha256(f"{science.seed}:{sample.sample_id}".encode())[:12], 16),
            schema=schema(asked),
        )

    def _row(self, sample: Sample, asked: tuple[str, ...], answer: VisionAnswer | None) -> Findings:
        texts = answer.texts if answer else ()
        cast = vote([parse_rollout(text, asked) for text in texts], asked, self._science.votes_over)
        return Findings(
            sample_id=sample.sample_id,
            modality=sample.modality,
            source="observer" if sample.findings is None else "pixel",
            asked=asked,
            rollouts=len(texts),
            votes=cast.votes,
            abstentions=cast.abstentions,
            observed=cast.kept,
            present=cast.kept if sample.findings is None else sample.findings,
            raw=texts,
            model=answer.model if answer else "",
        )

    def _observer(self) -> VisionModel:
        if self._model is None:
            self._model = open_observer(self._ctx)
        return self._model

    def close(self) -> None:
        """Frees the observer, if it was loaded."""
        if self._model is not None:
            self._model.close()
