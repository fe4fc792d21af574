"""Prompts in verl's format: read back by verl's own data set, and counted as its processor counts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fundus_r1.errors import DataError
from fundus_r1.models.tiny import build_tiny
from fundus_r1.models.weights import with_pixels
from fundus_r1.rows import Modality, Prompt, Split
from fundus_r1.spec.models import TinyModel
from fundus_r1.spec.training import Pixels
from fundus_r1.training.grpo_prompts import PromptLength, write_prompts


def encoded(width: int, height: int) -> bytes:
    pixels = np.random.default_rng(width * height).integers(0, 255, (height, width, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def row(number: int, text: str = "Which grade?") -> Prompt:
    return Prompt(
        triplet_id=f"t{number}",
        sample_id=f"s{number}",
        prompt=text,
        answer="No DR",
        options={"A": "No DR"} if number % 2 else {},
        option_labels={"A": "no_dr"} if number % 2 else {},
        modality=Modality.CFP,
        findings=("microaneurysm",) * (number % 2),
        split=Split.TRAIN,
    )


def by_text(prompt: str, image: bytes) -> int:
    return len(prompt)


def test_rows_survive_with_maps_that_differ_from_row_to_row(tmp_path: Path) -> None:
    rows = [row(number) for number in range(300)]
    images = [bytes([number % 256]) for number in range(300)]
    path = tmp_path / "prompts.parquet"
    written = write_prompts(zip(rows, images, strict=True), path, length=by_text, max_tokens=100)
    assert (written.kept, written.too_long) == (300, 0)
    table = pq.read_table(path).to_pylist()
    assert [Prompt.model_validate_json(item["extra_info"]["prompt"]) for item in table] == rows
    assert [item["images"][0]["bytes"] for item in table] == images
    assert table[7]["prompt"] == [{"role": "user", "content": "<image>Which grade?"}]
    assert [item["extra_info"]["index"] for item in table] == list(range(300))


def test_long_prompts_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [(row(0, "a" * 50), b""), (row(1, "a" * 51), b""), (row(2, "a" * 90), b"")]
    path = tmp_path / "prompts.parquet"
    written = write_prompts(rows, path, length=by_text, max_tokens=50)
    assert (written.kept, written.too_long, written.longest) == (1, 2, 90)
    assert pq.read_table(path).num_rows == 1


def test_no_prompt_at_all_is_a_table_too(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    assert write_prompts([], path, length=by_text, max_tokens=50).kept == 0
    assert pq.read_table(path).num_rows == 0


def test_a_text_that_would_be_taken_for_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="placeholder"):
        write_prompts([(row(0, "What is <image>?"), b"")], tmp_path / "p", length=by_text, max_tokens=50)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny"), TinyModel(hidden=32, layers=1))


@pytest.mark.engines
@pytest.mark.parametrize(
    "pixels", [None, Pixels(min_pixels=112 * 112, max_pixels=280 * 280)], ids=["native", "limited"]
)
def test_tokens_are_counted_as_verls_data_set_counts_them(
    model: Path, tmp_path: Path, pixels: Pixels | None
) -> None:
    """verl's own filter, at every limit: it keeps a prompt exactly if we count no more tokens."""
    from omegaconf import OmegaConf
    from transformers import AutoProcessor
    from verl.utils.dataset.rl_dataset import RLHFDataset

    sizes = [(224, 224), (112, 112), (300, 200), (57, 91), (640, 480), (1000, 90), (30, 31)]
    rows = [(row(number, "Why? " * number), encoded(*size)) for number, size in enumerate(sizes)]
    path = tmp_path / "prompts.parquet"
    if pixels is not None:
        model = with_pixels(model, pixels, tmp_path / "limited")
    length = PromptLength(model)
    counted = [length(prompt.prompt, image) for prompt, image in rows]
    assert write_prompts(rows, path, length=length, max_tokens=10_000).longest == max(counted)

    processor: Any = AutoProcessor.from_pretrained(model)

    def kept(limit: int) -> set[str]:
        config = {
            "cache_dir": str(tmp_path), "max_prompt_length": limit, "filter_overlong_prompts": True,
            "filter_overlong_prompts_workers": None, "image_key": "images",
        }  # fmt: skip
        data = RLHFDataset([str(path)], processor.tokenizer, OmegaConf.create(config), processor)
        return {json.loads(item["extra_info"]["prompt"])["triplet_id"] for item in data.dataframe}

    for limit in sorted(set(counted)):
        assert kept(limit) == {f"t{n}" for n, tokens in enumerate(counted) if tokens <= limit}
        assert kept(limit - 1) == {f"t{n}" for n, tokens in enumerate(counted) if tokens < limit}
