"""A small collection with knowledge and findings in a store, as the stages before leave it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Findings, Knowledge, Modality, Sample, Split, Triplet
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.placement import StorePlace
from fundus_r1.stages.base import Context, Stage, as_json
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import to_parquet

MODERATE = ("microaneurysm", "retinal_hemorrhage")
EYES: list[tuple[str, str, tuple[str, ...], bool]] = [
    # label, source, VF(x), whether the trace that the rules compose deserves to pass
    ("moderate_npdr", "pixel", MODERATE, True),
    ("moderate_npdr", "pixel", (*MODERATE, "hard_exudate"), True),
    ("moderate_npdr", "observer", ("microaneurysm",), False),
    ("moderate_npdr", "observer", (*MODERATE, "neovascularization"), False),
    ("no_dr", "pixel", (), True),
    ("no_dr", "observer", ("drusen",), False),
    ("mild_npdr", "observer", ("microaneurysm",), True),
]
COPIES = 12
KNOWLEDGE = {
    "no_dr": ((), (), ("microaneurysm", "retinal_hemorrhage")),
    "mild_npdr": (("microaneurysm",), (), ("neovascularization",)),
    "moderate_npdr": (MODERATE, ("hard_exudate",), ("neovascularization",)),
}
PART = 10


def image_of(sample_id: str) -> bytes:
    return f"image of {sample_id}".encode()


class World:
    """A store with the outputs of index, knowledge and findings, and a way to run stages on them."""

    def __init__(self, store: FolderStore, cache: Path):
        self.store = store
        self.image_of = image_of
        self.placement = Placement(store=StorePlace(kind="folder", path="unused"), cache=str(cache))
        self.outputs: dict[str, StageOutput] = {}
        task = TASKS["dr_grading"]
        letters = dict(zip("ABCDE", task.labels, strict=True))
        self.samples: list[Sample] = []
        self.triplets: list[Triplet] = []
        self.findings: list[Findings] = []
        self.deserves: dict[str, bool] = {}
        for number in range(COPIES * len(EYES)):
            label, source, present, passes = EYES[number % len(EYES)]
            sample_id = f"idrid/{number:04d}.png"
            split = Split.VALIDATION if number // len(EYES) == 0 else Split.TRAIN
            self.samples.append(
                Sample(
                    sample_id=sample_id, dataset="idrid", modality=Modality.CFP, labels=(label,), split=split,
                    patient=f"idrid:{number}", path=f"{number}.png", digest="0" * 64, pixels="0" * 64,
                    width=64, height=64, media_type="image/png",
                )
            )  # fmt: skip
            self.triplets.append(
                Triplet(
                    triplet_id=f"{sample_id}#0", sample_id=sample_id, task=task.key, modality=Modality.CFP,
                    label=label, question=task.questions[number % 3], answer=LABELS[label].name,
                    options={letter: LABELS[key].name for letter, key in letters.items()},
                    option_labels=letters,
                )
            )  # fmt: skip
            self.findings.append(
                Findings(
                    sample_id=sample_id, modality=Modality.CFP, source=source, asked=(), rollouts=5, votes={},
                    abstentions={}, observed=present, present=present, raw=(), model="none",
                )
            )  # fmt: skip
            self.deserves[f"{sample_id}#0"] = passes

    def put(self, stage: str, write: Callable[[OutputWriter], object]) -> StageOutput:
        """Writes a stage's output by hand."""
        writer = OutputWriter(self.store, stage, "0" * 64)
        write(writer)
        self.outputs[stage] = self._close(writer, {}, {})
        return self.outputs[stage]

    def _close(self, writer: OutputWriter, counts: dict[str, Any], models: dict[str, str]) -> StageOutput:
        record = writer.close(
            revision=1, science={}, prompts={}, inputs={}, counts=counts, models=models,
            started=datetime.datetime.now(datetime.UTC),
        )  # fmt: skip
        return StageOutput(self.store, record)

    def begin(self) -> None:
        """Writes index, knowledge and findings."""

        def index(writer: OutputWriter) -> None:
            for number, start in enumerate(range(0, len(self.samples), PART)):
                part = self.samples[start : start + PART]
                data = to_parquet(part, [self.image_of(row.sample_id) for row in part], Sample)
                writer.write_bytes(f"samples/part-{number:05d}.parquet", data, rows=len(part))
            writer.write_rows("samples.jsonl", self.samples)
            writer.write_rows("triplets.jsonl", self.triplets)

        known = [
            Knowledge(
                label=label, modality=Modality.CFP, query="", description=f"D of {label}", required=required,
                supportive=supportive, absent=absent, evidence={}, passages=(), model="none",
            )
            for label, (required, supportive, absent) in KNOWLEDGE.items()
        ]  # fmt: skip
        self.put("index", index)
        self.put("knowledge", lambda writer: writer.write_rows("knowledge.jsonl", known))
        self.put("findings", lambda writer: writer.write_rows("findings.jsonl", self.findings))

    def forget(self, label: str) -> None:
        """Leaves nothing known of a label, as where no source has a passage on it."""
        nothing = {"description": "", "required": (), "supportive": (), "absent": ()}
        rows = [
            row.model_copy(update=nothing) if row.label == label else row
            for row in self.outputs["knowledge"].read_rows("knowledge.jsonl", Knowledge)
        ]
        self.put("knowledge", lambda writer: writer.write_rows("knowledge.jsonl", rows))

    def context(self, stage: Stage[Any], science: Science) -> Context[Any]:
        chosen = stage.select(science)
        before = {name: self.outputs[name].record.fingerprint for name in stage.after}
        writer = OutputWriter(self.store, stage.name, stage.fingerprint(chosen, before))
        assert stage.slice_type.model_validate(as_json(chosen)) == chosen
        return Context(
            science=chosen,
            placement=self.placement,
            store=self.store,
            output=writer,
            inputs={name: self.outputs[name] for name in stage.after},
        )

    def run(self, stage: Stage[Any], science: Science) -> StageOutput:
        """Runs a stage on what is there, and keeps its output."""
        ctx = self.context(stage, science)
        result = stage.run(ctx)
        self.outputs[stage.name] = self._close(ctx.output, result.counts, result.models)
        return self.outputs[stage.name]


@pytest.fixture
def world(store: FolderStore, tmp_path: Path) -> World:
    (tmp_path / "cache").mkdir()
    made = World(store, tmp_path / "cache")
    made.begin()
    return made


@pytest.fixture
def science() -> Science:
    """Setup G with models that need no endpoint, and no free-form traces."""
    rules = {"engine": "rules", "model": "rules"}
    return Science.model_validate(
        {"setup": "G", "models": {"writer": rules, "judge": rules}, "traces": {"baseline": False}}
    )
