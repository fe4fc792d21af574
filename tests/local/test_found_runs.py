"""What a person may name as a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from scored_run import put_scores

from fundus_r1.errors import SpecError
from fundus_r1.local.found_runs import find_run, load_record
from fundus_r1.local.run import open_place
from fundus_r1.spec import RunSpec, dump_spec, load_spec
from fundus_r1.stages.runs import PinnedRun, RunRecord, begin_record, end_record, write_run
from fundus_r1.storage import open_store
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.s3 import S3Store
from fundus_r1.storage.server import LocalS3

TINY = Path(__file__).resolve().parents[2] / "pipelines/specs/tiny.yaml"


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return load_spec(TINY, [f"placement.store={{kind: folder, path: {tmp_path / 'store'}}}"])


def begun(spec: RunSpec) -> RunRecord:
    return begin_record(PinnedRun(spec=spec), spec, "12345678-run")


def test_the_record_of_a_run_in_its_store(store: FolderStore, spec: RunSpec) -> None:
    put_scores(store, spec)
    write_run(store, begun(spec))
    found = find_run(str(store.root / "runs/12345678-run.json"))
    assert (found.label, found.setup, found.missing) == ("tiny (12345678)", "G", "")
    assert len(found.scores) == 6


def test_a_copy_of_a_runs_record_finds_the_store_that_it_names(
    store: FolderStore, spec: RunSpec, tmp_path: Path
) -> None:
    put_scores(store, spec)
    write_run(store, begun(spec))
    copy = shutil.copy(store.root / "runs/12345678-run.json", tmp_path / "mine.json")
    assert len(find_run(str(copy)).scores) == 6


def test_the_record_of_an_evaluation(store: FolderStore, spec: RunSpec, tmp_path: Path) -> None:
    record = put_scores(store, spec)
    path = store.root / record.prefix / "record.json"
    found = find_run(str(path))
    assert (found.label, found.setup, len(found.scores)) == (f"evaluate {record.short}", "G", 6)
    copy = find_run(str(shutil.copy(path, tmp_path / "record.json")))
    assert copy.scores == () and "copy" in copy.missing
    assert not (tmp_path / ".fundus-r1").exists(), "a folder that is no store is left alone"


def test_the_folder_of_a_local_run(store: FolderStore, spec: RunSpec, tmp_path: Path) -> None:
    put_scores(store, spec)
    out = tmp_path / "out"
    out.mkdir()
    (out / "spec.yaml").write_text(dump_spec(spec))
    found = find_run(str(out))
    assert (found.label, len(found.scores)) == (f"tiny ({out})", 6)


def test_the_folder_of_a_local_run_whose_store_lies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the demo leaves it: the spec names no store, and the folder has one that a server must open.
    out, spec = tmp_path / "out", load_spec(TINY)
    out.mkdir()
    (out / "spec.yaml").write_text(dump_spec(spec))
    for name in ("FUNDUS_R1_S3_ACCESS_KEY", "FUNDUS_R1_S3_SECRET_KEY"):
        monkeypatch.setenv(name, "to be put back")
    with open_place(spec, out) as placed:
        put_scores(open_store(placed.placement.store), spec)
    assert len(find_run(str(out)).scores) == 6


def test_a_run_that_has_not_come_so_far_says_how_it_ended(store: FolderStore, spec: RunSpec) -> None:
    path = str(store.root / "runs/12345678-run.json")
    write_run(store, begun(spec))
    assert find_run(path).missing == "it has not ended"
    write_run(store, end_record(begun(spec), "FAILED", "sft: OOMKilled"))
    assert find_run(path).missing == "it ended as FAILED: sft: OOMKilled"
    early = begin_record(PinnedRun(spec=spec), spec, "12345678-run", resolved=False)
    write_run(store, early)
    assert find_run(path).missing == "it ended before its data were known"


def test_a_run_whose_store_is_away_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_spec(TINY, ["placement.store={endpoint: https://s3.example.org, bucket: b}"])
    for name in ("FUNDUS_R1_S3_ACCESS_KEY", "FUNDUS_R1_S3_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "record.json"
    path.write_text(begun(spec).model_dump_json())
    assert find_run(str(path)).missing == "There are no credentials for the S3 store"


def test_an_address_in_a_bucket(
    s3_server: LocalS3, open_s3: Callable[[str], S3Store], spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_s3("compare/runs")
    record = put_scores(store, spec)
    write_run(store, begun(spec))
    run, evaluation = f"{store.uri}/runs/12345678-run.json", f"{store.uri}/{record.prefix}/record.json"
    monkeypatch.delenv("FUNDUS_R1_S3_ENDPOINT", raising=False)
    with pytest.raises(SpecError, match="not known where the bucket is"):
        find_run(run)
    monkeypatch.setenv("FUNDUS_R1_S3_ENDPOINT", s3_server.endpoint)
    monkeypatch.setenv("FUNDUS_R1_S3_ACCESS_KEY", s3_server.access_key)
    monkeypatch.setenv("FUNDUS_R1_S3_SECRET_KEY", s3_server.secret_key)
    assert len(find_run(run).scores) == len(find_run(evaluation).scores) == 6
    assert load_record(run).run_id == "12345678-run"
    with pytest.raises(SpecError, match="no such object"):
        load_record(f"{store.uri}/runs/other.json")


def test_what_is_no_run_is_refused(store: FolderStore, spec: RunSpec, tmp_path: Path) -> None:
    put_scores(store, spec)
    [training] = store.root.glob("sft/*/record.json")
    with pytest.raises(SpecError, match="record is of the stage sft"):
        find_run(str(training))
    (tmp_path / "some.json").write_text("{}")
    with pytest.raises(SpecError, match="no record of a run"):
        find_run(str(tmp_path / "some.json"))
    with pytest.raises(SpecError, match="cannot be read"):
        find_run(str(tmp_path / "none.json"))
