"""The tiny model: the same bytes everywhere, a sound Qwen2.5-VL, and able to learn from images."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fundus_r1.models.tiny import SPECIAL_TOKENS, VOCABULARY, build_tiny, tiny_fingerprint
from fundus_r1.models.weights import folder_digest
from fundus_r1.spec.models import TinyModel

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine make small networks many times slower."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"), TinyModel())


@pytest.fixture(scope="module")
def processor(folder):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    import torch
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)


def picture(red: int, side: tuple[int, int] = (224, 224)) -> Image.Image:
    image = Image.new("RGB", side, (200, 90, 30))
    image.paste((red, 0, 0), (60, 60, 140, 140))
    return image


def inputs(processor, image, text="What is it?"):
    content = [{"type": "image"}, {"type": "text", "text": text}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    return processor(text=[prompt], images=[image], return_tensors="pt")


def test_another_process_makes_the_same_bytes(folder, tmp_path):
    code = (
        "import sys, pathlib; from fundus_r1.models.tiny import build_tiny;"
        "from fundus_r1.spec.models import TinyModel;"
        "build_tiny(pathlib.Path(sys.argv[1]), TinyModel())"
    )
    other = tmp_path / "other"
    subprocess.run(
        [sys.executable, "-c", code, str(other)],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "99", "OMP_NUM_THREADS": "1"},
    )
    assert folder_digest(other) == folder_digest(folder)


def test_the_seed_changes_the_weights_and_nothing_else(folder, tmp_path):
    other = build_tiny(tmp_path, TinyModel(seed=1))
    changed = {
        path.name for path in folder.iterdir() if path.read_bytes() != (other / path.name).read_bytes()
    }
    assert changed == {"model.safetensors", "README.md"}
    assert tiny_fingerprint(TinyModel(seed=1)) != tiny_fingerprint(TinyModel())


@pytest.mark.parametrize("size", [TinyModel(hidden=32, layers=1), TinyModel(hidden=96, layers=3)])
def test_other_sizes_run(size, tmp_path, processor):
    import torch
    from transformers import AutoModelForImageTextToText

    folder = build_tiny(tmp_path, size)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        assert model(**inputs(processor, picture(0))).logits.isfinite().all()


def test_it_is_small_and_says_that_it_learnt_nothing(folder, model):
    assert 2e6 < model.num_parameters() < 5e6
    card = (folder / "README.md").read_text()
    assert "learnt nothing" in card and f"{model.num_parameters():,}" in card


def test_the_vocabulary_is_full_and_special_tokens_are_whole(processor, model):
    tokenizer = processor.tokenizer
    assert len(tokenizer) == VOCABULARY == model.get_output_embeddings().weight.shape[0]
    for token in SPECIAL_TOKENS:
        assert len(tokenizer(token).input_ids) == 1
    assert model.config.image_token_id == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert tokenizer.eos_token == "<|im_end|>"
    assert set(model.generation_config.eos_token_id) == set(
        tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    )


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_can_be_written(processor, text):
    tokenizer = processor.tokenizer
    ids = tokenizer(text, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == unicodedata.normalize("NFC", text)


def test_the_chat_reads_like_qwen(processor):
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q?"}]},
        {"role": "assistant", "content": "A."},
    ]
    assert processor.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Q?<|im_end|>\n"
        "<|im_start|>assistant\nA.<|im_end|>\n"
    )
    asked = processor.apply_chat_template(
        [{"role": "system", "content": "S"}, {"role": "user", "content": "Q?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert asked == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("side", "least", "most"), [((224, 224), 64, 64), ((2144, 1424), 40, 64), ((512, 496), 49, 64)]
)
def test_an_image_has_about_64_tokens(processor, model, side, least, most):
    ids = inputs(processor, picture(0, side)).input_ids
    assert least <= int((ids == model.config.image_token_id).sum()) <= most


def test_the_image_moves_the_logits(processor, model):
    import torch

    with torch.no_grad():
        near, far = (model(**inputs(processor, picture(red))).logits[0, -1] for red in (0, 255))
    assert float((near - far).abs().max()) > 0.1


def test_it_learns_to_tell_images_apart(processor, folder):
    import torch
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = [
        (inputs(processor, picture(red)), processor.tokenizer(name).input_ids[0])
        for red, name in ((0, "drusen"), (255, "glaucoma"))
    ]

    def loss_of(batch, token):
        logits = model(**batch).logits[0, -1]
        return torch.nn.functional.cross_entropy(logits[None], torch.tensor([token]))

    for _ in range(30):
        loss = sum(loss_of(*pair) for pair in batches)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert [int(model(**batch).logits[0, -1].argmax()) for batch, _ in batches] == [
        token for _, token in batches
    ]
    assert np.isfinite(float(loss))


def test_the_folder_is_readable_by_others(folder: Path):
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.iterdir())
