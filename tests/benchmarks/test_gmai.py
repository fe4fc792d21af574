"""GMAI-MMBench's table and its traps."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fundus_r1.benchmarks import load_benchmark
from fundus_r1.datasets.images import Limits, examine, travelling_bytes
from fundus_r1.errors import DataError
from fundus_r1.pictures import Span
from fundus_r1.rows import Modality

COLUMNS = (
    "index", "image", "question", "A", "B", "C", "D", "E", "answer", "category", "clinical vqa task",
    "department", "perceptual granularity",
)  # fmt: skip


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 40), (level, 40, 20)).save(buffer, format="PNG")
    return buffer.getvalue()


def row(index: int, **changes: str) -> dict[str, str]:
    made = {
        "index": str(index),
        "image": base64.b64encode(png(index)).decode(),
        "question": "What disease does this fundus photograph show?",
        "A": "Glaucoma",
        "B": "Cataract",
        "C": "Drusen",
        "D": "",
        "E": "",
        "answer": "C",
        "category": "Drusen",
        "clinical vqa task": "Disease Diagnosis",
        "department": "Ophthalmology",
        "perceptual granularity": "image",
    }
    return {**made, **{name.replace("_", " "): value for name, value in changes.items()}}


def quoted(cell: str) -> str:
    needs = any(mark in cell for mark in '"\t\n')
    return '"' + cell.replace('"', '""') + '"' if needs else cell


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """A folder with a table of the given rows; `columns` are those of the header."""

    def write(*rows: dict[str, Any], columns: tuple[str, ...] = COLUMNS, ending: str = "\n") -> Path:
        lines = [columns, *([quoted(r.get(name, "")) for name in columns] for r in rows)]
        text = "".join("\t".join(line) + ending for line in lines)
        path = tmp_path / "data" / "GMAI-MMBench" / "GMAI-MMBench_VAL.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8-sig"))
        return tmp_path / "data"

    return write


def test_a_row_is_read_and_its_picture_stays_in_the_table(table):
    root = table(row(1), row(2))
    first, second = load_benchmark("gmai", root)
    assert (first.question_id, first.task, first.subtask) == ("1", "DD", "Drusen")
    assert first.options == {"A": "Glaucoma", "B": "Cataract", "C": "Drusen"}
    assert first.answers == ("C",)
    assert first.modality is Modality.CFP
    assert isinstance(second.file, Span)
    facts = examine(second.file, Limits())
    assert (facts.width, facts.height, facts.kept) == (48, 40, True)
    assert travelling_bytes(second.file, facts, Limits()) == png(2)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_quotes_tabs_and_line_breaks_in_cells_move_no_picture(table, ending):
    root = table(
        row(1, question='Look at the "fundus"\tphoto.\nWhat is it?'),
        row(2, A='A "soft"\ndrusen of the retina'),
        row(3),
        ending=ending,
    )
    found = load_benchmark("gmai", root)
    assert found[0].question == 'Look at the "fundus"\tphoto.\nWhat is it?'
    assert found[1].options["A"] == 'A "soft"\ndrusen of the retina'
    for number, question in enumerate(found, start=1):
        facts = examine(question.file, Limits())
        assert travelling_bytes(question.file, facts, Limits()) == png(number)


def test_the_five_tasks_by_full_name_or_abbreviation(table):
    tasks = {
        "Attribute Recognition": "AR", "Nervous Tissue": "NT", "Blood Vessels Recognition": "BVR",
        "disease diagnosis": "DD", "Severity Grading": "SG", "BVR": "BVR", "nt": "NT",
        "Nervous Tissue Recognition": "NT", "Image Quality Grading": None, "Cell": None,
    }  # fmt: skip
    root = table(*(row(n, clinical_vqa_task=name) for n, name in enumerate(tasks)))
    assert [q.task for q in load_benchmark("gmai", root)] == [task for task in tasks.values() if task]


@pytest.mark.parametrize(
    ("changes", "modality"),
    [
        ({"question": "Which layer is marked in this OCT image?"}, Modality.OCT),
        ({"question": "What is marked?", "A": "retinal artery", "B": "retinal vein"}, Modality.CFP),
        ({"question": "Which grade does the ultra-widefield fundus image show?"}, Modality.UWF),
        ({"question": "Which doctor reads the octopus test?", "category": "visual field"}, None),
        ({"question": "What does this slit-lamp photograph show?"}, None),
        ({"department": "Cardiovascular Surgery"}, None),
        ({"department": "ophthalmology "}, Modality.CFP),
    ],
)
def test_only_fundus_images_are_kept(table, changes, modality):
    found = load_benchmark("gmai", table(row(1, **changes)))
    assert [question.modality for question in found] == ([modality] if modality else [])


def test_a_modality_column_decides_where_there_is_one(table):
    columns = (*COLUMNS, "modality", "original task", "image_path")
    root = table(
        row(1, modality="OCT", original_task="OCT_layers"),
        row(2, modality="Slit Lamp"),
        columns=columns,
    )
    (question,) = load_benchmark("gmai", root)
    assert (question.modality, question.subtask) == (Modality.OCT, "OCT_layers")


def test_a_short_cell_names_the_row_that_has_the_picture(table):
    first, second, third = load_benchmark("gmai", table(row(1), row(2, image="1"), row(3)))
    assert second.file == first.file != third.file
    assert second.image == first.image


def test_test_parts_are_not_looked_at_and_a_table_without_answers_is_refused(table, tmp_path):
    root = table(row(1), columns=tuple(name for name in COLUMNS if name != "answer"))
    with pytest.raises(DataError, match="answer"):
        load_benchmark("gmai", root)
    file = root / "GMAI-MMBench" / "GMAI-MMBench_VAL.tsv"
    file.rename(file.with_name("GMAI_mm_bench_TEST_part_1.tsv"))
    assert load_benchmark("gmai", root) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"answer": "D"}, "answer"),
        ({"answer": ""}, "answer"),
        ({"question": "", "category": "fundus"}, "question"),
        ({"B": "", "C": "", "answer": "A"}, "A"),
        ({"image": "77"}, "image"),
        ({"image": ""}, "image"),
    ],
)
def test_a_bad_row_is_refused_by_name(table, changes, field):
    with pytest.raises(DataError) as caught:
        load_benchmark("gmai", table(row(1, **changes)))
    assert "GMAI-MMBench_VAL.tsv" in caught.value.where
    assert f"question 1, field {field}" in caught.value.where
    assert caught.value.hint


def test_half_a_download_is_refused(table):
    root = table(row(1), row(2))
    file = root / "GMAI-MMBench" / "GMAI-MMBench_VAL.tsv"
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"Row 2 has \d+ cells"):
        load_benchmark("gmai", root)


def test_the_same_table_twice_is_refused(table):
    file = table(row(1)) / "GMAI-MMBench" / "GMAI-MMBench_VAL.tsv"
    file.with_name("GMAI-MMBench_VAL_new.tsv").write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="have the id 1"):
        load_benchmark("gmai", file.parent)
