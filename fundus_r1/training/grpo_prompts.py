"""GRPO prompts in verl's format: one parquet that its data set reads.

=================  ======================================================================
column             holds
=================  ======================================================================
``data_source``    ``fundus-r1``
``prompt``         one message of the user; ``<image>`` stands where the image goes
``images``         the encoded image file
``ability``        the modality
``reward_model``   ``ground_truth``: the text of the right option
``extra_info``     ``index``, and ``prompt``: the JSON of the `Prompt` row, for the rewards
                   (as text, because its maps have other keys in every row)
=================  ======================================================================

A prompt whose text and image have more tokens than allowed is left out and counted. verl would
leave it out as well, but tell only its log.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fundus_r1.errors import DataError
from fundus_r1.rows import Prompt

if TYPE_CHECKING:
    from transformers import ProcessorMixin

_PLACEHOLDER = re.compile("<(?:image|video|audio)>")
_ROWS_AT_ONCE = 256
_FIRST_SCALING = {"factor": 28, "min_pixels": 4 * 28**2, "max_pixels": 16384 * 28**2}
"""Of `qwen_vl_utils.fetch_image`."""
_TEXT = pa.string()
SCHEMA = pa.schema(
    {
        "data_source": _TEXT,
        "prompt": pa.list_(pa.struct({"role": _TEXT, "content": _TEXT})),
        "images": pa.list_(pa.struct({"bytes": pa.binary()})),
        "ability": _TEXT,
        "reward_model": pa.struct({"style": _TEXT, "ground_truth": _TEXT}),
        "extra_info": pa.struct({"index": pa.int64(), "prompt": _TEXT}),
    }
)


@dataclass(frozen=True)
class Written:
    """What came of the prompts."""

    kept: int
    too_long: int
    longest: int
    """Tokens of the longest prompt, kept or not."""


class PromptLength:
    """Counts the tokens of prompts as verl does, without reading a pixel.

    Args:
        model: folder of the policy, with its processor.
    """

    def __init__(self, model: Path):
        from transformers import AutoProcessor

        self._processor: ProcessorMixin = AutoProcessor.from_pretrained(model)

    def __call__(self, prompt: str, image: bytes) -> int:
        """Tokens of the chat prompt, those of the image included."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        with Image.open(io.BytesIO(image)) as opened:
            width, height = opened.size
        # verl scales an image to whole patches, by qwen_vl_utils, before the processor scales it.
        size = smart_resize(height, width, **_FIRST_SCALING)
        [of_image] = self._processor._get_num_multimodal_tokens(image_sizes=[size]).num_image_tokens
        # The image's one placeholder in the text becomes so many.
        return len(self._processor.tokenizer(text).input_ids) - 1 + int(of_image)


def _record(index: int, prompt: Prompt, image: bytes) -> dict[str, object]:
    if _PLACEHOLDER.search(prompt.prompt):
        raise DataError(
            "A prompt's text holds a placeholder for an image",
            where=prompt.triplet_id,
            hint="take <image>, <video> and <audio> out of the questions' texts",
        )
    return {
        "data_source": "fundus-r1",
        "prompt": [{"role": "user", "content": f"<image>{prompt.prompt}"}],
        "images": [{"bytes": image}],
        "ability": prompt.modality.value,
        "reward_model": {"style": "rule", "ground_truth": prompt.answer},
        "extra_info": {"index": index, "prompt": prompt.model_dump_json()},
    }


def write_prompts(
    rows: Iterable[tuple[Prompt, bytes]], path: Path, *, length: PromptLength, max_tokens: int
) -> Written:
    """Writes the prompts that are not too long, in their order.

    Args:
        rows: prompts and their encoded images.
        path: the parquet.
        length: counts tokens by the policy's processor.
        max_tokens: of a prompt with its image.

    Raises:
        DataError: a prompt's text would be taken for an image.
    """
    kept = too_long = longest = 0
    waiting: list[dict[str, object]] = []
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for prompt, image in rows:
            tokens = length(prompt.prompt, image)
            longest = max(longest, tokens)
            if tokens > max_tokens:
                too_long += 1
                continue
            waiting.append(_record(kept, prompt, image))
            kept += 1
            if len(waiting) == _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(waiting, SCHEMA))
                waiting = []
        writer.write_table(pa.Table.from_pylist(waiting, SCHEMA))
    return Written(kept, too_long, longest)
