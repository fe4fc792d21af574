"""What stands before all stages with GPUs: weights and data are there, and the digests known."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub, serving_files
from PIL import Image

from fundus_r1.cli import main
from fundus_r1.datasets.digest import Contents, data_digest
from fundus_r1.errors import DataError, ModelError, SpecError
from fundus_r1.models.mirror import mirrored
from fundus_r1.spec import RunSpec
from fundus_r1.spec.models import HubModel
from fundus_r1.spec.pins import hub_weights
from fundus_r1.stages.mirror import mirror
from fundus_r1.stages.resolve import resolve
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.s3 import S3Store
from fundus_r1.storage.server import LocalS3

STUDENT = HubModel(name="org/model", revision=COMMIT)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    with serving_files({"config.json": b"{}", "model.safetensors": b"weights"}, monkeypatch) as full:
        yield full


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A few scans in Kermany's layout."""
    for number in range(3):
        path = tmp_path / "data" / "OCT2017" / "train" / "CNV" / f"CNV-{number}-1.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 40), 40 * number).save(path)
    return tmp_path / "data"


@pytest.fixture
def s3(open_s3: Callable[[str], S3Store], s3_server: LocalS3, monkeypatch: pytest.MonkeyPatch) -> str:
    """Prefix of a run's store, whose credentials are in the environment."""
    monkeypatch.setenv("FUNDUS_R1_S3_ACCESS_KEY", s3_server.access_key)
    monkeypatch.setenv("FUNDUS_R1_S3_SECRET_KEY", s3_server.secret_key)
    return f"tests/{uuid.uuid4().hex}"


def run(placement: dict[str, object], student: object = None, **science: object) -> RunSpec:
    models = {"observer": {"kind": "tiny"}, "student": student or {"kind": "tiny"}}
    tree = {"index": {"datasets": ["kermany"], "benchmarks": []}, "models": models, **science}
    return RunSpec.model_validate({"science": tree, "placement": placement})


def on_folder(tmp_path: Path) -> dict[str, object]:
    return {"store": {"kind": "folder", "path": str(tmp_path / "store")}, "cache": str(tmp_path / "cache")}


def test_a_run_that_has_all_in_folders_copies_nothing(data: Path, tmp_path: Path) -> None:
    spec = run({"data": [str(data)]})
    found = mirror(spec)
    assert found == resolve(spec)
    assert found.science.index.data_digest == data_digest([data])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"], "neither store nor cache was made"


def test_weights_that_the_run_loads_are_in_the_store_afterwards(
    hub: type[Hub], data: Path, tmp_path: Path
) -> None:
    spec = run({"data": [str(data)], "cluster": {}, **on_folder(tmp_path)}, student=STUDENT.model_dump())
    assert mirror(spec) == resolve(spec)
    assert mirrored(STUDENT, FolderStore(tmp_path / "store"))
    hub.sent.clear()
    mirror(spec)
    assert hub.sent == []


def test_a_run_on_one_machine_keeps_no_second_copy_of_its_weights(hub: type[Hub], tmp_path: Path) -> None:
    spec = run(on_folder(tmp_path), student=STUDENT.model_dump())
    assert mirror(spec) == resolve(spec)
    assert hub.sent == [] and not (tmp_path / "store").exists()


def test_the_verb_brings_weights_wherever_the_run_is(
    hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "run.yaml"
    wanted = run(on_folder(tmp_path), student=STUDENT.model_dump())
    spec.write_text(wanted.model_dump_json(), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["mirror", "--spec", str(spec)])
    told = capsys.readouterr()
    assert not ended.value.code, told.err
    assert "none, there are no data" in told.out and "bringing org/model@" in told.err
    assert mirrored(STUDENT, FolderStore(tmp_path / "store"))


def test_a_model_that_an_endpoint_serves_is_not_brought(tmp_path: Path) -> None:
    observer = HubModel(name="org/large", revision=COMMIT)
    spec = run(on_folder(tmp_path))
    models = spec.science.models.model_copy(update={"observer": observer, "student": STUDENT})
    science = spec.science.model_copy(update={"models": models})
    assert hub_weights(science, spec.placement) == {"models.student": STUDENT, "models.observer": observer}
    served = run({"endpoints": {"observer": {"url": "http://observer/v1"}}}).placement
    assert hub_weights(science, served) == {"models.student": STUDENT}


def test_weights_without_a_commit_and_a_model_that_is_not_there_are_told(
    hub: type[Hub], tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="commit is not given"):
        mirror(run(on_folder(tmp_path), student={"kind": "hub", "name": "org/model"}))
    with pytest.raises(ModelError, match="The hub has no org/none"):
        missing = {"kind": "hub", "name": "org/none", "revision": COMMIT}
        mirror(run({"cluster": {}, **on_folder(tmp_path)}, student=missing))


def test_data_that_are_not_there_are_told_even_where_their_digest_is_known(tmp_path: Path) -> None:
    index = {"datasets": ["kermany"], "benchmarks": [], "data_digest": "0" * 64}
    with pytest.raises(DataError, match="does not exist"):
        mirror(run({"data": [str(tmp_path / "none")]}, index=index))


def test_the_verb_brings_data_and_a_run_on_them_is_the_run_on_the_folder(
    data: Path, s3: str, s3_server: LocalS3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = f"s3://eyes/{s3}"
    store = {"endpoint": s3_server.endpoint, "prefix": s3}
    spec, cache = tmp_path / "run.yaml", tmp_path / "cache"
    spec.write_text(run({"store": store, "cache": str(cache)}).model_dump_json(), encoding="utf-8")

    def verb(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["mirror", "--spec", str(spec), *map(str, arguments)])
        told = capsys.readouterr()
        assert not ended.value.code, told.err
        return told.out

    out = verb("--data", data, "--to", to)
    assert "3 files" in out and f"science.index.data_digest: {data_digest([data])}" in out
    assert verb("--data", data, "--to", to) == out
    placement = tmp_path / "placement.yaml"
    placement.write_text(f"data: ['{to}']\n", encoding="utf-8")
    assert verb("--placement", placement) == f"science.index.data_digest: {data_digest([data])}\n"
    assert not cache.exists(), "the manifest says it all"


def test_pinned_manifests_are_held_against_data_in_a_bucket(
    data: Path, s3: str, s3_server: LocalS3, open_s3: Callable[[str], S3Store], tmp_path: Path
) -> None:
    from fundus_r1.datasets.bucket import mirror_data

    to = f"s3://eyes/{s3}"
    mirror_data(data, to, open_s3(s3))
    place = {"store": {"endpoint": s3_server.endpoint}, "cache": str(tmp_path / "cache"), "data": [to]}
    index = {"datasets": ["kermany"], "benchmarks": [], "manifests": {"kermany": "0" * 64}}
    with pytest.raises(DataError, match="another kermany than the spec pins"):
        mirror(run(place, index=index))
    index["manifests"] = {"kermany": Contents([data]).manifest("kermany")}
    assert mirror(run(place, index=index)).science.index.data_digest == data_digest([data])


def test_an_index_reads_data_of_a_bucket(
    data: Path, s3: str, s3_server: LocalS3, open_s3: Callable[[str], S3Store], tmp_path: Path
) -> None:
    from fundus_r1.datasets.bucket import mirror_data
    from fundus_r1.stages.execute import run_job
    from fundus_r1.stages.job import job_of

    to = f"s3://eyes/{s3}"
    mirror_data(data, to, open_s3(s3))
    store = {"endpoint": s3_server.endpoint, "prefix": s3}
    here = mirror(run({"data": [str(data)], **on_folder(tmp_path)}))
    there = mirror(run({"store": store, "cache": str(tmp_path / "cache"), "data": [to]}))
    one, other = (run_job(job_of(spec, "index")).record for spec in (here, there))
    assert one.fingerprint == other.fingerprint
    assert one.counts == other.counts
    assert one.files == other.files


@pytest.mark.parametrize("arguments", [["--data", "x"], ["--to", "s3://a/b"]])
def test_the_verb_wants_both_a_folder_and_a_place(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["mirror", "--spec", str(tmp_path / "run.yaml"), *arguments])
    assert ended.value.code == 2 and "both" in capsys.readouterr().err
