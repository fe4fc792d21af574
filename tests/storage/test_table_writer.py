from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_r1.rows import Conversation, Split
from fundus_r1.storage.tables import TableWriter, from_parquet, to_parquet

ROWS = [
    Conversation(triplet_id=str(n), sample_id=str(n), prompt="p", response="r", split=Split.TRAIN)
    for n in range(600)
]
IMAGES = [f"image {n}".encode() for n in range(600)]
WHOLE = to_parquet(ROWS, IMAGES)


@given(st.lists(st.integers(0, 600), max_size=6).map(sorted))
@settings(deadline=None, max_examples=20)
def test_how_rows_are_spread_over_calls_does_not_show(cuts: list[int]) -> None:
    sink = io.BytesIO()
    with TableWriter(sink, Conversation) as writer:
        for start, end in zip([0, *cuts], [*cuts, 600], strict=True):
            writer.write(ROWS[start:end], IMAGES[start:end])
    assert sink.getvalue() == WHOLE


def test_a_path_is_written_too_and_no_rows_make_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    with TableWriter(path, Conversation):
        pass
    assert from_parquet(path.read_bytes(), Conversation) == []


def test_rows_and_images_must_be_as_many() -> None:
    with TableWriter(io.BytesIO(), Conversation) as writer, pytest.raises(ValueError, match="1 rows with 2"):
        writer.write(ROWS[:1], IMAGES[:2])
