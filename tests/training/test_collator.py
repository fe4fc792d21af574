"""What bears loss is the response and the end of turn, to the character; neighbours stay unseen."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fundus_r1.errors import ModelError
from fundus_r1.training.encoder import Encoder, Example
from tests.training.taught import conversation, picture

pytestmark = pytest.mark.engines

RESPONSES = (
    "<think>There are drusen.\n\nThey speak for AMD.</think> <answer>AMD</answer>",
    "<answer>Moderate NPDR</answer>",
    "<think>Ä μ-aneurysm… 血管 🙂</think> <answer>no_dr</answer>",
)
SIZES = ((224, 224), (120, 300), (64, 64))


@pytest.fixture(scope="module")
def collator(tiny: Path) -> Any:
    from fundus_r1.training.collator import Collator
    from fundus_r1.training.student import rope_index

    return Collator(Encoder.of(tiny), rope_index(tiny))


@pytest.fixture(scope="module", params=["ours", "sdpa"])
def model(tiny: Path, request: pytest.FixtureRequest) -> Any:
    """Learns with all its weights; with the attention that it is trained with, and with transformers' own."""
    from fundus_r1.spec.training import SftScience
    from fundus_r1.training.student import load_student

    found = load_student(tiny, SftScience(precision="fp32", train_vision=True, train_projector=True))
    if request.param != "ours":
        found.set_attn_implementation(request.param)
    return found


@pytest.fixture(scope="module")
def examples(collator: Any) -> list[Example]:
    """Of different lengths, with different images."""
    return [
        collator.encoder.example(
            conversation(text, prompt="Q? " * (5 * number + 1)), picture(size, seed=number)
        )
        for number, (text, size) in enumerate(zip(RESPONSES, SIZES, strict=True))
    ]


def test_the_loss_is_on_the_response_and_the_end_of_turn_alone(collator: Any, examples: Any) -> None:
    batch = collator(examples)
    tokenizer = collator.encoder.tokenizer
    for example, ids, labels in zip(examples, batch["input_ids"], batch["labels"], strict=True):
        bearing = labels != -100
        assert tokenizer.decode(labels[bearing]) == example.conversation.response + "<|im_end|>"
        assert (ids[bearing] == labels[bearing]).all()
        first, last = bearing.nonzero()[0].item(), bearing.nonzero()[-1].item()
        assert bearing[first : last + 1].all(), "the response is one piece"
        assert tokenizer.decode(ids[:first]).endswith("<|im_start|>assistant\n")
        assert example.conversation.prompt in tokenizer.decode(ids[:first])


def test_padding_is_on_the_right_and_counts_for_nothing(collator: Any, examples: Any) -> None:
    batch = collator(examples)
    lengths = [collator.encode(example)["input_ids"].shape[1] for example in examples]
    assert len(set(lengths)) == 3
    assert batch["input_ids"].shape == (3, max(lengths))
    tokenizer = collator.encoder.tokenizer
    for row, length in enumerate(lengths):
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (max(lengths) - length)
        assert (batch["labels"][row, length:] == -100).all()
        assert (batch["input_ids"][row, length:] == tokenizer.pad_token_id).all()
        assert batch["labels"][row, length - 1] == tokenizer.eos_token_id


def test_what_the_model_is_given_is_what_its_processor_makes(collator: Any) -> None:
    import io

    from PIL import Image

    row, image = conversation(RESPONSES[0]), picture((300, 500))
    made = collator.encode(collator.encoder.example(row, image))
    processor = collator.encoder.processor
    with Image.open(io.BytesIO(image)) as file:
        meant = processor(text=[collator.encoder.texts(row)[0]], images=[file], return_tensors="pt")
    for name, tensor in meant.items():
        found = made[name] if name in ("pixel_values", "image_grid_thw") else made[name][:, : tensor.shape[1]]
        assert found.dtype == tensor.dtype and found.equal(tensor), name


def test_a_batch_has_the_loss_of_its_conversations(collator: Any, examples: Any, model: Any) -> None:
    import torch

    with torch.no_grad():
        together = model(**collator(examples), num_items_in_batch=torch.tensor(1)).loss
        alone = sum(model(**collator([one]), num_items_in_batch=torch.tensor(1)).loss for one in examples)
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)


def _learn(model: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The summed loss of a batch, and its gradients."""
    import torch

    model.zero_grad()
    loss = model(**batch, num_items_in_batch=torch.tensor(1)).loss
    loss.backward()
    return loss.detach(), {name: weight.grad.clone() for name, weight in model.named_parameters()}


def _difference(model: Any, one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    """By how much loss and gradients differ, relative to the first."""
    (loss, gradients), (other_loss, other_gradients) = _learn(model, one), _learn(model, other)
    scale = max(gradient.abs().max().item() for gradient in gradients.values())
    gap = max((gradients[name] - other_gradients[name]).abs().max().item() for name in gradients)
    return abs(loss - other_loss).item() / loss.item(), gap / scale


def test_packed_conversations_teach_what_padded_ones_teach(collator: Any, examples: Any, model: Any) -> None:
    loss, gradient = _difference(model, collator(examples), collator.packed(examples))
    assert loss < 1e-5 and gradient < 1e-5


def test_packed_conversations_that_saw_their_neighbours_would_teach_something_else(
    collator: Any, examples: Any, model: Any
) -> None:
    """Each part of what makes packing right is needed: the mask, the rotary positions, the silent border."""
    import torch

    padded, right = collator(examples), collator.packed(examples)
    positions = right["position_ids"]
    length = positions.shape[2]
    no_border = positions.clone()
    no_border[0] = torch.arange(length)
    no_turn = positions.clone()
    no_turn[1:] = torch.arange(length)
    begins = (positions[0, 0] == 0).nonzero()[1:, 0]
    loud = right["labels"].clone()
    loud[0, begins] = right["input_ids"][0, begins]
    wrongs = [
        right | {"position_ids": no_border},
        right | {"position_ids": no_turn},
        right | {"labels": loud},
    ]
    if model.config._attn_implementation == "sdpa":
        # With a mask, transformers would not look for borders.
        wrongs.append(right | {"attention_mask": torch.ones(1, length, dtype=torch.long)})
    for wrong in wrongs:
        loss, gradient = _difference(model, padded, wrong)
        assert loss > 1e-4 and gradient > 1e-3


def test_a_conversation_has_the_same_logits_beside_any_neighbour(
    collator: Any, examples: Any, model: Any
) -> None:
    import torch

    first, second, third = examples
    with torch.no_grad():
        alone = model(**collator.packed([second])).logits[0]
        for neighbours in ([first, second, third], [third, second, first]):
            begin = collator.encode(neighbours[0])["input_ids"].shape[1]
            beside = model(**collator.packed(neighbours)).logits[0, begin : begin + len(alone)]
            torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-5)


def test_a_packed_micro_batch_is_one_row_whose_positions_begin_anew(collator: Any, examples: Any) -> None:
    batch = collator.packed(examples)
    lengths = [collator.encode(example)["input_ids"].shape[1] for example in examples]
    assert "attention_mask" not in batch
    assert batch["input_ids"].shape == batch["labels"].shape == (1, sum(lengths))
    assert batch["position_ids"].shape == (4, 1, sum(lengths))
    assert batch["position_ids"][0, 0].tolist() == [n for length in lengths for n in range(length)]
    begins = [sum(lengths[:number]) for number in range(3)]
    assert (batch["position_ids"][:, 0, begins] == 0).all()
    assert (batch["labels"][0, begins] == -100).all()


def test_flash_attention_finds_the_conversations_of_a_packed_micro_batch(
    collator: Any, examples: Any
) -> None:
    """It takes no mask; transformers gives it where sequences end, from the positions in the text."""
    from transformers.modeling_flash_attention_utils import (
        _is_packed_sequence,
        prepare_fa_kwargs_from_position_ids,
    )

    positions = collator.packed(examples)["position_ids"][0]
    lengths = [collator.encode(example)["input_ids"].shape[1] for example in examples]
    assert _is_packed_sequence(positions, batch_size=1)
    (ends, _), (longest, _) = prepare_fa_kwargs_from_position_ids(positions)
    assert ends.tolist() == [sum(lengths[:number]) for number in range(4)]
    assert longest == max(lengths)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.text(), response=st.text())
def test_any_text_comes_back_as_it_was(collator: Any, prompt: str, response: str) -> None:
    assume("<|" not in prompt + response)
    example = collator.encoder.example(conversation(response, prompt=prompt), picture((56, 56)))
    shown = collator.verify([example])
    assert shown.endswith(f"⟦{unicodedata.normalize('NFC', response)}<|im_end|>⟧")


def test_a_tokenizer_that_changes_the_response_is_found_out(tiny: Path, collator: Any) -> None:
    from tokenizers import normalizers

    from fundus_r1.training.collator import Collator

    encoder = Encoder.of(tiny)
    encoder.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    example = encoder.example(conversation("<answer>AMD</answer>"), picture())
    with pytest.raises(ModelError, match="tokenizer changes"):
        Collator(encoder, collator._rope_index).verify([example])
