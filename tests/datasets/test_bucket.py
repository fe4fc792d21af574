"""Data of a bucket are the same data as in a folder: the same files, the same digest."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from fundus_r1.datasets import bucket
from fundus_r1.datasets.bucket import data_contents, data_folder, look_at, mirror_data
from fundus_r1.datasets.digest import data_digest, digest_of, file_contents
from fundus_r1.errors import DataError, MachineError
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.s3 import S3Store
from fundus_r1.storage.server import LocalS3

FILES = {"OCT2017/train/CNV/CNV-1-1.jpeg": b"one", "OCT2017/train/DME/DME-2-1.jpeg": b"two", "a b/ü.csv": b""}
LITTER = {".DS_Store": b"x", "OCT2017/Thumbs.db": b"x", "__MACOSX/a.jpeg": b"x"}


def written(folder: Path) -> Path:
    for name, data in (FILES | LITTER).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def s3(open_s3: Callable[[str], S3Store]) -> S3Store:
    return open_s3("tests/runs")


@pytest.fixture
def place() -> str:
    return f"s3://eyes/tests/{uuid.uuid4().hex}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return written(tmp_path / "data")


def put_by_hand(s3: S3Store, place: str) -> Store:
    """As another tool copies a folder: with its litter, without a manifest."""
    found = s3.elsewhere(*place.removeprefix("s3://").split("/", 1), make_bucket=True)
    for name, content in (FILES | LITTER).items():
        found.put(name, content)
    return found


def test_mirrored_data_have_the_folders_digest_without_a_download(
    s3: S3Store, place: str, data: Path, tmp_path: Path
) -> None:
    manifest = mirror_data(data, place, s3)
    assert set(manifest.files) == set(FILES)
    assert data_contents(place, tmp_path / "cache", s3) == file_contents(data)
    assert digest_of([data_contents(place, tmp_path / "cache", s3)]) == data_digest([data])
    assert not (tmp_path / "cache").exists()
    assert look_at(place, s3) == "3 files, 0.0 MiB, with a manifest"


@pytest.mark.parametrize("mirrored", [True, False], ids=["mirrored", "by hand"])
def test_data_of_a_bucket_become_a_folder_once(
    mirrored: bool, s3: S3Store, place: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mirrored:
        mirror_data(data, place, s3)
    else:
        put_by_hand(s3, place)
        assert look_at(place, s3) == "3 files, 0.0 MiB, without a manifest"
    folder = data_folder(place, tmp_path / "cache", s3)
    assert read(folder) == FILES
    assert data_digest([folder]) == data_digest([data]) == digest_of([data_contents(place, tmp_path, s3)])
    monkeypatch.setattr(S3Store, "download", None)
    assert data_folder(place, tmp_path / "cache", s3) == folder


def test_other_data_at_the_same_place_become_another_folder(s3: S3Store, place: str, tmp_path: Path) -> None:
    found = put_by_hand(s3, place)
    first = data_folder(place, tmp_path, s3)
    found.put("a b/ü.csv", b"more")
    assert data_folder(place, tmp_path, s3) != first


def test_data_that_change_while_they_are_brought_are_not_taken(
    s3: S3Store, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = put_by_hand(s3, place)
    fetch = bucket.fetch_files

    def meanwhile(*arguments: object) -> None:
        fetch(*arguments)  # type: ignore[arg-type]
        found.put("late.csv", b"late")

    monkeypatch.setattr(bucket, "fetch_files", meanwhile)
    with pytest.raises(DataError, match="changed while") as refused:
        data_folder(place, tmp_path / "cache", s3)
    assert refused.value.transient
    assert not list((tmp_path / "cache").glob("[!.]*"))
    monkeypatch.undo()
    assert "late.csv" in read(data_folder(place, tmp_path / "cache", s3))


def test_a_damaged_mirror_is_told_with_the_file(s3: S3Store, place: str, data: Path, tmp_path: Path) -> None:
    mirror_data(data, place, s3)
    name = "OCT2017/train/CNV/CNV-1-1.jpeg"
    s3.elsewhere(*place.removeprefix("s3://").split("/", 1)).put(name, b"0ne")
    with pytest.raises(DataError, match="not what its manifest says") as refused:
        data_folder(place, tmp_path, s3)
    assert name in refused.value.where and place in refused.value.where


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(
    s3: S3Store, place: str, tmp_path: Path
) -> None:
    put_by_hand(s3, place)
    with pytest.raises(DataError, match="nothing below") as refused:
        data_folder(place[:-1], tmp_path, s3)
    assert "fundus-r1 mirror --data" in refused.value.hint


def test_what_cannot_be_read_is_told(s3: S3Store, store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no bucket nowhere-at-all"):
        data_folder("s3://nowhere-at-all/eyes", tmp_path, s3)
    for none in (None, store):
        with pytest.raises(DataError, match="none of S3"):
            data_folder("s3://eyes/x", tmp_path, none)
    with pytest.raises(DataError, match="no address of a bucket"):
        data_folder("s3://", tmp_path, s3)
    with pytest.raises(DataError, match="gs:// cannot be read") as refused:
        data_folder("gs://eyes/x", tmp_path, s3)
    assert "s3://bucket/prefix" in refused.value.hint and "pvc://claim/path" in refused.value.hint
    with pytest.raises(DataError, match="not mounted here") as refused:
        data_folder("pvc://eyes/x", tmp_path, s3)
    assert "/pvc/eyes/x" in str(refused.value)
    with pytest.raises(DataError, match="is empty"):
        data_folder("")


def test_wrong_credentials_are_told_as_such(
    s3_server: LocalS3, place: str, s3: S3Store, tmp_path: Path
) -> None:
    s3._credentials = type(s3._credentials)(s3_server.access_key, "wrong")
    with pytest.raises(DataError, match="secret key does not belong") as refused:
        data_folder(place, tmp_path, s3)
    assert place in refused.value.where and "FUNDUS_R1_S3_SECRET_KEY" in refused.value.hint


def test_a_mounted_volume_is_a_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fundus_r1.spec.places.PVC_ROOT", tmp_path)
    assert data_folder("pvc://data/OCT2017") == data / "OCT2017"
    assert data_contents("pvc://data", tmp_path / "cache", None) == file_contents(data)
    assert look_at("pvc://data", None) == f"the folder {data}"


def test_too_little_room_is_told(
    s3: S3Store, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_by_hand(s3, place)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1})())
    with pytest.raises(MachineError, match=r"placement\.cache|not enough room"):
        data_folder(place, tmp_path, s3)


def test_an_empty_folder_is_not_mirrored(s3: S3Store, place: str, tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with pytest.raises(DataError, match="is empty"):
        mirror_data(tmp_path, place, s3)
