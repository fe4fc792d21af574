"""What bears loss is the response and the end of turn, to the character; nothing is ever cut."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fundus_r1.errors import DataError, ModelError
from fundus_r1.models.tiny import build_tiny
from fundus_r1.rows import Conversation, Split
from fundus_r1.spec.models import TinyModel

pytestmark = pytest.mark.engines

RESPONSES = (
    "<think>There are drusen.\n\nThey speak for AMD.</think> <answer>AMD</answer>",
    "<answer>Moderate NPDR</answer>",
    "<think>Ä μ-aneurysm… 血管 🙂</think> <answer>no_dr</answer>",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny"), TinyModel(hidden=64, layers=2))


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(folder)


@pytest.fixture
def collator(processor: Any) -> Any:
    from fundus_r1.training.collator import Collator

    return Collator(processor, max_length=2000)


def _example(
    response: str, *, prompt: str = "What is it?", size: tuple[int, int] = (224, 224), name: str = "t1"
) -> Any:
    from fundus_r1.training.collator import Example

    file = io.BytesIO()
    Image.new("RGB", size, (120, 60, 30)).save(file, "PNG")
    row = Conversation(triplet_id=name, sample_id="s1", prompt=prompt, response=response, split=Split.TRAIN)
    return Example(row, file.getvalue())


def _batch(collator: Any) -> tuple[list[Any], dict[str, Any]]:
    sizes = [(224, 224), (120, 300), (64, 64)]
    examples = [
        _example(text, size=size, prompt="Q? " * (5 * number + 1))
        for number, (text, size) in enumerate(zip(RESPONSES, sizes, strict=True))
    ]
    return examples, collator(examples)


def test_the_loss_is_on_the_response_and_the_end_of_turn_alone(collator: Any) -> None:
    examples, batch = _batch(collator)
    tokenizer = collator.tokenizer
    for example, ids, labels in zip(examples, batch["input_ids"], batch["labels"], strict=True):
        bearing = labels != -100
        assert tokenizer.decode(labels[bearing]) == example.conversation.response + "<|im_end|>"
        assert (ids[bearing] == labels[bearing]).all()
        first, last = bearing.nonzero()[0].item(), bearing.nonzero()[-1].item()
        assert bearing[first : last + 1].all(), "the response is one piece"
        assert tokenizer.decode(ids[:first]).endswith("<|im_start|>assistant\n")
        assert example.conversation.prompt in tokenizer.decode(ids[:first])


def test_padding_is_on_the_right_and_counts_for_nothing(collator: Any) -> None:
    examples, batch = _batch(collator)
    lengths = [collator.encode(example)["input_ids"].shape[1] for example in examples]
    assert len(set(lengths)) == 3
    assert batch["input_ids"].shape == (3, max(lengths))
    for row, length in enumerate(lengths):
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (max(lengths) - length)
        assert (batch["labels"][row, length:] == -100).all()
        assert (batch["input_ids"][row, length:] == collator.tokenizer.pad_token_id).all()
        assert batch["labels"][row, length - 1] == collator.tokenizer.eos_token_id


def test_every_image_token_is_marked_for_the_rotary_positions(collator: Any) -> None:
    _, batch = _batch(collator)
    is_image = batch["input_ids"] == collator.processor.image_token_id
    assert (is_image == (batch["mm_token_type_ids"] == 1)).all()
    patches = batch["image_grid_thw"].prod(dim=1)
    assert batch["pixel_values"].shape[0] == patches.sum()
    assert (is_image.sum(dim=1) == patches // 4).all()


def test_a_batch_has_the_loss_of_its_conversations(collator: Any, folder: Path) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    examples, batch = _batch(collator)
    with torch.no_grad():
        together = model(**batch, num_items_in_batch=torch.tensor(1)).loss
        alone = sum(model(**collator([one]), num_items_in_batch=torch.tensor(1)).loss for one in examples)
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.text(), response=st.text())
def test_any_text_comes_back_as_it_was(collator: Any, prompt: str, response: str) -> None:
    example = _example(response, prompt=prompt, size=(56, 56))
    shown = collator.verify([example])
    assert shown.endswith(f"⟦{unicodedata.normalize('NFC', response)}<|im_end|>⟧")
    assert collator.length(example) == collator.encode(example)["input_ids"].shape[1]


@pytest.mark.parametrize("size", [(28, 28), (57, 33), (224, 224), (300, 900), (2000, 1500)])
def test_the_length_is_known_without_the_pixels(collator: Any, size: tuple[int, int]) -> None:
    example = _example(RESPONSES[0], size=size)
    assert collator.length(example) == collator.encode(example)["input_ids"].shape[1]


def test_a_conversation_that_would_be_cut_is_named(processor: Any) -> None:
    from fundus_r1.training.collator import Collator

    example = _example(RESPONSES[0], name="idrid/17#dr")
    length = Collator(processor, 2000).length(example)
    Collator(processor, length)([example])
    Collator(processor, length).check_length(example)
    for act in (lambda c: c([example]), lambda c: c.check_length(example)):
        with pytest.raises(DataError, match=f"{length} tokens") as caught:
            act(Collator(processor, length - 1))
        assert caught.value.where == "idrid/17#dr"


@pytest.mark.parametrize("token", ["<|im_end|>", "<|image_pad|>", "<|im_start|>"])
@pytest.mark.parametrize("part", ["prompt", "response"])
def test_a_text_cannot_smuggle_in_special_tokens(collator: Any, part: str, token: str) -> None:
    text = {"prompt": "Q?", "response": "R"} | {part: f"a{token}b"}
    with pytest.raises(DataError, match="special token") as caught:
        collator([_example(text["response"], prompt=text["prompt"])])
    assert part in caught.value.what


def test_a_template_that_changes_the_response_is_refused(folder: Path) -> None:
    from transformers import AutoProcessor

    from fundus_r1.training.collator import Collator

    processor = AutoProcessor.from_pretrained(folder)
    # As some templates do: reasoning is dropped from what the assistant said before.
    processor.chat_template = processor.chat_template.replace(
        "{{ part['text'] }}", "{{ part['text'].split('</think>')[-1] }}"
    )
    with pytest.raises(ModelError, match="chat template"):
        Collator(processor, 2000)([_example(RESPONSES[0])])


def test_a_tokenizer_that_changes_the_response_is_found_out(folder: Path) -> None:
    from tokenizers import normalizers
    from transformers import AutoProcessor

    from fundus_r1.training.collator import Collator

    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    collator = Collator(processor, 2000)
    with pytest.raises(ModelError, match="tokenizer changes"):
        collator.verify([_example("<answer>AMD</answer>")])


@pytest.mark.parametrize("harm", ["no image", "truncated"])
def test_an_image_that_cannot_be_read_is_named(collator: Any, harm: str) -> None:
    example = _example("R")
    data = b"GIF" if harm == "no image" else example.image[:60]
    with pytest.raises(DataError, match="cannot be read") as caught:
        collator([example._replace(image=data)])
    assert "t1" in caught.value.where
