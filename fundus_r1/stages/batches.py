"""Rows made by a text model, batch by batch, so that a try that died is not paid for twice.

Each finished batch is kept in the store under the stage's output. The next try of the same
fingerprint finds it there, and asks only for the batches that are missing. Several batches may be
under way at once, so that an endpoint does not wait for the slowest answer of a batch; which ones
finish first does not show in the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, TypeVar

from fundus_r1.errors import StageError
from fundus_r1.progress import Progress
from fundus_r1.rows import Row
from fundus_r1.stages.base import Context
from fundus_r1.storage.lines import json_lines
from fundus_r1.storage.parts import PartSet

I = TypeVar("I")  # noqa: E741
R = TypeVar("R", bound=Row)

BATCH = 64
"""Items in a batch; the unit of progress and of what a failure can cost."""


def in_batches(
    ctx: Context[Any],
    items: Sequence[I],
    make: Callable[[Sequence[I]], Sequence[R]],
    row_type: type[R],
    unit: str,
    lanes: int = 1,
) -> list[R]:
    """One row for each item, in order.

    Args:
        ctx: of the running stage.
        items: the same in every try of the same fingerprint.
        make: a batch of items -> its rows, as many; called from several threads if there are lanes.
        row_type: type of the rows.
        unit: what the items are, in the plural.
        lanes: batches that are under way at once.

    Raises:
        StageError: `make` did not give one row for each item.
    """
    count = -(-len(items) // BATCH)
    prefix = f"{ctx.output.prefix}/batches-of-{BATCH}"
    parts = PartSet(ctx.store, prefix, count, ctx.placement.findings.lease_s)
    progress = Progress(ctx.output.stage, len(items), unit)
    progress.set(len(items) - sum(len(_batch(items, part)) for part in parts.missing()))

    counting = Lock()

    def compute(part: int) -> tuple[bytes, int]:
        batch = _batch(items, part)
        rows = list(make(batch))
        if len(rows) != len(batch):
            raise StageError(
                f"{len(batch)} {unit} became {len(rows)} rows",
                where=f"batch {part} of {count}",
                hint="this is a fault of the program, not of the data",
            )
        with counting:
            progress.advance(len(rows))
        return json_lines(rows), len(rows)

    parts.work(0, compute, min(lanes, max(count, 1)))
    return [row for part in range(count) for row in parts.rows(part, row_type)]


def _batch(items: Sequence[I], part: int) -> Sequence[I]:
    return items[part * BATCH : (part + 1) * BATCH]
