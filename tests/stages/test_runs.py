"""The record of a run: begun, closed, found again, and no other file taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.errors import SpecError
from fundus_r1.spec import Placement, RunSpec, load_spec
from fundus_r1.spec.cluster import Cluster
from fundus_r1.stages.job import fingerprints
from fundus_r1.stages.runs import (
    PinnedRun,
    RunRecord,
    all_runs,
    begin_record,
    end_record,
    load_run,
    parse_run,
    read_run,
    run_key,
    write_run,
)
from fundus_r1.storage.folder import FolderStore

SPECS = Path(__file__).resolve().parents[2] / "pipelines" / "specs"
DIGEST = "sha256:" + "0" * 64


def begun(spec: RunSpec, run_id: str = "1") -> RunRecord:
    images = {"core": f"core@{DIGEST}", "train": "train:0.1.0"}
    return begin_record(PinnedRun(spec=spec, images=images), spec, run_id)


@pytest.fixture
def tiny() -> RunSpec:
    return load_spec(SPECS / "tiny.yaml")


def test_a_run_is_read_as_it_was_written(tiny: RunSpec, store: FolderStore) -> None:
    record = begun(tiny)
    write_run(store, record)
    assert read_run(store, "1") == record
    assert record.fingerprints == fingerprints(tiny.science) and record.setup == "G"
    assert record.ended is None and record.state is None
    assert read_run(store, "2") is None


def test_a_run_that_ends_keeps_what_it_was(tiny: RunSpec, store: FolderStore) -> None:
    write_run(store, begun(tiny))
    write_run(store, end_record(begun(tiny), "FAILED", "sft: the loss is not finite"))
    found = read_run(store, "1")
    assert found is not None and found.ended is not None and found.ended >= found.started
    assert (found.state, found.error) == ("FAILED", "sft: the loss is not finite")
    assert found.spec == tiny


def test_a_run_says_what_was_not_pinned(tiny: RunSpec) -> None:
    assert begun(tiny).unpinned == ("images.train",)
    paper = begun(load_spec(SPECS / "paper" / "3b-setup-g.yaml"))
    assert "science.models.student.revision" in paper.unpinned and "images.core" not in paper.unpinned


def test_a_run_whose_data_are_not_known_has_no_fingerprints(tiny: RunSpec) -> None:
    assert not begin_record(PinnedRun(spec=tiny), tiny, "1", resolved=False).fingerprints


def test_all_runs_of_a_store_are_found(tiny: RunSpec, store: FolderStore) -> None:
    for number in ("3", "1", "2"):
        write_run(store, begun(tiny, number))
    assert [record.run_id for record in all_runs(store)] == ["1", "2", "3"]


def test_a_record_in_a_file_is_the_one_of_the_store(
    tiny: RunSpec, store: FolderStore, tmp_path: Path
) -> None:
    placed = tiny.model_copy(update={"placement": Placement(cluster=Cluster(queue="gpus"))})
    write_run(store, begun(placed))
    file = tmp_path / "record.json"
    file.write_bytes(store.get(run_key("1")) or b"")
    assert load_run(file).spec.placement.cluster == Cluster(queue="gpus")


def test_another_file_is_refused_in_words(tmp_path: Path) -> None:
    for data in (b"{}", b"no JSON", b'{"stage": "sft", "fingerprint": "0"}'):
        with pytest.raises(SpecError, match="This is no record of a run"):
            parse_run(data, "here")
    with pytest.raises(SpecError, match="cannot be read"):
        load_run(tmp_path / "absent.json")


def test_a_run_out_of_pods_uses_no_image(tiny: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    run = PinnedRun(spec=tiny, images={"core": "core:1"})
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    assert not run.made_here(Placement()).images
    assert run.made_here(Placement(cluster=Cluster())).images == run.images
    monkeypatch.setenv("KFP_POD_NAME", "step")
    assert run.made_here(Placement()).images == run.images
