"""OIA-ODIR's two layouts and their traps."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from dataset_layouts import ODIR_HEADER, odir, photo, table, workbook

from fundus_r1.datasets.odir import find, read
from fundus_r1.errors import DataError

BOOK = "Training Set/Annotation/training annotation (English).xlsx"


def row(number: int, left: str, right: str, flags: str) -> list[object]:
    """A patient with the given flags, such as ``DO``."""
    files = [f"{number}_left.jpg", f"{number}_right.jpg"]
    return [number, 60, "Male", *files, left, right, *(int(flag in flags) for flag in "NDGCAHMO")]


def kaggle(root: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Kaggle's copy: a line for each eye, in which the whole patient stands."""
    for line in rows:
        for seed, name in enumerate(line[3:5]):
            photo(root / "ODIR-5K" / "preprocessed_images" / str(name), 10 * int(str(line[0])) + seed)
    text = io.StringIO()
    lines = [[*line, name] for line in rows for name in line[3:5]]
    csv.writer(text).writerows([[*ODIR_HEADER, "filename"], *lines])
    return table(root / "ODIR-5K" / "full_df.csv", text.getvalue()).parent


def test_each_eye_has_the_labels_of_its_own_keywords(tmp_path: Path) -> None:
    found = {c.file.name: (c.labels, c.patient, c.eye) for c in read(odir(tmp_path)).candidates}
    assert found == {
        "0_left.jpg": (("cataract",), "odir:0", "left"),
        "0_right.jpg": (("normal",), "odir:0", "right"),
        "1_left.jpg": (("diabetic_retinopathy", "other_abnormality"), "odir:1", "left"),
        "1_right.jpg": (("normal",), "odir:1", "right"),
        "2_left.jpg": (("glaucoma",), "odir:2", "left"),
        "2_right.jpg": (("glaucoma", "amd"), "odir:2", "right"),
    }


def test_both_test_sets_are_held_out(tmp_path: Path) -> None:
    assert [file.name for file in read(odir(tmp_path)).held_out] == ["900_left.jpg", "901_left.jpg"]


def test_kaggles_copy_is_read_once_though_each_patient_stands_there_twice(tmp_path: Path) -> None:
    folder = kaggle(tmp_path, [row(3, "hypertensive retinopathy", "pathological myopia", "HM")])
    assert find(tmp_path) == [folder]
    reading = read(folder)
    assert [(c.name, c.labels) for c in reading.candidates] == [
        ("preprocessed_images/3_left.jpg", ("hypertensive_retinopathy",)),
        ("preprocessed_images/3_right.jpg", ("pathological_myopia",)),
    ]
    assert reading.quarantined == []


@pytest.mark.parametrize(
    ("keywords", "flags", "labels"),
    [
        ("drusen", "O", ("other_abnormality",)),
        ("epiretinal membrane，diabetic retinopathy", "DO", ("diabetic_retinopathy", "other_abnormality")),
        ("white vessel，cataract", "C", ("cataract",)),
        ("normal fundus，drusen", "O", ("other_abnormality",)),
        ("severe nonproliferative retinopathy，hypertensive retinopathy", "DH",
         ("diabetic_retinopathy", "hypertensive_retinopathy")),
        ("dry age-related macular degeneration", "A", ("amd",)),
        ("myopia retinopathy", "M", ("pathological_myopia",)),
    ],
)  # fmt: skip
def test_keywords_and_flags_together_are_the_labels(
    tmp_path: Path, keywords: str, flags: str, labels: tuple[str, ...]
) -> None:
    folder = kaggle(tmp_path, [row(1, keywords, "normal fundus", flags)])
    assert [c.labels for c in read(folder).candidates] == [labels, ("normal",)]


@pytest.mark.parametrize(
    ("keywords", "flags", "reason"),
    [
        ("", "C", "unlabelled"),
        ("lens dust，low image quality", "C", "unlabelled"),
        ("anterior segment image，cataract", "C", "unlabelled"),
        ("no fundus image", "", "unlabelled"),
        ("glaucoma", "C", "bad_label"),
    ],
)
def test_an_eye_without_a_sure_label_is_set_aside(
    tmp_path: Path, keywords: str, flags: str, reason: str
) -> None:
    reading = read(kaggle(tmp_path, [row(1, keywords, "normal fundus", flags)]))
    assert [c.eye for c in reading.candidates] == ["right"]
    assert [(r.path, r.reason) for r in reading.quarantined] == [("preprocessed_images/1_left.jpg", reason)]


def test_contradicting_rows_and_missing_files_are_set_aside(tmp_path: Path) -> None:
    folder = kaggle(tmp_path, [row(1, "cataract", "cataract", "C"), row(1, "drusen", "cataract", "O")])
    (folder / "preprocessed_images" / "1_right.jpg").unlink()
    photo(folder / "preprocessed_images" / "77_left.jpg", 5)
    assert sorted((r.path.rsplit("/", 1)[-1], r.reason) for r in read(folder).quarantined) == [
        ("1_left.jpg", "duplicate"),
        ("1_left.jpg", "duplicate"),
        ("1_right.jpg", "duplicate"),
        ("1_right.jpg", "duplicate"),
        ("77_left.jpg", "unlabelled"),
    ]


def test_a_lacking_table_or_column_is_named(tmp_path: Path) -> None:
    folder = odir(tmp_path)
    workbook(folder / BOOK, Sheet1=[["ID", "Left-Fundus", "Right-Fundus"]])
    with pytest.raises(DataError, match="left-diagnostic keywords, right-diagnostic keywords"):
        read(folder)
    for book in (folder / BOOK).parent.iterdir():
        book.unlink()
    with pytest.raises(DataError, match="lacks the table"):
        read(folder)
