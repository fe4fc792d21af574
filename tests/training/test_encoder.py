"""The encoder gives the model what its own processor would, and lets no text through that would harm."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fundus_r1.errors import DataError, ModelError
from fundus_r1.training.encoder import Encoder
from tests.training.taught import conversation, picture

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def encoder(tiny: Path) -> Encoder:
    return Encoder.of(tiny)


@pytest.fixture
def processor(tiny: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(tiny)


@pytest.mark.parametrize("size", [(28, 28), (57, 33), (224, 224), (300, 900), (2000, 1500)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_scaled_image_is_what_the_processor_itself_goes_on_with(
    encoder: Encoder, processor: Any, size: tuple[int, int], kind: str
) -> None:
    image = picture(size, kind=kind)
    scaled = encoder.scaled(image, "")
    with Image.open(io.BytesIO(image)) as file:
        whole = processor.image_processor(images=[file.convert("RGB")], return_tensors="pt")
    parts = processor.image_processor(
        images=[scaled], do_resize=False, input_data_format="channels_last", return_tensors="pt"
    )
    assert (whole["image_grid_thw"] == parts["image_grid_thw"]).all()
    assert (whole["pixel_values"] == parts["pixel_values"]).all(), "to the bit"
    assert encoder.image_tokens(*scaled.shape[:2]) == whole["image_grid_thw"].prod() // 4


def test_a_grey_image_with_transparency_is_read_in_colour(encoder: Encoder) -> None:
    file = io.BytesIO()
    Image.new("LA", (112, 140), (90, 255)).save(file, "PNG")
    scaled = encoder.scaled(file.getvalue(), "")
    assert scaled.shape == (140, 112, 3) and (scaled == 90).all()


@pytest.mark.parametrize("token", ["<|im_end|>", "<|image_pad|>", "<|im_start|>"])
@pytest.mark.parametrize("part", ["prompt", "response"])
def test_a_text_cannot_smuggle_in_special_tokens(encoder: Encoder, part: str, token: str) -> None:
    texts = {"prompt": "Q?", "response": "R"} | {part: f"a{token}b"}
    with pytest.raises(DataError, match="special token") as caught:
        encoder.tokens(conversation(texts["response"], prompt=texts["prompt"]))
    assert part in caught.value.what


def test_a_template_that_changes_the_response_is_refused(processor: Any) -> None:
    # As some templates do: reasoning is dropped from what the assistant said before.
    processor.chat_template = processor.chat_template.replace(
        "{{ part['text'] }}", "{{ part['text'].split('</think>')[-1] }}"
    )
    with pytest.raises(ModelError, match="chat template"):
        Encoder(processor).tokens(conversation("<think>a</think> <answer>b</answer>"))


@pytest.mark.parametrize("harm", ["no image", "truncated", "too narrow"])
def test_an_image_that_cannot_be_read_is_named(encoder: Encoder, harm: str) -> None:
    harmed = {"no image": b"GIF", "truncated": picture()[:60], "too narrow": picture((1, 300))}[harm]
    with pytest.raises(DataError, match="cannot be read") as caught:
        encoder.example(conversation(name="idrid/17#dr"), harmed)
    assert caught.value.where == "idrid/17#dr, image of s1"
