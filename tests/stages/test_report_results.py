"""The results of a run beside the paper's tables."""

from __future__ import annotations

from typing import Any

import pytest
from made_run import put

from fundus_r1.benchmarks.paper_tables import TABLE_7
from fundus_r1.rows import Score
from fundus_r1.stages.report_results import results
from fundus_r1.storage.folder import FolderStore

METRIC = {"funbench": "f1", "omnimedvqa": "accuracy", "gmai": "accuracy"}


def overall(model: str, benchmark: str, value: float | None, source: str = "given") -> Score:
    return Score.model_validate(
        {
            "model": model, "benchmark": benchmark, "source": source, "level": "overall", "name": "overall",
            "metric": METRIC[benchmark], "value": value, "questions": 10,
        }
    )  # fmt: skip


def together(store: FolderStore, scores: list[Score]) -> list[dict[str, Any]]:
    """The tables that stand beside Tab. 7."""
    output = put(store, "evaluate", lambda writer: writer.write_rows("scores.jsonl", scores))
    return [table for table in results({"evaluate": output})["tables"] if "Tab. 7" in table["title"]]


def test_the_three_benchmarks_and_their_mean_stand_beside_table_7(store: FolderStore) -> None:
    values = {"funbench": 0.5, "omnimedvqa": 0.6, "gmai": 0.7}
    scores = [overall(model, name, value) for model in ("grpo", "base") for name, value in values.items()]
    [table] = together(store, scores)
    assert table["columns"] == ["FunBench", "Omni-Fundus", "GMAI-Fundus", "average"]
    assert [row["name"] for row in table["rows"]] == ["base", "after GRPO"]
    assert table["rows"][0]["values"] == pytest.approx([50.0, 60.0, 70.0, 60.0])
    assert [row["values"] for row in table["paper"]] == [
        [row.funbench, row.omni_fundus, row.gmai_fundus, row.average] for row in TABLE_7
    ]


@pytest.mark.parametrize("third", [None, "not asked"])
def test_there_is_no_mean_of_fewer_than_three(store: FolderStore, third: str | None) -> None:
    scores = [overall("base", "funbench", 0.5), overall("base", "omnimedvqa", 0.6)]
    if third is None:
        scores.append(overall("base", "gmai", None))
    [table] = together(store, scores)
    assert table["rows"][0]["values"] == [50.0, 60.0, None, None]


def test_drawn_questions_and_given_ones_are_not_mixed(store: FolderStore) -> None:
    scores = [
        overall("base", "funbench", 0.5),
        overall("base", "funbench", 0.1, "synthetic"),
    ]
    given, drawn = together(store, scores)
    assert given["rows"][0]["values"][0] == 50.0 and drawn["rows"][0]["values"][0] == 10.0
    assert "drawn images" in str(drawn["title"])
