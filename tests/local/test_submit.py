"""What can be known of a run where it is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.errors import DataError, SpecError
from fundus_r1.local.submit import resolved_here
from fundus_r1.spec import load_spec

PAPER = Path(__file__).resolve().parents[2] / "pipelines/specs/paper/3b-setup-g.yaml"


def test_data_that_are_not_on_this_machine_are_left_to_the_run() -> None:
    far = load_spec(PAPER, ["placement.data=[s3://eyes/fundus, pvc://data/more]"])
    found = resolved_here(far)
    assert found.placement.data == ("s3://eyes/fundus", "pvc://data/more")
    assert found.science.index.data_digest is None


def test_data_that_should_be_on_this_machine_must_be(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        resolved_here(load_spec(PAPER, [f"placement.data=[{tmp_path / 'none'}]"]))


def test_another_prompt_than_the_spec_pins_is_refused_before_anything_is_sent() -> None:
    far = load_spec(PAPER, ["placement.data=[s3://eyes/fundus]", f"science.prompts.trace={'ab' * 32}"])
    with pytest.raises(SpecError, match="prompt trace that is installed"):
        resolved_here(far)
