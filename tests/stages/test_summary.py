"""What the UI is shown of an output."""

from __future__ import annotations

import datetime

import pytest

from fundus_r1.rows import FindingQuality
from fundus_r1.stages.summary import confusion
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput


def evaluated(store: FolderStore, rows: list[FindingQuality]) -> StageOutput:
    writer = OutputWriter(store, "evaluate", "0" * 64)
    writer.write_rows("finding_quality.jsonl", rows)
    record = writer.close(
        revision=1, science={}, prompts={}, inputs={}, counts={}, models={},
        started=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    return StageOutput(store, record)


def row(method: str, images: int, positives: int, hits: int, rejected: int) -> FindingQuality:
    negatives = images - positives
    return FindingQuality.model_validate(
        {
            "method": method,
            "finding": "drusen",
            "images": images,
            "positives": positives,
            "sensitivity": hits / positives if positives else None,
            "specificity": rejected / negatives if negatives else None,
            "s2": None,
        }
    )


@pytest.mark.parametrize("thirds", [0, 1, 2, 3])
def test_the_confusion_is_that_of_the_observer_over_all_findings(store: FolderStore, thirds: int) -> None:
    rows = [row("ours", 10, 3, thirds, 5), row("ours", 7, 0, 0, 6), row("free", 10, 3, 3, 7)]
    categories, table = confusion(evaluated(store, rows)) or ([], [])
    assert categories == ["present", "absent"]
    assert table == [[thirds, 3 - thirds], [3, 11]]


def test_without_masks_there_is_no_confusion(store: FolderStore) -> None:
    assert confusion(evaluated(store, [])) is None
