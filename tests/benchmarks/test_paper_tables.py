from __future__ import annotations

import re
from pathlib import Path

import pytest

from fundus_r1.benchmarks.metrics import mean, s2
from fundus_r1.benchmarks.paper_tables import ACCEPTED, SAMPLES, TABLE_5, TABLE_6, TABLE_7, TRACES
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.spec.setups import SETUPS

ROUNDING = 0.1 + 1e-9
"""A printed mean and the mean of printed figures are each off by up to 0.05."""


@pytest.fixture(scope="module")
def paper() -> str:
    file = Path(__file__).resolve().parents[3] / "shared" / "facts" / "paper.txt"
    if not file.is_file():
        pytest.skip("needs the paper's text beside the repository")
    return file.read_text(encoding="utf-8")


def cells(paper: str, *starts: str) -> list[list[str]]:
    """The non-empty cells of the table lines whose first cells are the given ones."""
    found = []
    for line in paper.splitlines():
        row = [cell.strip() for cell in line.split("|") if cell.strip()]
        if line.startswith("|") and [
            re.sub(r"^\\rowcolor\S+\s+", "", cell) for cell in row[: len(starts)]
        ] == [*starts]:
            found.append(row)
    return found


def test_all_setups_are_there():
    assert [row.setup for row in TABLE_5] == list(SETUPS)


@pytest.mark.parametrize("row", TABLE_5, ids=lambda row: row.setup)
def test_means_of_table_5(row):
    assert row.average == pytest.approx(mean([row.funbench, row.omni_fundus, row.gmai_fundus]), abs=ROUNDING)
    assert row.funbench == pytest.approx(mean(row.funbench_levels.values()), abs=ROUNDING)
    assert row.omni_fundus == pytest.approx(mean(row.omni_fundus_tasks.values()), abs=ROUNDING)
    assert row.gmai_fundus == pytest.approx(mean(row.gmai_fundus_tasks.values()), abs=ROUNDING)


@pytest.mark.parametrize("row", TABLE_6[:-1], ids=lambda row: row.finding)
def test_s2_of_table_6(row):
    assert row.finding in FINDINGS
    assert row.s2 == pytest.approx(s2(row.sensitivity, row.specificity), abs=ROUNDING)
    assert row.other_s2 == pytest.approx(s2(row.other_sensitivity, row.other_specificity), abs=ROUNDING)


@pytest.mark.parametrize(
    "column",
    ["sensitivity", "specificity", "s2", "other_sensitivity", "other_specificity", "other_s2"],
)
def test_averages_of_table_6(column):
    assert TABLE_6[-1].finding == "average"
    assert getattr(TABLE_6[-1], column) == pytest.approx(
        mean(getattr(row, column) for row in TABLE_6[:-1]), abs=ROUNDING
    )


@pytest.mark.parametrize("row", TABLE_7, ids=lambda row: row.model)
def test_averages_of_table_7(row):
    assert row.average == pytest.approx(mean([row.funbench, row.omni_fundus, row.gmai_fundus]), abs=ROUNDING)


def test_the_same_model_has_the_same_figures_in_both_tables():
    both = {"A": "Qwen2.5-VL-3B", "G": "Fundus-R1-3B"}
    table_7 = {row.model: row for row in TABLE_7}
    for row in TABLE_5:
        if row.setup in both:
            other = table_7[both[row.setup]]
            assert (row.average, row.funbench, row.omni_fundus, row.gmai_fundus) == (
                other.average, other.funbench, other.omni_fundus, other.gmai_fundus,
            )  # fmt: skip


def test_table_5_is_as_printed(paper):
    for row in TABLE_5:
        (line,) = cells(paper, f"{row.setup}:", row.name)
        printed = [float(cell) for cell in line[2:]]
        parts = (row.funbench_levels, row.omni_fundus_tasks, row.gmai_fundus_tasks)
        assert printed == [
            row.average, row.funbench, row.omni_fundus, row.gmai_fundus,
            *(value for part in parts for value in part.values()),
        ]  # fmt: skip
    (heads,) = cells(paper, "Avg")
    assert heads[4:] == [
        *TABLE_5[0].funbench_levels,
        *TABLE_5[0].omni_fundus_tasks,
        *TABLE_5[0].gmai_fundus_tasks,
    ]


def test_table_6_is_as_printed(paper):
    printed = {}
    for line in paper.splitlines():
        row = [cell.strip() for cell in line.split("|") if cell.strip()]
        if line.startswith("|") and len(row) == 7 and all(re.fullmatch(r"\d+\.\d", cell) for cell in row[1:]):
            name = re.sub(r"\s*\(\w+\)$|\.$", "", row[0]).lower().replace(" ", "_").replace("-", "_")
            printed[name] = [float(cell) for cell in row[1:]]
    printed["average"] = printed.pop("avg")
    for row in TABLE_6:
        assert printed.pop(row.finding) == [
            row.sensitivity, row.specificity, row.s2,
            row.other_sensitivity, row.other_specificity, row.other_s2,
        ]  # fmt: skip
    assert printed == {}


def test_table_7_is_as_printed(paper):
    table = paper[paper.index("| Model | Vision Encoder") :]
    printed = {}
    for line in table.splitlines():
        row = [cell.strip() for cell in line.split("|") if cell.strip()]
        if len(row) == 8 and re.fullmatch(r"\d+\.\d", row[-1]):
            name = re.sub(r"^\\rowcolor\S+\s+|\s*\(.*\)$", "", row[0])
            printed[name] = (row[3].replace("–", ""), *(float(cell) for cell in row[4:]))
    assert printed == {
        row.model: (row.samples, row.funbench, row.omni_fundus, row.gmai_fundus, row.average)
        for row in TABLE_7
    }


def test_the_funnel_is_as_printed(paper):
    for figure in (SAMPLES, TRACES, ACCEPTED):
        assert f"{figure:,}" in paper
    assert ACCEPTED < TRACES < SAMPLES
