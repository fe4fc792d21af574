"""Repeating a run from its record."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.errors import SpecError
from fundus_r1.local.repeat import repeat
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.stages.job import job_of
from fundus_r1.stages.runs import PinnedRun, RunRecord, begin_record
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter

TINY = Path(__file__).resolve().parents[2] / "pipelines/specs/tiny.yaml"
IMAGES = {"core": "core@sha256:" + "1" * 64, "train": "train@sha256:" + "2" * 64}


def record(spec: RunSpec) -> RunRecord:
    return begin_record(PinnedRun(spec=spec, images=IMAGES), spec, "earlier-run")


def test_science_and_placement_are_those_of_the_run() -> None:
    spec = load_spec(TINY, ["science.sft.epochs=2", "placement.findings.workers=5"])
    assert repeat(record(spec)) == (spec, spec.placement)


def test_fields_of_another_placement_win(tmp_path: Path) -> None:
    path = tmp_path / "place.yaml"
    path.write_text("findings: {workers: 7}")
    spec = load_spec(TINY, ["placement.findings={workers: 5, lease_s: 60}"])
    found, placement = repeat(record(spec), path)
    assert found == spec
    assert (placement.findings.workers, placement.findings.lease_s) == (7, 60)
    path.write_text("colour: red")
    with pytest.raises(SpecError, match="unknown field placement\\.colour"):
        repeat(record(spec), path)


def test_an_image_that_came_from_the_lock_is_taken_from_it_again() -> None:
    locked = load_spec(TINY, [f"placement.cluster={{image: '{IMAGES['train']}'}}"])
    spec, placement = repeat(record(locked))
    assert placement.cluster is not None and placement.cluster.image is None
    assert spec.placement == placement
    own = load_spec(TINY, ["placement.cluster={image: lab/mine@sha256:abc}"])
    assert repeat(record(own))[1] == own.placement


def test_a_run_that_ended_before_its_data_were_known_can_be_repeated() -> None:
    spec = load_spec(TINY)
    early = begin_record(PinnedRun(spec=spec), spec, "earlier-run", resolved=False)
    assert repeat(early) == (spec, spec.placement)


def test_what_changed_since_is_told_where_the_earlier_output_is_in_its_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    spec = load_spec(TINY, [f"placement.store={{kind: folder, path: {store}}}"])
    job = job_of(spec, "quality")
    found = record(spec)
    OutputWriter(FolderStore(store), "quality", "ab" * 32).close(
        revision=job.definition.revision + 1, science=job.science, prompts=job.definition.prompt_hashes(),
        inputs=job.inputs, counts={}, models={}, started=found.started,
    )  # fmt: skip
    found = found.model_copy(update={"fingerprints": found.fingerprints | {"quality": "ab" * 32}})
    with pytest.raises(SpecError, match="the stage's revision: "):
        repeat(found)
