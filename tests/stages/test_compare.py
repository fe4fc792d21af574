"""How two runs, or two outputs, differ, and for which stages."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from fundus_r1.errors import SpecError
from fundus_r1.record import Record
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.stages.compare import compare, identities
from fundus_r1.stages.job import job_of

TINY = Path(__file__).resolve().parents[2] / "pipelines/specs/tiny.yaml"


def tiny(*overrides: str) -> RunSpec:
    return load_spec(TINY, overrides)


def record(spec: RunSpec, stage: str, revision: int | None = None) -> Record:
    job = job_of(spec, stage)
    now = datetime.datetime.now(datetime.UTC)
    return Record(
        stage=stage,
        fingerprint=job.fingerprint,
        revision=revision or job.definition.revision,
        science=job.science,
        prompts=job.definition.prompt_hashes(),
        inputs=job.inputs,
        files={},
        counts={},
        started=now,
        finished=now,
    )


def test_equal_runs_differ_in_nothing() -> None:
    assert not compare(tiny(), tiny())


def test_a_change_of_the_placement_moves_no_stage() -> None:
    found = compare(tiny(), tiny("placement.findings.workers=9"))
    assert [row.path for row in found.fields] == ["placement.findings.workers"]
    assert found.stages == []


def test_each_stage_that_differs_says_what_it_reads_first_and_then_what_comes_before() -> None:
    found = compare(tiny(), tiny("science.sft.epochs=7"))
    assert [row.path for row in found.fields] == ["science.sft.epochs"]
    told = {row.stage: row.why for row in found.stages}
    assert list(told) == ["sft", "grpo", "evaluate", "report"]
    assert told["sft"] == "sft.epochs: 30 -> 7"
    assert told["grpo"] == "sft is another"
    assert told["report"] == "science.sft.epochs: 30 -> 7"
    assert all(row.a != row.b for row in found.stages)


def test_two_setups_differ_from_the_training_set_on() -> None:
    found = compare(tiny("science.setup=E"), tiny("science.setup=F"))
    assert [row.stage for row in found.stages] == ["trainset", "sft", "grpo", "evaluate", "report"]
    assert found.stages[0].why == "grpo: false -> true"


def test_what_is_only_checked_moves_the_report_alone() -> None:
    found = compare(tiny(), tiny("science.index.manifests={idrid: abc}"))
    assert [row.stage for row in found.stages] == ["report"]


def test_records_of_a_stage_are_compared_field_by_field() -> None:
    one, other = record(tiny(), "sft"), record(tiny("science.sft.epochs=7"), "sft")
    assert not compare(one, one)
    found = compare(one, other)
    assert [(row.path, row.a, row.b) for row in found.fields] == [("sft.sft.epochs", 30, 7)]
    assert [row.stage for row in found.stages] == ["sft"]


def test_a_record_of_an_older_revision_is_another_output() -> None:
    older = record(tiny(), "sft", revision=99)
    found = compare(older, tiny())
    assert [row.path for row in found.fields] == ["sft.revision"]
    assert found.stages[0].why.startswith("the stage's revision: 99 -> ")


def test_a_run_is_held_against_the_record_of_one_of_its_stages() -> None:
    assert not compare(record(tiny(), "trainset"), tiny())
    found = compare(tiny("science.trainset.limit=3"), record(tiny(), "trainset"))
    assert [row.path for row in found.fields] == ["trainset.trainset.limit"]


def test_records_of_different_stages_cannot_be_compared() -> None:
    with pytest.raises(SpecError, match="different stages: index and sft"):
        compare(record(tiny(), "index"), record(tiny(), "sft"))


def test_an_identity_is_all_that_a_fingerprint_hashes() -> None:
    for name, identity in identities(tiny().science).items():
        assert set(identity) == {"science", "revision", "prompts", "inputs"}, name
