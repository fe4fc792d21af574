"""The paper's runs: the files are those of the table, and differ only in what the paper says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from fundus_r1.benchmarks.paper_tables import TABLE_5, TABLE_7
from fundus_r1.spec import SETUPS, RunSpec, assumed_values, load_spec
from fundus_r1.spec.difference import differences
from fundus_r1.spec.pins import unpinned
from fundus_r1.spec.science import Benchmark, Dataset
from fundus_r1.spec.setups import Setup
from fundus_r1.stages import STAGES
from fundus_r1.stages.compare import compare
from fundus_r1.stages.job import fingerprints, slices
from fundus_r1.stages.resolve import prompts_of_the_stages
from pipelines.paper_specs import FOLDER, PaperRun, runs, spec_of, written

RUNS = {run.file: run for run in runs()}
SETUP_NAMES: tuple[Setup, ...] = get_args(Setup)
UPSTREAM = STAGES[: STAGES.index("trainset")]


def spec(file: str) -> RunSpec:
    return load_spec(FOLDER / file)


@pytest.fixture(scope="module")
def setups() -> dict[str, RunSpec]:
    """Setup -> its run with the 3B student, as the file says."""
    return {name: spec(f"3b-setup-{name.lower()}.yaml") for name in SETUP_NAMES}


@pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))
def test_golden_spec_is_what_the_table_says(
    run: PaperRun, golden_bytes: Callable[[Path, bytes], None]
) -> None:
    golden_bytes(FOLDER / run.file, written(run).encode())


def test_there_is_a_file_for_each_run_and_no_other() -> None:
    expected = [f"3b-setup-{name.lower()}.yaml" for name in "ABCDEFGHIJ"]
    expected += ["7b-setup-g.yaml", "released-3b.yaml", "released-7b.yaml"]
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(expected) == sorted(RUNS)


@pytest.mark.parametrize("file", RUNS)
def test_a_file_holds_every_field_of_the_science(file: str) -> None:
    tree = yaml.safe_load((FOLDER / file).read_text(encoding="utf-8"))
    assert tree["science"] == spec_of(RUNS[file]).science.model_dump(mode="json")


@pytest.mark.parametrize("file", RUNS)
def test_a_file_gives_the_reason_of_each_value_that_is_assumed(file: str) -> None:
    text = " ".join(line.strip().removeprefix("# ") for line in (FOLDER / file).read_text().splitlines())
    for row in assumed_values(spec(file).science):
        assert f"assumed: {row.reason}" in text, row.path


def test_setups_differ_in_the_setup_and_the_name_alone(setups: dict[str, RunSpec]) -> None:
    for name in SETUP_NAMES[1:]:
        paths = [row.path for row in differences(setups["A"], setups[name])]
        assert paths == ["name", "science.setup"], name


def recipe_slices(run: RunSpec) -> dict[str, dict[str, Any]]:
    """What the recipe of Tab. 5 puts into the slices of the stages."""
    cut = slices(run.science)
    return {
        "trainset": {key: cut["trainset"][key] for key in ("traces", "sft", "grpo")},
        "sft": {"train": cut["sft"]["train"]},
        "grpo": {key: cut["grpo"][key] for key in ("train", "process")},
    }


def test_setups_train_what_table_5_says(setups: dict[str, RunSpec]) -> None:
    for name, run in setups.items():
        recipe = SETUPS[name]
        assert recipe_slices(run) == {
            "trainset": {"traces": recipe.traces, "sft": recipe.sft, "grpo": recipe.grpo},
            "sft": {"train": recipe.sft},
            "grpo": {"train": recipe.grpo, "process": recipe.process},
        }, name


def test_what_the_setups_read_differs_in_the_recipe_alone(setups: dict[str, RunSpec]) -> None:
    recipe_fields = {"traces", "sft", "grpo", "train", "process", "judge"}
    first = slices(setups["A"].science)
    for name, run in setups.items():
        for stage, cut in slices(run.science).items():
            if stage == "report":
                continue
            differing = {key for key in cut if cut[key] != first[stage][key]}
            assert differing <= recipe_fields, f"{name}, {stage}"


def test_setups_share_the_stages_before_the_training_set(setups: dict[str, RunSpec]) -> None:
    prints = {name: fingerprints(run.science) for name, run in setups.items()}
    for stage in UPSTREAM:
        assert len({known[stage] for known in prints.values()}) == 1, stage


def test_setups_share_what_their_recipes_have_in_common(setups: dict[str, RunSpec]) -> None:
    prints = {name: fingerprints(run.science) for name, run in setups.items()}

    def sharing(stage: str) -> list[str]:
        groups: dict[str, str] = {}
        for name in SETUP_NAMES:
            groups[prints[name][stage]] = groups.get(prints[name][stage], "") + name
        return sorted(groups.values())

    # B needs conversations, C prompts, D both; E has traces and no prompts; F to J have all.
    assert sharing("trainset") == ["A", "B", "C", "D", "E", "FGHIJ"]
    assert sharing("sft") == ["A", "B", "C", "D", "E", "FGHIJ"]
    assert len(sharing("grpo")) == 10


def test_the_two_sizes_differ_in_the_student_alone() -> None:
    small, large = spec("3b-setup-g.yaml"), spec("7b-setup-g.yaml")
    found = {row.path: (row.a, row.b) for row in differences(small, large)}
    assert found.pop("name") == ("paper-3b-setup-g", "paper-7b-setup-g")
    assert found == {
        "science.models.student.name": ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct")
    }
    stages = [row.stage for row in compare(small, large).stages]
    assert stages == ["sft", "grpo", "evaluate", "report"]


def test_released_weights_are_only_evaluated() -> None:
    for size in ("3b", "7b"):
        run = spec(f"released-{size}.yaml")
        assert not (run.science.recipe.sft or run.science.recipe.grpo)
        assert run.science.index.datasets == ()
        assert run.science.index.benchmarks == get_args(Benchmark)
        assert [pin.path for pin in unpinned(run.science)] == [
            "science.models.student.revision",
            *(f"science.index.manifests.{name}" for name in get_args(Benchmark)),
        ]


def test_released_weights_answer_the_questions_that_the_trained_ones_do() -> None:
    trained, released = spec("3b-setup-g.yaml").science, spec("released-3b.yaml").science
    assert released.evaluate == trained.evaluate and released.pixels == trained.pixels
    assert released.index.benchmarks == trained.index.benchmarks


def test_what_could_not_be_looked_up_is_unpinned_and_never_invented() -> None:
    open_pins = [pin.path for pin in unpinned(spec("3b-setup-g.yaml").science)]
    assert open_pins == [
        "science.models.student.revision",
        "science.models.observer.revision",
        *(f"science.index.manifests.{name}" for name in (*get_args(Dataset), *get_args(Benchmark))),
        "science.knowledge.snapshot",
    ]


def test_prompts_are_pinned_by_their_hashes() -> None:
    for file in RUNS:
        assert spec(file).science.prompts == prompts_of_the_stages(), file


def test_each_header_has_the_row_of_the_paper() -> None:
    for row in TABLE_5:
        head = (FOLDER / f"3b-setup-{row.setup.lower()}.yaml").read_text().partition("\nname:")[0]
        assert f"average {row.average}" in head and f"FunBench {row.funbench}" in head
    for row in TABLE_7[-2:]:
        head = (FOLDER / f"released-{row.model[-2:].lower()}.yaml").read_text().partition("\nname:")[0]
        assert row.model in head and f"average {row.average}" in head
