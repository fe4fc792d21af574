"""A worker of stage 3: the rows of one part of the index (paper, Sec. 3.2.2).

The observer is asked about each image in several rollouts, which vote. An image with masks takes
its findings from them; it is asked all the same if `observe_masked`, so that the observer can be
measured (Tab. 6). What is asked of a sample, and with which seed, depends on the sample and the
spec alone, never on the part or the worker.
"""

from __future__ import annotations

from collections.abc import Sequence

from fundus_r1.fingerprint import sha256
from fundus_r1.models.presence import asked_of, parse_rollout, question, schema, vote
from fundus_r1.models.protocol import VisionAnswer, VisionModel, VisionRequest
from fundus_r1.models.weights import materialise, model_cache, model_id
from fundus_r1.progress import Progress
from fundus_r1.rows import Findings, Sample, VocabularyEntry
from fundus_r1.spec import Spec
from fundus_r1.spec.models import ModelRef
from fundus_r1.spec.science import FindingsScience
from fundus_r1.stages.base import Context
from fundus_r1.storage.tables import from_parquet

CHUNK = 32
"""Images asked about at once, between two reports of progress."""


class FindingsSlice(Spec):
    """What of the science the findings depend on."""

    findings: FindingsScience
    observer: ModelRef


def open_observer(ctx: Context[FindingsSlice]) -> VisionModel:
    """Loads the observer on this machine; the weights are made or fetched if need be."""
    from fundus_r1.models.vllm_engine import VllmVision

    ref, place = ctx.science.observer, ctx.placement
    return VllmVision(materialise(ref, model_cache(place)), place.engine, model_name=model_id(ref))


class Observing:
    """Computes parts; the observer is loaded when the first image is to be asked about.

    Args:
        ctx: the stage's.
        progress: is told of each image.
    """

    def __init__(self, ctx: Context[FindingsSlice], progress: Progress):
        self._ctx = ctx
        self._science = ctx.science.findings
        self._progress = progress
        self._names = ctx.inputs["index"].names("samples/")
        rows = ctx.inputs["knowledge"].read_rows("vocabulary.jsonl", VocabularyEntry)
        self._vocabulary = {(entry.label, entry.modality): entry for entry in rows}
        self._model: VisionModel | None = None

    def part(self, number: int) -> tuple[bytes, int]:
        """The rows of one part of the index, as JSON lines."""
        samples = from_parquet(self._ctx.inputs["index"].read_bytes(self._names[number]), Sample)
        rows: list[Findings] = []
        for start in range(0, len(samples), CHUNK):
            chunk = samples[start : start + CHUNK]
            rows += self._rows(chunk)
            self._progress.advance(len(chunk))
        return "".join(f"{row.model_dump_json()}\n" for row in rows).encode(), len(rows)

    def _rows(self, samples: Sequence[tuple[Sample, bytes]]) -> list[Findings]:
        asked = {sample.sample_id: self._asked(sample) for sample, _ in samples}
        requests = {
            sample.sample_id: self._request(sample, image, asked[sample.sample_id])
            for sample, image in samples
            if asked[sample.sample_id]
        }
        answers: dict[str, VisionAnswer] = {}
        if requests:
            answers = dict(zip(requests, self._observer().generate(list(requests.values())), strict=True))
        return [
            self._row(sample, asked[sample.sample_id], answers.get(sample.sample_id)) for sample, _ in samples
        ]

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
