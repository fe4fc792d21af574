"""TOP's layout and its traps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fundus_r1.datasets.top import find, read
from fundus_r1.errors import DataError

Make = Callable[..., Path]


def test_flags_become_labels_and_diabetes_an_attribute(top: Make) -> None:
    root = top(
        [
            "000000_00.jpg,03090,78,M,L,0,0,0,0,0,0,0,0,0",
            "000000_01.jpg,03090,79,M,R,0,1,1,0,0,0,0,0,0",
            "000001_00.jpg,02702,76,F,L,0,0,0,0,0,0,0,0,1",
            "000001_01.jpg,00107,47,F,R,0,0,0,0,1,0,0,1,1",
        ],
        ["000000_00.jpg", "000000_01.jpg", "000001_00.jpg", "000001_01.jpg"],
    )
    found = {
        c.name: (c.labels, c.patient, c.eye, c.attributes["diabetes_mellitus"]) for c in read(root).candidates
    }
    assert found == {
        "img/000000_00.jpg": (("normal",), "top:03090", "left", "no"),
        "img/000000_01.jpg": (("rvo", "glaucoma"), "top:03090", "right", "no"),
        "img/000001_00.jpg": (("normal",), "top:02702", "left", "yes"),
        "img/000001_01.jpg": (("diabetic_retinopathy", "artery_occlusion"), "top:00107", "right", "yes"),
    }
    assert read(root).candidates[1].attributes["age"] == "79"


def test_extension_and_case_of_file_names_do_not_matter(top: Make) -> None:
    root = top(["000000_00.jpg,1,78,M,L,0,0,0,0,0,0,0,0,0"], ["000000_00.PNG"])
    assert [c.name for c in read(root).candidates] == ["img/000000_00.PNG"]


def test_bad_rows_are_set_aside_with_a_reason(top: Make) -> None:
    healthy = "78,M,L,0,0,0,0,0,0,0,0,0"
    root = top(
        [
            f"000000_00.jpg,1,{healthy}",
            f"000000_01.jpg,1,{healthy}",
            "000000_02.jpg,1,78,M,L,0,2,0,0,0,0,0,0,0",
            "000000_03.jpg,1,78,M,L,0,,0,0,0,0,0,0,0",
            f"000000_04.jpg,,{healthy}",
            f"000000_05.jpg,2,{healthy}",
            "000000_05.jpg,2,78,M,L,1,0,0,0,0,0,0,0,0",
            f"../../secret.jpg,2,{healthy}",
        ],
        [f"000000_{n:02d}.jpg" for n in (0, 2, 3, 4, 5, 6)],
    )
    reading = read(root)
    assert [c.name for c in reading.candidates] == ["img/000000_00.jpg"]
    assert sorted((row.path, row.reason) for row in reading.quarantined) == [
        ("img/../../secret.jpg", "missing"),
        ("img/000000_01.jpg", "missing"),
        ("img/000000_02.jpg", "bad_label"),
        ("img/000000_03.jpg", "unlabelled"),
        ("img/000000_04.jpg", "bad_row"),
        ("img/000000_05.jpg", "duplicate"),
        ("img/000000_05.jpg", "duplicate"),
        ("img/000000_06.jpg", "unlabelled"),
    ]


def test_it_is_found_at_and_below_a_folder_but_not_where_the_table_is_anothers(
    top: Make, tmp_path: Path
) -> None:
    root = top(["000000_00.jpg,1,78,M,L,0,0,0,0,0,0,0,0,0"], ["000000_00.jpg"])
    (tmp_path / "other" / "img").mkdir(parents=True)
    (tmp_path / "other" / "data.csv").write_text("filename,price\n")
    assert find(tmp_path) == find(root) == [root]


def test_a_lacking_column_is_an_error_that_names_it(top: Make) -> None:
    root = top([], ["000000_00.jpg"])
    (root / "data.csv").write_text("filename,ID,age,sex,LR,AMD,RVO,Gla,MH,DR,RD,RP,AO\n")
    assert find(root) == [root]
    with pytest.raises(DataError, match="dm"):
        read(root)
