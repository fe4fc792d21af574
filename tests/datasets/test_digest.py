"""The digest by which a run knows its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.datasets.digest import Contents, data_digest
from fundus_r1.errors import DataError


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


FILES = {"a/x.png": b"1", "a/y.png": b"2", "z.csv": b"3"}


def test_the_place_and_the_order_of_folders_do_not_count(tmp_path: Path) -> None:
    here = fill(tmp_path / "here", FILES)
    there = fill(tmp_path / "far" / "away" / "there", dict(reversed(FILES.items())))
    other = fill(tmp_path / "other", {"q": b"9"})
    assert data_digest([here]) == data_digest([there])
    assert data_digest([here, other]) == data_digest([other, there])


@pytest.mark.parametrize(
    "change",
    [
        {"a/x.png": b"changed", "a/y.png": b"2", "z.csv": b"3"},
        {"a/renamed.png": b"1", "a/y.png": b"2", "z.csv": b"3"},
        {"a/x.png": b"2", "a/y.png": b"1", "z.csv": b"3"},
        {**FILES, "new": b""},
        {"b/x.png": b"1", "b/y.png": b"2", "z.csv": b"3"},
    ],
)
def test_names_and_contents_count(tmp_path: Path, change: dict[str, bytes]) -> None:
    assert data_digest([fill(tmp_path / "a", FILES)]) != data_digest([fill(tmp_path / "b", change)])


def test_two_folders_are_not_one_with_both(tmp_path: Path) -> None:
    both = fill(tmp_path / "both", {"x": b"1", "y": b"2"})
    apart = [fill(tmp_path / "p", {"x": b"1"}), fill(tmp_path / "q", {"y": b"2"})]
    assert data_digest([both]) != data_digest(apart)


def test_litter_does_not_count(tmp_path: Path) -> None:
    clean = data_digest([fill(tmp_path / "a", FILES)])
    assert data_digest([fill(tmp_path / "a", {"a/.DS_Store": b"x", "a/Thumbs.db": b"x"})]) == clean


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        data_digest([tmp_path / "nothing"])
    assert caught.value.where == str(tmp_path / "nothing")
    dangling = fill(tmp_path / "d", {"x": b""})
    (dangling / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match="cannot be read"):
        data_digest([dangling])


SCANS = {"OCT2017/train/CNV/CNV-1-1.jpeg": b"1", "OCT2017/train/DME/DME-2-1.jpeg": b"2"}


def test_a_manifest_is_that_of_the_dataset_wherever_it_lies(tmp_path: Path) -> None:
    here = fill(tmp_path / "here", SCANS)
    deep = fill(tmp_path / "deep", {f"some/where/{name}": data for name, data in SCANS.items()})
    beside = fill(tmp_path / "beside", {**SCANS, "notes.txt": b"mine", "other/x.png": b"9"})
    found = {Contents([root]).manifest("kermany") for root in (here, deep, beside)}
    assert len(found) == 1 and None not in found
    assert Contents([fill(tmp_path / "more", {"q": b"9"}), deep]).manifest("kermany") in found


def test_a_manifest_is_another_for_another_file_of_the_dataset(tmp_path: Path) -> None:
    first = Contents([fill(tmp_path / "a", SCANS)]).manifest("kermany")
    changed = fill(tmp_path / "b", {**SCANS, "OCT2017/train/CNV/CNV-1-1.jpeg": b"x"})
    assert Contents([changed]).manifest("kermany") != first


def test_a_dataset_that_is_not_there_has_no_manifest(tmp_path: Path) -> None:
    assert Contents([fill(tmp_path / "a", SCANS)]).manifest("idrid") is None
