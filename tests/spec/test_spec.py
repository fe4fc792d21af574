"""Reading, checking and overriding specs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.errors import SpecError
from fundus_r1.spec import SETUPS, RunSpec, assumed_values, dump_spec, load_spec, placement, science
from fundus_r1.spec.base import Spec

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "pipelines/specs/tiny.yaml"


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_laptop_spec_loads_and_survives_a_round_trip(tmp_path: Path) -> None:
    spec = load_spec(TINY)
    assert load_spec(write(tmp_path, dump_spec(spec))) == spec


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("science: {sft: {epoch: 2}}", "science.sft.epoch; the nearest known one is epochs"),
        ("sience: {}", "unknown field sience; the nearest known one is science"),
        ("science: {models: {student: {kind: tiny, sed: 3}}}", "nearest known one is seed"),
        ("placement: {store: {buket: x}}", "nearest known one is bucket"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(tmp_path: Path, text: str, near: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec(write(tmp_path, text))
    assert near in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("science: {setup: K}", "science.setup"),
        ("science: {findings: {rollouts: 2, votes_over: 2}}", "no finding could ever be kept"),
        ("science: {pixels: {min_pixels: 90000, max_pixels: 80000}}", "no image could be brought between"),
        ("science: {sft: {epochs: two}}", "science.sft.epochs"),
        ("- a list", "must be a mapping"),
        ("a: b: c", "no YAML"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec(write(tmp_path, text))
    assert told in str(error.value)


def test_a_spec_that_is_not_there_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "none.yaml")


def test_overrides_win_and_are_checked_like_the_file() -> None:
    spec = load_spec(TINY, ["science.sft.epochs=1", "science.setup=B", "placement.store.kind=folder"])
    assert (spec.science.sft.epochs, spec.science.setup, spec.placement.store.kind) == (1, "B", "folder")
    with pytest.raises(SpecError, match="nearest known one is epochs"):
        load_spec(TINY, ["science.sft.epoch=1"])
    with pytest.raises(SpecError, match="no form"):
        load_spec(TINY, ["science.sft.epochs"])
    with pytest.raises(SpecError, match="plain value"):
        load_spec(TINY, ["science.setup.x=1"])


def test_a_frozen_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunSpec().name = "other"  # type: ignore[misc]


def test_the_ten_setups_train_what_table_5_says() -> None:
    assert "".join(SETUPS) == "ABCDEFGHIJ"
    assert [name for name, recipe in SETUPS.items() if recipe.traces] == list("EFGHIJ")
    assert [name for name, recipe in SETUPS.items() if recipe.sft] == list("BDEFGHIJ")
    assert [name for name, recipe in SETUPS.items() if recipe.grpo] == list("CDFGHIJ")
    assert {name: r.process for name, r in SETUPS.items() if r.process != "none"} == {
        "G": "selective",
        "H": "vf",
        "I": "dk",
        "J": "sum",
    }


def test_what_the_paper_publishes_is_not_assumed_and_what_it_lost_is() -> None:
    spec = RunSpec()
    assumed = {row.path for row in assumed_values(spec)}
    assert {"science.sft.learning_rate", "science.grpo.learning_rate", "science.grpo.plausible"} <= assumed
    assert (spec.science.sft.epochs, spec.science.grpo.epochs, spec.science.grpo.rollouts) == (2, 8, 4)
    assert (spec.science.grpo.temperature, spec.science.findings.rollouts) == (1.0, 5)
    assert spec.science.findings.votes_over == 2
    assert not {"science.sft.epochs", "science.grpo.rollouts", "science.grpo.temperature"} & assumed
    assert all(row.reason for row in assumed_values(spec))


def test_every_field_is_documented_under_itself() -> None:
    models = {
        model
        for model in [*vars(science).values(), *vars(placement).values(), RunSpec]
        if isinstance(model, type) and issubclass(model, Spec) and model is not Spec
    }
    bare = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert sorted(bare) == []


def test_a_placement_file_wins_over_the_spec_and_overrides_over_both(tmp_path: Path) -> None:
    place = tmp_path / "place.yaml"
    place.write_text("store: {endpoint: https://s3.example.org}\nfindings: {workers: 7}\n")
    spec = load_spec(TINY, ["placement.findings.lease_s=30"], place)
    assert spec.placement.store.endpoint == "https://s3.example.org"
    assert (spec.placement.findings.workers, spec.placement.findings.lease_s) == (7, 30)
    assert spec.placement.grpo == load_spec(TINY).placement.grpo
    assert spec.science == load_spec(TINY).science


def test_a_placement_file_with_an_unknown_field_is_refused_by_name(tmp_path: Path) -> None:
    place = tmp_path / "place.yaml"
    place.write_text("stor: {endpoint: https://s3.example.org}\n")
    with pytest.raises(SpecError) as error:
        load_spec(TINY, (), place)
    assert "placement.stor" in str(error.value) and str(place) in str(error.value)
