"""What a run leaves open, and that nothing is asked for which it does not use."""

from __future__ import annotations

from typing import Any

import pytest

from fundus_r1.spec import RunSpec, Science
from fundus_r1.spec.pins import unpinned, unpinned_weights
from fundus_r1.spec.placement import Endpoint, Endpoints, Placement

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "ab" * 32


def hub(name: str, revision: str = COMMIT) -> dict[str, str]:
    return {"kind": "hub", "name": name, "revision": revision}


def pinned(**changes: Any) -> Science:
    """A science with nothing open, but for the changes, which replace whole parts."""
    whole = {
        "models": {"observer": hub("a/observer"), "student": hub("a/student")},
        "prompts": {"trace": DIGEST},
        "index": {
            "datasets": ["idrid", "top"],
            "benchmarks": ["funbench"],
            "manifests": {"idrid": DIGEST, "top": DIGEST, "funbench": DIGEST},
        },
        "knowledge": {"snapshot": DIGEST},
    }
    return Science.model_validate(whole | changes)


def paths(science: Science) -> list[str]:
    return [pin.path for pin in unpinned(science)]


def test_a_run_with_everything_pinned_leaves_nothing_open() -> None:
    assert paths(pinned()) == []


def test_the_defaults_leave_models_data_and_pages_open() -> None:
    open_paths = paths(RunSpec().science)
    assert open_paths[:2] == ["science.models.student.revision", "science.models.observer.revision"]
    assert "science.index.manifests.idrid" in open_paths and open_paths[-1] == "science.knowledge.snapshot"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"models": {"observer": hub("a/o"), "student": hub("a/s", "unpinned")}}, "models.student.revision"),
        ({"models": {"observer": hub("a/o"), "student": hub("a/s", "main")}}, "models.student.revision"),
        ({"models": {"observer": hub("a/o", "v1"), "student": hub("a/s")}}, "models.observer.revision"),
        (
            {
                "models": {
                    "observer": hub("a/o"),
                    "student": hub("a/s"),
                    "free_form": hub("a/f", "unpinned"),
                }
            },
            "models.free_form.revision",
        ),
        (
            {"knowledge": {"snapshot": DIGEST, "embedder": hub("a/e", "unpinned")}},
            "knowledge.embedder.revision",
        ),
        ({"prompts": {"trace": "unpinned"}}, "prompts.trace"),
        (
            {"index": {"datasets": ["idrid"], "benchmarks": [], "manifests": {"idrid": "unpinned"}}},
            "index.manifests.idrid",
        ),
        ({"index": {"datasets": ["idrid"], "benchmarks": []}}, "index.manifests.idrid"),
        ({"index": {"datasets": [], "benchmarks": ["gmai"]}}, "index.manifests.gmai"),
        ({"knowledge": {"snapshot": "unpinned"}}, "knowledge.snapshot"),
        ({"knowledge": {}}, "knowledge.snapshot"),
    ],
)
def test_each_open_value_is_named_with_what_to_do(changes: dict[str, Any], path: str) -> None:
    [pin] = unpinned(pinned(**changes))
    assert pin.path == f"science.{path}"
    assert pin.what and "fundus-r1" in pin.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"knowledge": {"sources": ["notes"]}},
        {"index": {"datasets": ["idrid"], "synthetic": {}}},
        {"index": {"datasets": [], "benchmarks": []}, "knowledge": {}},
        {
            "index": {"datasets": [], "benchmarks": []},
            "models": {"observer": hub("a/o", "unpinned"), "student": hub("a/s")},
        },
        {
            "traces": {"baseline": False},
            "models": {
                "observer": {"kind": "tiny"},
                "student": {"kind": "tiny"},
                "free_form": hub("a/f", "unpinned"),
            },
        },
    ],
)
def test_what_a_run_does_not_use_is_not_asked_for(changes: dict[str, Any]) -> None:
    assert paths(pinned(**changes)) == []


def test_a_run_that_only_learns_what_is_known_of_labels_needs_its_pages_and_no_observer() -> None:
    index, models = (
        {"datasets": [], "benchmarks": []},
        {"observer": hub("a/o", "unpinned"), "student": hub("a/s")},
    )
    knowledge = {"datasets": ["idrid"], "embedder": hub("a/e", "unpinned")}
    assert paths(pinned(index=index, models=models, knowledge=knowledge)) == [
        "science.knowledge.embedder.revision",
        "science.knowledge.snapshot",
    ]


def test_a_model_that_answers_at_an_endpoint_is_not_loaded() -> None:
    science = pinned(models={"observer": hub("a/o", "unpinned"), "student": hub("a/s", "unpinned")})
    served = Placement(endpoints=Endpoints(observer=Endpoint(url="http://127.0.0.1:1/v1")))
    assert len(unpinned_weights(science, Placement())) == 2
    assert [pin.path for pin in unpinned_weights(science, served)] == ["science.models.student.revision"]
