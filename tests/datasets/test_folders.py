from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.datasets.bucket import data_folder
from fundus_r1.datasets.folders import child, plain_name, search, walk
from fundus_r1.errors import DataError


def test_names_are_compared_without_encoding_case_and_punctuation() -> None:
    for name in ("A. Segmentation", "A.%20Segmentation", "a._segmentation", "A.  SEGMENTATION "):
        assert plain_name(name) == "a segmentation"


def test_a_walk_is_sorted_and_leaves_out_litter(tmp_path: Path) -> None:
    for name in ("b/x.png", "a/y.png", ".git/config", "__MACOSX/z.png", "a/.DS_Store", "a/Thumbs.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    seen = [(folder.name, files) for folder, _, files in walk(tmp_path)]
    assert seen == [(tmp_path.name, []), ("a", ["y.png"]), ("b", ["x.png"])]


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "real" / "x.png").touch()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "data")
    files = [name for _, _, names in walk(tmp_path / "data") for name in names]
    assert files == ["x.png"]


def test_a_search_stops_at_what_it_finds_and_keeps_out_of_benchmarks(tmp_path: Path) -> None:
    for name in (
        "deep/er/set/mark",
        "deep/er/set/inner/mark",
        "omni/QA_information",
        "omni/Images/x/mark",
        "omni/own/mark",
        "fun/datasets_preprocessed/x/mark",
    ):
        (tmp_path / name).mkdir(parents=True)
    found = search(tmp_path, lambda _folder, folders, _files: "mark" in folders)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["deep/er/set", "omni/own"]


def test_child_is_found_by_plain_name(tmp_path: Path) -> None:
    (tmp_path / "A.%20Segmentation").mkdir()
    assert child(tmp_path, "A. Segmentation") == tmp_path / "A.%20Segmentation"
    assert child(tmp_path, "B. Disease Grading") is None


def test_data_folders_are_local(tmp_path: Path) -> None:
    assert data_folder(str(tmp_path)) == data_folder(f"file://{tmp_path}") == tmp_path
    with pytest.raises(DataError, match="s3://"):
        data_folder("s3://bucket/data")
    with pytest.raises(DataError, match="does not exist"):
        data_folder(str(tmp_path / "nothing"))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="not a folder"):
        data_folder(str(tmp_path / "file"))
