"""Tab. 2, figure by figure."""

from __future__ import annotations

from typing import get_args

import pytest

from fundus_r1.benchmarks import paper_tables
from fundus_r1.ontology.table_2 import TABLE_2
from fundus_r1.spec.science import Dataset


def test_the_rows_are_the_collection_in_its_order() -> None:
    assert tuple(row.dataset for row in TABLE_2) == get_args(Dataset)


def test_table_2_adds_up_to_its_printed_totals() -> None:
    assert sum(row.samples for row in TABLE_2) == paper_tables.SAMPLES
    assert sum(row.pixel_labelled for row in TABLE_2) == 8_593
    assert 8_593 / paper_tables.SAMPLES < 0.06  # "less than 6%", Sec. 3.2.2


@pytest.mark.shared
def test_table_2_is_the_printed_one(paper: str) -> None:
    for row in TABLE_2:
        line = next(line for line in paper.splitlines() if line.startswith(f"| {row.name} ("))
        cells = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        assert cells[1:] == [str(row.samples), str(row.pixel_labelled), row.task]
