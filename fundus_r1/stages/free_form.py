"""Free-form traces: what a vision model writes from image, question and answer alone (Tab. 3, Tab. 6).

They are the paper's baseline. Its model sees no findings and no knowledge. The unit of work is a part
of the index, whose images are read one part at a time and only where a trace is wanted; a try that
died is not paid for twice. A model in process is loaded when the first image is to be looked at; one
that needs an endpoint is opened at once, so that a missing address or key is told before any work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fundus_r1.errors import StageError
from fundus_r1.fingerprint import sha256
from fundus_r1.models.protocol import VisionModel, VisionRequest
from fundus_r1.models.vision import open_vision
from fundus_r1.progress import Progress
from fundus_r1.prompts.free import free_question
from fundus_r1.prompts.material import Material
from fundus_r1.rows import Sample, Trace
from fundus_r1.spec.models import ServedModel, VisionRef
from fundus_r1.spec.science import TracesScience
from fundus_r1.stages.base import Context
from fundus_r1.stages.material import as_trace
from fundus_r1.storage.lines import json_lines
from fundus_r1.storage.output import StageOutput
from fundus_r1.storage.parts import PartSet
from fundus_r1.storage.tables import from_parquet


class FreeForm:
    """Composes free-form traces.

    Args:
        ctx: of the running stage; its inputs hold index.
        ref: the vision model.
        science: how it is asked.
        materials: what traces are wanted of; the same in every try of the same fingerprint, in the
            order of the index. The model is not opened for none.

    Raises:
        ModelError: the model needs an endpoint or a key and has none.
    """

    def __init__(
        self, ctx: Context[Any], ref: VisionRef, science: TracesScience, materials: Sequence[Material]
    ):
        self._ctx = ctx
        self._ref = ref
        self._science = science
        self._index = ctx.inputs["index"]
        self._materials = materials
        self._model: VisionModel | None = None
        if materials and (ctx.placement.endpoints.free_form or isinstance(ref, ServedModel)):
            self._opened()

    def compose(self) -> list[Trace]:
        """One trace for each triplet, in order.

        Raises:
            ModelError: the model cannot be had, or failed.
            StageError: an image is not in the index.
        """
        materials = self._materials
        if not materials:
            return []
        wanted: dict[str, list[Material]] = defaultdict(list)
        for material in materials:
            wanted[material.triplet.sample_id].append(material)
        held = parts_with(self._index, {name: len(mine) for name, mine in wanted.items()})
        names = list(held)
        parts = PartSet(
            self._ctx.store,
            f"{self._ctx.output.prefix}/free",
            len(names),
            self._ctx.placement.findings.lease_s,
        )
        progress = Progress(self._ctx.output.stage, len(materials), "free-form traces")
        progress.set(len(materials) - sum(held[names[part]] for part in parts.missing()))

        def compute(part: int) -> tuple[bytes, int]:
            rows = []
            for row in self._part(names[part], wanted):
                rows.append(row)
                progress.advance()
            return json_lines(rows), len(rows)

        try:
            parts.work(0, compute)
        finally:
            if self._model is not None:
                self._model.close()
        made = {row.triplet_id: row for part in range(len(names)) for row in parts.rows(part, Trace)}
        return [made[material.triplet.triplet_id] for material in materials]

    def counts(self) -> dict[str, int]:
        """What asking took in this try, for the record."""
        used = self._model.usage.counts() if self._model else {}
        return {f"free_form_{name}": count for name, count in used.items()}

    def _part(self, name: str, wanted: dict[str, list[Material]]) -> Iterator[Trace]:
        images = {
            sample.sample_id: image
            for sample, image in from_parquet(self._index.read_bytes(name), Sample)
            if sample.sample_id in wanted
        }
        asked = [material for sample_id in images for material in wanted[sample_id]]
        requests = (self._request(material, images[material.triplet.sample_id]) for material in asked)
        for material, answer in zip(asked, self._opened().generate(requests), strict=True):
            yield as_trace(material, "free", answer.texts[0], answer.model)

    def _request(self, material: Material, image: bytes) -> VisionRequest:
        return VisionRequest(
            image=image,
            prompt=free_question(material.triplet),
            n=1,
            max_tokens=self._science.free_max_tokens,
            temperature=self._science.free_temperature,
            seed=int(sha256(material.triplet.triplet_id.encode())[:12], 16),
        )

    def _opened(self) -> VisionModel:
        if self._model is None:
            place, store = self._ctx.placement, self._ctx.store
            self._model = open_vision(
                self._ref, place, place.endpoints.free_form, role="free_form", store=store, weights=store
            )
        return self._model


def parts_with(index: StageOutput, wanted: Mapping[str, int]) -> dict[str, int]:
    """The parts of the index that hold an image that is wanted, in order.

    Args:
        index: output of the stage.
        wanted: sample id -> how many traces of its image.

    Returns:
        Name of the part -> how many traces of its images.

    Raises:
        StageError: the parts do not hold the samples that the index lists.
    """
    names = index.names("samples/")
    held = [index.record.files[name].rows or 0 for name in names]
    samples = [sample.sample_id for sample in index.read_rows("samples.jsonl", Sample)]
    if sum(held) != len(samples) or not wanted.keys() <= set(samples):
        raise StageError(
            "The index does not hold the images that free-form traces are wanted of",
            where=f"{sum(held)} images in {len(names)} parts, {len(samples)} samples",
            hint="delete the index's record in the store and run again",
        )
    found, start = {}, 0
    for name, rows in zip(names, held, strict=True):
        if traces := sum(wanted.get(sample_id, 0) for sample_id in samples[start : start + rows]):
            found[name] = traces
        start += rows
    return found
