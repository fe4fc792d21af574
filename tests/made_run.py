"""A run's outputs from index to quality, made without any model: drawn images, worded traces."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from fundus_r1.datasets.synth import cfp, oct
from fundus_r1.datasets.synth.paint import generator
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import (
    Findings,
    Knowledge,
    Modality,
    Passage,
    Reason,
    Sample,
    Split,
    Trace,
    Triplet,
    Verdict,
)
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.tables import to_parquet

PART = 256
SIZE = 320
DRAWN = 4
"""Different images of each label."""
MODERATE = ("microaneurysm", "retinal_hemorrhage")
KINDS: list[tuple[str, Modality, str, tuple[str, ...], tuple[str, ...]]] = [
    # dataset, modality, label, required, absent
    ("idrid", Modality.CFP, "no_dr", (), ("microaneurysm", "retinal_hemorrhage")),
    ("idrid", Modality.CFP, "mild_npdr", ("microaneurysm",), ("neovascularization",)),
    ("idrid", Modality.CFP, "moderate_npdr", MODERATE, ("neovascularization",)),
    ("idrid", Modality.CFP, "pdr", ("neovascularization", "preretinal_hemorrhage"), ()),
    ("kermany", Modality.OCT, "cnv", ("subretinal_fluid", "subretinal_hyperreflective_material"), ()),
    ("kermany", Modality.OCT, "dme", ("intraretinal_fluid", "retinal_thickening"), ("drusen",)),
    ("kermany", Modality.OCT, "drusen", ("drusen",), ("intraretinal_fluid", "subretinal_fluid")),
    ("kermany", Modality.OCT, "normal", (), ("drusen", "intraretinal_fluid")),
]  # fmt: skip
GRADES = {"no_dr": 0, "mild_npdr": 1, "moderate_npdr": 2, "pdr": 4}
SOURCES = (
    ("eyewiki", "https://eyewiki.example/{label}", "page shown by reference only"),
    ("pmc", "https://pmc.example/PMC{number}", "CC BY 4.0"),
    ("notes", "Own words after a guideline, p. {number}", "own text"),
)


@cache
def image_of(label: str, number: int) -> bytes:
    """A drawn image, PNG-free: JPEG as most datasets have."""
    rng = generator("made run", label, number)
    drawn = cfp.draw(rng, SIZE, GRADES[label]) if label in GRADES else oct.draw(rng, SIZE, label)
    target = io.BytesIO()
    drawn.image.convert("RGB").save(target, "JPEG", quality=90)
    return target.getvalue()


def _names(keys: tuple[str, ...]) -> str:
    return " and ".join(FINDINGS[key].plural for key in keys)


class MadeRun:
    """Rows of trace number 0, 1, 2, ...: each depends on its number alone."""

    def __init__(self, change: Callable[[Trace], Trace] = lambda trace: trace):
        self._change = change

    def sample(self, number: int) -> Sample:
        dataset, modality, label, required, _ = KINDS[number % len(KINDS)]
        return Sample(
            sample_id=f"{dataset}/eye {number:06d}.jpg", dataset=dataset, modality=modality, labels=(label,),
            split=Split.VALIDATION if number % 10 == 9 else Split.TRAIN, patient=f"{dataset}:{number}",
            path=f"eye {number:06d}.jpg", digest="0" * 64, pixels="0" * 64, width=SIZE, height=SIZE,
            media_type="image/jpeg", findings=required if self.masked(number) else None,
        )  # fmt: skip

    def masked(self, number: int) -> bool:
        return number % 24 < 4

    def triplet(self, number: int) -> Triplet:
        dataset, modality, label, _, _ = KINDS[number % len(KINDS)]
        task = next(task for task in TASKS.values() if task.dataset == dataset and label in task.labels)
        letters = dict(zip("ABCDEFGH", task.labels, strict=False))
        sample_id = self.sample(number).sample_id
        return Triplet(
            triplet_id=f"{sample_id}#0", sample_id=sample_id, task=task.key, modality=modality, label=label,
            question=task.questions[number % len(task.questions)],
            options={letter: LABELS[key].name for letter, key in letters.items()},
            answer=LABELS[label].name, option_labels=letters,
        )  # fmt: skip

    def findings(self, number: int) -> Findings:
        _, modality, _, required, absent = KINDS[number % len(KINDS)]
        asked = (*required, *absent, "hard_exudate")
        votes = {key: 5 - number % 3 if key in required else (number + len(key)) % 3 for key in asked}
        return Findings(
            sample_id=self.sample(number).sample_id, modality=modality,
            source="pixel" if self.masked(number) else "observer", asked=asked, rollouts=5, votes=votes,
            abstentions={"hard_exudate": 1} if number % 7 == 0 else {}, observed=required, present=required,
            raw=(), model="made",
        )  # fmt: skip

    def trace(self, number: int) -> Trace:
        _, modality, label, required, absent = KINDS[number % len(KINDS)]
        name = LABELS[label].name
        seen = (
            f"The {modality} image shows {_names(required)}." if required else "No abnormal finding is seen."
        )
        wrong = " Cotton-wool spots are visible too." if number % 5 == 1 else ""
        denied = f" There is no {_names(absent)}." if absent else ""
        link = f" On {modality}, this is what {name} looks like, as read in case {number}."
        return self._change(
            Trace(
                triplet_id=self.triplet(number).triplet_id, sample_id=self.sample(number).sample_id,
                label=label, modality=modality, findings=required, source=self.findings(number).source,
                model="made",
                text=f"<think>{seen}{wrong}{denied}{link} Hence the answer is {name}.</think> "
                f"<answer>{name}</answer>",
            )
        )  # fmt: skip

    def verdict(self, number: int) -> Verdict:
        rules: tuple[tuple[Reason, str], ...] = ()
        objections: tuple[tuple[Reason, str], ...] = ()
        writer = "accepted"
        if number % 5 == 1:
            rules = ((Reason.FINDING_INCORRECT, "cotton-wool spots are stated and not among the findings"),)
            writer = "accepted" if number % 10 == 1 else "not_asked"
        elif number % 11 == 3:
            objections, writer = ((Reason.NOT_DERIVED, "the last step names no finding"),), "rejected"
        return Verdict(
            triplet_id=self.triplet(number).triplet_id, sample_id=self.sample(number).sample_id,
            accepted=not rules and not objections, rules=rules, objections=objections, writer=writer,
            model=None if writer == "not_asked" else "checker",
        )  # fmt: skip

    def image(self, number: int) -> bytes:
        return image_of(KINDS[number % len(KINDS)][2], number // len(KINDS) % DRAWN)


def knowledge_rows() -> tuple[list[Knowledge], list[Passage]]:
    known, passages = [], []
    for number, (_, modality, label, required, absent) in enumerate(KINDS):
        mine = [
            Passage(
                passage_id=f"{source}/{label}/signs/0", source=source, title=LABELS[label].name,
                section="Signs", reference=reference.format(label=label, number=number), licence=licence,
                text="The text of a source stays in the store.", digest="0" * 64,
            )
            for source, reference, licence in SOURCES
        ]  # fmt: skip
        passages += mine
        known.append(
            Knowledge(
                label=label, modality=modality, query="", required=required, supportive=(), absent=absent,
                description=f"On {modality}, {LABELS[label].name} shows {_names(required) or 'no lesion'}.",
                evidence={
                    key: tuple(row.passage_id for row in mine[: 1 + at])
                    for at, key in enumerate(required + absent)
                },
                passages=tuple(row.passage_id for row in mine), model="made",
            )
        )  # fmt: skip
    return known, sorted(passages, key=lambda row: row.passage_id)


def write_run(
    store: Store, count: int, made: MadeRun | None = None, known: Mapping[str, str] = MappingProxyType({})
) -> dict[str, StageOutput]:
    """The outputs of index, knowledge, findings, traces and quality with `count` images, a trace each.

    Args:
        store: where they go.
        count: how many images.
        made: whose rows.
        known: stage -> fingerprint, where it matters.
    """
    run = made or MadeRun()
    # The order of the index is that of the sample ids.
    order = sorted(range(count), key=lambda number: run.sample(number).sample_id)

    def index(writer: OutputWriter) -> None:
        for number, start in enumerate(range(0, count, PART)):
            part = order[start : start + PART]
            data = to_parquet([run.sample(n) for n in part], [run.image(n) for n in part], Sample)
            writer.write_bytes(f"samples/part-{number:05d}.parquet", data, rows=len(part))
        writer.write_rows("samples.jsonl", map(run.sample, order))
        writer.write_rows("triplets.jsonl", map(run.triplet, order))

    def knowledge(writer: OutputWriter) -> None:
        known, passages = knowledge_rows()
        writer.write_rows("knowledge.jsonl", known)
        writer.write_rows("passages.jsonl", passages)

    return {
        name: put(store, name, write, known.get(name, "0" * 64))
        for name, write in [
            ("index", index),
            ("knowledge", knowledge),
            ("findings", lambda writer: writer.write_rows("findings.jsonl", map(run.findings, order))),
            ("traces", lambda writer: writer.write_rows("traces.jsonl", map(run.trace, order))),
            ("quality", lambda writer: writer.write_rows("verdicts.jsonl", map(run.verdict, order))),
        ]
    }


def put(
    store: Store,
    stage: str,
    write: Callable[[OutputWriter], object],
    fingerprint: str = "0" * 64,
    counts: Mapping[str, int] = MappingProxyType({}),
) -> StageOutput:
    """One stage's output, written by hand."""
    writer = OutputWriter(store, stage, fingerprint)
    write(writer)
    record = writer.close(
        revision=1, science={}, prompts={}, inputs={}, counts=dict(counts), models={},
        started=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    return StageOutput(store, record)
