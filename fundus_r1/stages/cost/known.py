"""How much a run has to do, from the best that is known before it runs, and where each figure is from.

The run's own outputs come first, then the size of a drawn collection, then the counts of the paper's
Tab. 2 for the datasets that the spec names. Data folders are not read: the stage `index` does that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from fundus_r1.datasets.synth import image_counts
from fundus_r1.ontology.table_2 import TABLE_2
from fundus_r1.ontology.tasks import pairs
from fundus_r1.record import Record
from fundus_r1.rows import Modality, Sample, VocabularyEntry
from fundus_r1.spec import RunSpec
from fundus_r1.stages.cost.rows import Quantities
from fundus_r1.stages.cost.sizes import size_of, student_size
from fundus_r1.storage.output import StageOutput
from fundus_r1.storage.protocol import Store

IN_STORE = "counted by the stage {}, in the store"
ASSUMED = "placement.cost.{}"


@dataclass(frozen=True)
class Told:
    """One quantity as a person is told it."""

    name: str
    value: float
    origin: str


@dataclass
class _Images:
    counts: dict[Modality, float] = field(default_factory=dict)
    pixels: dict[Modality, float] = field(default_factory=dict)
    masked: float = 0.0

    def add(self, modality: Modality, count: float, side: float) -> None:
        self.counts[modality] = self.counts.get(modality, 0.0) + count
        self.pixels[modality] = self.pixels.get(modality, 0.0) + count * side**2

    @property
    def total(self) -> float:
        return sum(self.counts.values())

    @property
    def sides(self) -> dict[Modality, float]:
        return {m: math.sqrt(self.pixels[m] / n) if n else 1.0 for m, n in self.counts.items()}


def quantities(spec: RunSpec, records: Mapping[str, Record], store: Store) -> tuple[Quantities, list[Told]]:
    """What there is to do, and where each figure comes from.

    Args:
        spec: the run, resolved.
        records: stage -> record, of the stages whose output the store has.
        store: holds them.
    """
    looking = _Looking(spec, records, store)
    models, assumed = spec.science.models, spec.placement.cost
    images = looking.images()
    triplets = looking.triplets(images.total)
    questions = looking.questions()
    number, asked, asked_at_most = looking.vocabulary()
    found = Quantities(
        images=images.counts,
        sides=images.sides,
        masked=images.masked,
        triplets=triplets,
        accepted=looking.accepted(triplets),
        pairs=number,
        asked=asked,
        asked_at_most=asked_at_most,
        questions=questions,
        student=student_size(models.student, spec.science.pixels, assumed),
        observer=size_of(models.observer, assumed),
        free_form=size_of(models.free_form, assumed),
        hits=frozenset(records),
    )
    return found, looking.told


class _Looking:
    """Looks for each figure where it is known best, and notes where that was."""

    def __init__(self, spec: RunSpec, records: Mapping[str, Record], store: Store):
        self._spec, self._records, self._store = spec, records, store
        self._assumed = spec.placement.cost
        self.told: list[Told] = []

    def images(self) -> _Images:
        if (record := self._records.get("index")) is not None:
            images, origin = _indexed(StageOutput(self._store, record)), IN_STORE.format("index")
        else:
            images, origin = _expected(self._spec)
        self._say("images", images.total, origin)
        for modality, count in images.counts.items():
            self._say(
                f"  of them {modality}, about {images.sides[modality]:.0f} pixels square", count, origin
            )
        self._say("images with masks", images.masked, origin)
        return images

    def triplets(self, images: float) -> float:
        return self._counted(
            "questions for training", "index", "triplets", images * self._assumed.triplets_per_image,
            "triplets_per_image",
        )  # fmt: skip

    def accepted(self, triplets: float) -> float:
        return self._counted(
            "accepted traces",
            "quality",
            "accepted",
            triplets * self._assumed.accepted_share,
            "accepted_share",
        )

    def questions(self) -> float:
        index, evaluate = self._spec.science.index, self._spec.science.evaluate
        if (record := self._records.get("index")) is not None:
            questions, origin = _count(record, "questions"), IN_STORE.format("index")
        else:
            questions, origin = _questions(self._spec)
        if evaluate.limit is not None:
            sources = (index.synthetic is not None) + _has_given(self._spec)
            limit = float(evaluate.limit * len(index.benchmarks) * sources)
            if limit < questions:
                questions, origin = limit, "science.evaluate.limit"
        return self._say("benchmark questions", questions, origin)

    def vocabulary(self) -> tuple[float, float, float]:
        """How many (label, modality), and findings asked about one: on average and at most."""
        name, science = "findings in a joint question", self._spec.science
        if (record := self._records.get("knowledge")) is not None:
            entries = StageOutput(self._store, record).read_rows("vocabulary.jsonl", VocabularyEntry)
            lengths = [float(len(entry.asked)) for entry in entries]
            origin = IN_STORE.format("knowledge")
            self._say("labels on modalities", float(len(lengths)), origin)
            mean, most = (fmean(lengths), max(lengths)) if lengths else (0.0, 0.0)
            self._say(name, mean, origin)
            return float(len(lengths)), mean, self._say("  at most", most, origin)
        number = float(len(pairs(science.knowledge.datasets or science.index.datasets)))
        self._say("labels on modalities", number, "the ontology, for the datasets named")
        asked = self._say(name, self._assumed.findings_asked, ASSUMED.format("findings_asked"))
        return number, asked, asked

    def _counted(self, name: str, stage: str, count: str, otherwise: float, assumption: str) -> float:
        """A count of a stage's record, or a value that follows from an assumption."""
        if (record := self._records.get(stage)) is not None:
            return self._say(name, _count(record, count), IN_STORE.format(stage))
        return self._say(name, otherwise, ASSUMED.format(assumption))

    def _say(self, name: str, value: float, origin: str) -> float:
        self.told.append(Told(name, value, origin))
        return value


def _count(record: Record, name: str) -> float:
    value = record.counts.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _indexed(output: StageOutput) -> _Images:
    """Counted row by row, so that sizes are those of the run's own images."""
    images = _Images()
    sizes: Counter[tuple[Modality, int, int]] = Counter()
    for sample in output.read_rows("samples.jsonl", Sample):
        sizes[sample.modality, sample.width, sample.height] += 1
        images.masked += sample.findings is not None
    for (modality, width, height), count in sorted(sizes.items()):
        images.add(modality, count, math.sqrt(width * height))
    return images


def _has_given(spec: RunSpec) -> bool:
    """Whether data beside a drawn collection is expected."""
    return bool(spec.placement.data) or spec.science.index.synthetic is None


def _expected(spec: RunSpec) -> tuple[_Images, str]:
    """A drawn collection and the paper's counts, as far as the spec asks for each."""
    index, assumed = spec.science.index, spec.placement.cost
    images, origins = _Images(), []
    if index.synthetic is not None:
        for modality, drawn in image_counts(index.synthetic).items():
            images.add(modality, drawn, index.synthetic.size)
        images.masked += index.synthetic.masked
        origins.append("science.index.synthetic")
    if _has_given(spec):
        sides = {
            Modality.CFP: assumed.cfp_side,
            Modality.OCT: assumed.oct_side,
            Modality.UWF: assumed.uwf_side,
        }
        for row in TABLE_2:
            if row.dataset in index.datasets:
                # Tab. 2 counts the two modalities of a set together; each is taken for half.
                for modality in row.modalities:
                    images.add(modality, row.samples / len(row.modalities), sides[modality])
                images.masked += row.pixel_labelled
        origins.append(f"Tab. 2 of the paper, for {', '.join(index.datasets)}")
    return images, " and ".join(origins)


def _questions(spec: RunSpec) -> tuple[float, str]:
    """Questions of the benchmarks that are there."""
    index, assumed = spec.science.index, spec.placement.cost
    if not index.benchmarks:
        return 0.0, "science.index.benchmarks"
    questions, origins = 0.0, []
    if index.synthetic is not None:
        held_out = len(Modality) * index.synthetic.benchmark
        questions += held_out * assumed.synthetic_questions
        origins.append(ASSUMED.format("synthetic_questions"))
    if _has_given(spec):
        questions += assumed.benchmark_questions
        origins.append(ASSUMED.format("benchmark_questions"))
    return questions, " and ".join(origins)
