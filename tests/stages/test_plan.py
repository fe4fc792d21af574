"""Fingerprints and plans: what moves them, what must not, and what a person is told."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from fundus_r1.errors import SpecError
from fundus_r1.record import Record
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.stages import STAGES, get_stage
from fundus_r1.stages.job import StageJob, fingerprints, job_from_records, job_of, slices
from fundus_r1.stages.plan import plan
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter

TINY = Path(__file__).resolve().parents[2] / "pipelines/specs/tiny.yaml"


def tiny(*overrides: str) -> RunSpec:
    return load_spec(TINY, overrides)


def moved(*overrides: str) -> list[str]:
    """Stages whose fingerprint an override moves."""
    before, after = fingerprints(tiny().science), fingerprints(tiny(*overrides).science)
    return [name for name in STAGES if before[name] != after[name]]


def write_record(store: FolderStore, job: StageJob) -> Record:
    """An output without files, as if the stage had run."""
    return OutputWriter(store, job.stage, job.fingerprint).close(
        revision=job.definition.revision,
        science=job.science,
        prompts=job.definition.prompt_hashes(),
        inputs=job.inputs,
        counts={},
        models={},
        started=datetime.datetime.now(datetime.UTC),
    )


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("science.index.synthetic.seed=8", "index"),
        ("science.knowledge.passages=3", "knowledge"),
        ("science.findings.seed=1", "findings"),
        ("science.quality.checks=rules+writer", "quality"),
        ("science.trainset.limit=8", "trainset"),
        ("science.sft.epochs=1", "sft"),
        ("science.grpo.plausible=0.9", "grpo"),
        ("science.evaluate.max_tokens=64", "evaluate"),
    ],
)
def test_a_change_moves_its_stage_and_what_comes_after(override: str, first: str) -> None:
    stages = moved(override)
    assert stages[0] == first
    after = {first}
    for name in STAGES:
        if after & set(get_stage(name).after):
            after.add(name)
    assert set(stages) >= after - {"report"}
    assert set(stages) <= after | {"report"}


@pytest.mark.parametrize(
    "override",
    [
        "placement.findings.workers=7",
        "placement.store.bucket=other",
        "placement.sft.processes=1",
        "placement.engine.max_num_seqs=2",
        "placement.grpo.device=cuda",
        "placement.data=[/somewhere]",
    ],
)
def test_placement_moves_nothing(override: str) -> None:
    assert moved(override) == []


@pytest.mark.parametrize(
    "override",
    [
        "science.prompts={trace: abc}",
        "science.index.manifests={idrid: abc}",
        "science.knowledge.snapshot=unpinned",
    ],
)
def test_what_is_only_checked_or_still_open_moves_the_report_alone(override: str) -> None:
    assert moved(override) == ["report"]


def test_setups_share_what_they_have_in_common() -> None:
    known = {setup: fingerprints(tiny(f"science.setup={setup}").science) for setup in "ABCDEFGHIJ"}
    for stage in STAGES[: STAGES.index("trainset")]:
        assert len({prints[stage] for prints in known.values()}) == 1, stage
    assert len({known[setup]["sft"] for setup in "FGHIJ"}) == 1
    assert len({known[setup]["grpo"] for setup in "FGHIJ"}) == 5
    assert len({prints["report"] for prints in known.values()}) == 10


def test_every_stage_is_planned_with_a_reason(store: FolderStore) -> None:
    spec = tiny()
    assert {step.why for step in plan(spec, store)} == {"no output yet"}
    for name in STAGES:
        write_record(store, job_of(spec, name))
    assert all(step.record for step in plan(spec, store))
    changed = {step.stage: step for step in plan(tiny("science.sft.epochs=3"), store)}
    assert changed["trainset"].record is not None
    assert changed["sft"].why == f"sft.epochs: {spec.science.sft.epochs} -> 3"
    assert changed["grpo"].why == "sft is another"
    assert changed["evaluate"].record is None


def test_a_job_from_the_records_of_a_pipeline_is_the_job_of_the_spec(store: FolderStore) -> None:
    import json

    spec = tiny()
    records = [write_record(store, job_of(spec, name)) for name in STAGES[:6]]
    placement = spec.placement.model_dump_json()
    for name in ("findings", "trainset", "sft"):
        job = job_from_records(name, json.dumps(slices(spec.science)[name]), placement, records)
        assert job == job_of(spec, name)
        assert job.fingerprint == fingerprints(spec.science)[name]


def test_a_job_without_its_inputs_says_which(store: FolderStore) -> None:
    spec: Any = tiny()
    record = write_record(store, job_of(spec, "index"))
    with pytest.raises(SpecError, match="knowledge"):
        job_from_records("findings", "{}", "{}", [record])
    with pytest.raises(SpecError, match="no JSON"):
        job_from_records("index", "{", "{}", [])


def test_the_stages_are_in_an_order_in_which_they_can_run() -> None:
    for position, name in enumerate(STAGES):
        stage = get_stage(name)
        assert stage.name == name
        assert set(stage.after) <= set(STAGES[:position])
        assert stage.summary


def test_where_a_model_folder_lies_moves_nothing_and_its_digest_does() -> None:
    def student(path: str, digest: str) -> dict[str, str]:
        override = f"science.models.student={{kind: folder, path: {path}, digest: {digest}}}"
        return fingerprints(tiny(override).science)

    assert student("/a", "a" * 64)["sft"] == student("/b", "a" * 64)["sft"]
    assert student("/a", "a" * 64)["sft"] != student("/a", "b" * 64)["sft"]
