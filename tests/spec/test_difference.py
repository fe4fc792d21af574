"""How two specs differ."""

from __future__ import annotations

from pathlib import Path

from fundus_r1.spec import load_spec
from fundus_r1.spec.difference import differences

TINY = Path(__file__).resolve().parents[2] / "pipelines/specs/tiny.yaml"


def test_equal_specs_do_not_differ() -> None:
    assert differences(load_spec(TINY), load_spec(TINY)) == []


def test_each_difference_says_whether_it_changes_results() -> None:
    changed = [
        "name=other",
        "placement.findings.workers=5",
        "science.sft.epochs=2",
        "science.prompts={trace: abc}",
        "science.index.manifests={idrid: abc}",
        "science.models.student={kind: hub, name: a/b}",
    ]
    found = {row.path: row for row in differences(load_spec(TINY), load_spec(TINY, changed))}
    assert {path for path, row in found.items() if row.changes_results} == {
        "science.sft.epochs",
        *(
            f"science.models.student.{name}"
            for name in ("kind", "name", "revision", "seed", "hidden", "layers")
        ),
    }
    assert {path for path, row in found.items() if not row.in_science} == {
        "name",
        "placement.findings.workers",
    }
    assert not found["science.prompts.trace"].changes_results
    assert not found["science.index.manifests.idrid"].changes_results


def test_a_field_that_one_side_lacks_has_no_value_there() -> None:
    (row,) = differences(load_spec(TINY), load_spec(TINY, ["science.prompts={trace: abc}"]))
    assert row.as_json() == {"path": "science.prompts.trace", "b": "abc", "changes_results": False}
