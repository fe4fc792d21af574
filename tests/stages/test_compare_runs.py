"""Tab. 5 of any runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scored_run import GOOD, put_scores, trained

from fundus_r1.spec import SETUPS, RunSpec, load_spec
from fundus_r1.spec.models import HubModel, TinyModel
from fundus_r1.stages.compare_runs import Run, paper_row, rows, run_of, unlike
from fundus_r1.stages.job import fingerprints
from fundus_r1.storage.folder import FolderStore

SPECS = Path(__file__).resolve().parents[2] / "pipelines/specs"
QWEN_3B = HubModel(name="Qwen/Qwen2.5-VL-3B-Instruct")
QWEN_7B = HubModel(name="Qwen/Qwen2.5-VL-7B-Instruct")


def paper(setup: str, *overrides: str) -> RunSpec:
    return load_spec(SPECS / f"paper/3b-setup-{setup.lower()}.yaml", overrides)


def run(store: FolderStore, spec: RunSpec, label: str = "") -> Run:
    return run_of(label or spec.name, spec, store, fingerprints(spec.science)["evaluate"])


@pytest.mark.parametrize("setup", SETUPS)
def test_each_setup_stands_beside_its_row_of_the_paper(store: FolderStore, setup: str) -> None:
    spec = paper(setup)
    put_scores(store, spec)
    [row] = rows([run(store, spec)])
    assert (row.setup, row.missing) == (setup, "")
    assert [figure and round(figure.value or 0, 1) for figure in row.figures] == [60.0, 70.0, 50.0]
    assert row.average == pytest.approx(60.0)
    assert row.paper is not None and row.paper.name.startswith(f"{setup}: ") and row.paper.table == 5


def test_the_model_that_was_trained_furthest_stands_for_the_run(store: FolderStore) -> None:
    told = {}
    for setup in "ABF":
        put_scores(store, paper(setup))
        [row] = rows([run(store, paper(setup))])
        told[setup] = (row.model, row.figures[0] and row.figures[0].questions)
    assert told == {"A": ("base", 40), "B": ("after SFT", 40), "F": ("after GRPO", 40)}


def test_runs_stand_in_the_order_of_their_setups(store: FolderStore) -> None:
    specs = [paper(setup) for setup in "GAC"]
    for spec in specs:
        put_scores(store, spec)
    assert [row.setup for row in rows([run(store, spec) for spec in specs])] == ["A", "C", "G"]


def test_figures_of_the_paper_for_7b_and_for_released_weights_are_those_of_table_7() -> None:
    found = [
        paper_row("G", QWEN_7B),
        paper_row("A", QWEN_7B),
        paper_row("A", HubModel(name="Kimokcheon/Fundus-R1-3B")),
    ]
    assert [(row.name, row.table, row.average) for row in found if row] == [
        ("Fundus-R1-7B", 7, 73.8), ("Qwen2.5-VL-7B", 7, 52.1), ("Fundus-R1-3B", 7, 65.6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("setup", "student"),
    [
        ("F", QWEN_7B),
        ("G", TinyModel()),
        ("G", HubModel(name="lab/Fundus-R1-3B")),
        (None, QWEN_3B),
        ("A", HubModel(name="lab/other")),
    ],
)
def test_a_run_that_the_paper_has_not_has_no_row_of_it(setup: str | None, student: object) -> None:
    assert paper_row(setup, student) is None  # type: ignore[arg-type]


def test_drawn_questions_are_not_the_papers(store: FolderStore) -> None:
    put_scores(store, paper("G"), source="synthetic")
    [row] = rows([run(store, paper("G"))])
    assert row.paper is None and "drawn" in row.source


@pytest.mark.parametrize("values", [{"funbench": 0.6, "gmai": 0.5}, {**GOOD, "gmai": None}])
def test_there_is_no_mean_of_fewer_than_three(store: FolderStore, values: dict[str, float | None]) -> None:
    put_scores(store, paper("G"), values)
    [row] = rows([run(store, paper("G"))])
    assert row.average is None
    assert row.figures[0] is not None and row.figures[0].value == pytest.approx(60.0)


def test_a_run_without_results_is_a_row_that_says_why(store: FolderStore) -> None:
    empty = paper("B")
    put_scores(store, empty, {})
    told = rows([run(store, paper("G")), run(store, empty), run_of("x", paper("A"), None, None, "no store")])
    assert [(row.setup, row.missing) for row in told] == [
        ("A", "no store"), ("B", "no benchmark was given"), ("G", "its stage evaluate has not ended"),
    ]  # fmt: skip
    assert all(row.figures == (None, None, None) for row in told)


@pytest.mark.parametrize("setup", SETUPS)
def test_the_setup_of_an_evaluation_is_read_from_the_records_of_its_training(
    store: FolderStore, setup: str
) -> None:
    spec = paper(setup)
    record = put_scores(store, spec)
    found = run_of("evaluate", record, store, record.fingerprint)
    assert found.recipe == SETUPS[setup]
    [row] = rows([found])
    assert row.setup == setup and trained(spec) == {"base": "base"}.get(row.model, row.model[6:].lower())
    assert row.paper is not None and row.paper.name.startswith(f"{setup}: ")


def test_an_evaluation_whose_training_is_away_has_no_setup(store: FolderStore, tmp_path: Path) -> None:
    record = put_scores(store, paper("G"))
    store.delete(f"grpo/{record.inputs['grpo']}/record.json")
    [row] = rows([run_of("evaluate", record, store, record.fingerprint)])
    assert (row.setup, row.paper) == (None, None) and "not known" in row.trains
    assert row.average == pytest.approx(60.0), "what it scored is known"


def test_setups_of_one_science_are_alike_and_others_say_in_what_they_differ(store: FolderStore) -> None:
    specs = [paper("F"), paper("G"), paper("H", "science.sft.epochs=1", "placement.findings.workers=9")]
    runs = [run(store, spec) for spec in specs]
    assert unlike(runs) == {"paper-3b-setup-h": ["science.sft.epochs"]}


def test_answers_scored_by_another_program_are_told(store: FolderStore) -> None:
    from dataclasses import replace

    for setup in "FG":
        put_scores(store, paper(setup))
    first, second = (run(store, paper(setup)) for setup in "FG")
    assert unlike([first, second]) == {}
    assert second.evaluation is not None
    older = second.evaluation.model_copy(update={"revision": 1, "prompts": {"student": "0" * 64}})
    fields = unlike([first, replace(second, evaluation=older)])["paper-3b-setup-g"]
    assert fields == ["evaluate.prompts.student", "evaluate.revision"]


def test_a_row_is_plain_json(store: FolderStore) -> None:
    put_scores(store, paper("G"), {"funbench": 0.6})
    [row] = rows([run(store, paper("G"))])
    told = json.loads(json.dumps(row.as_json()))
    assert told["figures"] == {
        "funbench": {"value": 60.0, "questions": 40}, "omnimedvqa": None, "gmai": None,
    }  # fmt: skip
    assert told["paper"]["funbench"] == 67.1 and told["paper"]["average"] == 65.6
