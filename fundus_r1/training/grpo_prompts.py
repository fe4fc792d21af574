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


class PromptTable:
    """Writes prompts to one parquet in verl's format, a few rows in memory at a time.

    Args:
        path: the parquet.

    Attributes:
        count: prompts so far.
    """

    def __init__(self, path: Path):
        self.count = 0
        self._waiting: list[dict[str, object]] = []
        self._writer = pq.ParquetWriter(path, SCHEMA)

    def __enter__(self) -> PromptTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, prompt: Prompt, image: bytes) -> None:
        """Adds a prompt and its encoded image.

        Raises:
            DataError: the prompt's text would be taken for an image.
        """
        if _PLACEHOLDER.search(prompt.prompt):
            raise DataError(
                "A prompt's text holds a placeholder for an image",
                where=prompt.triplet_id,
                hint="take <image>, <video> and <audio> out of the questions' texts",
            )
        self._waiting.append(
            {
                "data_source": "fundus-r1",
                "prompt": [{"role": "user", "content": f"<image>{prompt.prompt}"}],
                "images": [{"bytes": image}],
                "ability": prompt.modality.value,
                "reward_model": {"style": "rule", "ground_truth": prompt.answer},
                "extra_info": {"index": self.count, "prompt": prompt.model_dump_json()},
            }
        )
        self.count += 1
        if len(self._waiting) == _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, SCHEMA))
        self._waiting = []


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
    too_long = longest = 0
    with PromptTable(path) as table:
        for prompt, image in rows:
            tokens = length(prompt.prompt, image)
            longest = max(longest, tokens)
            if tokens > max_tokens:
                too_long += 1
            else:
                table.add(prompt, image)
    return Written(table.count, too_long, longest)
