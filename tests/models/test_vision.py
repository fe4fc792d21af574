"""Which vision model a spec opens, and that the documented specs are specs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from fundus_r1.errors import ModelError
from fundus_r1.models.openai_vision import OpenAIVision
from fundus_r1.models.vision import open_vision
from fundus_r1.spec import Placement, RunSpec
from fundus_r1.spec.models import HubModel, ServedModel, TinyModel, VisionRef
from fundus_r1.spec.placement import Endpoint

DOCS = Path(__file__).resolve().parents[2] / "docs" / "endpoints.md"


def test_a_served_model_without_an_endpoint_is_told_what_to_set() -> None:
    with pytest.raises(ModelError, match="qwen3-vl-plus") as raised:
        open_vision(ServedModel(name="qwen3-vl-plus"), Placement(), None, role="free_form")
    assert raised.value.where == "placement.endpoints.free_form"
    assert "placement.endpoints.free_form.url" in raised.value.hint


@pytest.mark.parametrize(
    ("ref", "own_name", "asked_for"),
    [
        (ServedModel(name="eye"), None, "eye"),
        (ServedModel(name="eye"), "eye-awq", "eye-awq"),
        (HubModel(name="Qwen/Eye", revision="f" * 40), None, "Qwen/Eye"),
        (TinyModel(seed=3), None, "tiny-128x4-seed3"),
    ],
)
def test_an_endpoint_is_asked_for_the_model_by_the_name_it_has_there(
    ref: VisionRef, own_name: str | None, asked_for: str
) -> None:
    place = Endpoint(url="http://127.0.0.1:9/v1", model=own_name)
    opened = open_vision(ref, Placement(), place, role="observer")
    assert isinstance(opened, OpenAIVision) and opened.model == asked_for
    opened.close()


def test_the_documented_specs_are_specs_with_endpoints() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    specs = [RunSpec.model_validate(yaml.safe_load(example)) for example in examples]
    assert len(specs) == 3
    for spec in specs:
        given = spec.placement.endpoints.model_dump(exclude_none=True)
        assert given and all(place["url"].endswith("/v1") for place in given.values())
