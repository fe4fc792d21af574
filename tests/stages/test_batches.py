"""Rows made batch by batch: paid for once, in order, however many batches are under way at once."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from fundus_r1.errors import ModelError, StageError
from fundus_r1.rows import Row
from fundus_r1.spec import Placement
from fundus_r1.stages import batches
from fundus_r1.stages.base import Context
from fundus_r1.stages.batches import in_batches
from fundus_r1.storage.output import OutputWriter


class Square(Row):
    """What becomes of an item."""

    item: int
    square: int


ITEMS = list(range(50))
ROWS = [Square(item=n, square=n * n) for n in ITEMS]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 8)


@pytest.fixture
def ctx(store):
    return Context(None, Placement(), store, OutputWriter(store, "traces", "0" * 64), {})


def squares(batch):
    return [Square(item=n, square=n * n) for n in batch]


@pytest.mark.parametrize("lanes", [1, 4, 99])
def test_lanes_change_no_row(ctx, lanes):
    def uneven(batch):
        time.sleep(0.02 * (batch[0] % 3))
        return squares(batch)

    assert in_batches(ctx, ITEMS, uneven, Square, "squares", lanes=lanes) == ROWS
    assert in_batches(ctx, ITEMS, lambda batch: pytest.fail("asked again"), Square, "squares") == ROWS


def test_so_many_batches_are_under_way_at_once(ctx):
    together = threading.Barrier(3, timeout=20)

    def meeting(batch):
        together.wait()
        return squares(batch)

    assert in_batches(ctx, ITEMS[:48], meeting, Square, "squares", lanes=3) == ROWS[:48]


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_try_that_failed_is_not_paid_for_twice(ctx, lanes):
    asked: Counter[int] = Counter()

    def failing(batch):
        asked.update(batch)
        if 24 in batch and asked[24] == 1:
            raise ModelError("no more credit")
        return squares(batch)

    with pytest.raises(ModelError, match="credit"):
        in_batches(ctx, ITEMS, failing, Square, "squares", lanes=lanes)
    assert in_batches(ctx, ITEMS, failing, Square, "squares", lanes=lanes) == ROWS
    assert {item for item, times in asked.items() if times > 1} == set(range(24, 32))


def test_nothing_becomes_nothing(ctx):
    assert in_batches(ctx, [], squares, Square, "squares", lanes=5) == []


def test_a_batch_that_loses_an_item_is_refused(ctx):
    with pytest.raises(StageError, match="8 squares became 7 rows"):
        in_batches(ctx, ITEMS, lambda batch: squares(batch[1:]), Square, "squares")
