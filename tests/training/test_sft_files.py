"""What the processes of SFT read is what the stage was given, encoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fundus_r1.errors import DataError
from fundus_r1.rows import Conversation, Split
from fundus_r1.training.encoder import Encoder
from fundus_r1.training.sft_files import unpack, unpacked
from tests.training.taught import conversation, picture

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def encoder(tiny: Path) -> Encoder:
    return Encoder.of(tiny)


def _rows(count: int) -> list[tuple[Conversation, bytes]]:
    """Each image has two questions, the second one its split from the third row on."""
    return [
        (
            conversation("so " * (number % 5) + "it is", name=f"t{number}").model_copy(
                update={"split": Split.VALIDATION if number % 3 == 1 else Split.TRAIN}
            ),
            picture((60 + number // 2, 90), seed=number // 2),
        )
        for number in range(count)
    ]


def test_conversations_travel_in_order_and_share_their_images(encoder: Encoder, tmp_path: Path) -> None:
    rows = _rows(41)
    unpack(iter(rows), tmp_path, encoder, max_length=400)
    for split in Split.TRAIN, Split.VALIDATION:
        given = [row for row in rows if row[0].split is split]
        found = unpacked(tmp_path, split)
        assert [one.conversation for one in found] == [row[0] for row in given]
        for one, (row, image) in zip(found, given, strict=True):
            expected, example = encoder.example(row, image), one.example()
            assert example.conversation == row
            for name in ("given", "learnt", "image"):
                np.testing.assert_array_equal(getattr(example, name), getattr(expected, name))
    assert len(list((tmp_path / "images").iterdir())) == 21


def test_nothing_to_learn_is_nothing_to_read(encoder: Encoder, tmp_path: Path) -> None:
    unpack(iter([]), tmp_path, encoder, max_length=400)
    assert unpacked(tmp_path, Split.TRAIN) == []


def test_a_conversation_that_would_be_cut_is_named(encoder: Encoder, tmp_path: Path) -> None:
    rows = _rows(5)
    unpack(rows, tmp_path / "fits", encoder, max_length=400)
    found = [one for split in Split for one in unpacked(tmp_path / "fits", split)]
    longest = max(one.length for one in found)
    unpack(rows, tmp_path / "just", encoder, max_length=longest)
    with pytest.raises(DataError, match=f"has {longest} tokens; with {longest - 1}") as caught:
        unpack(rows, tmp_path / "cut", encoder, max_length=longest - 1)
    named = {one.conversation.triplet_id: one.length for one in found}
    assert named[caught.value.where] == longest


def test_an_image_that_cannot_be_read_ends_it_with_its_name(encoder: Encoder, tmp_path: Path) -> None:
    rows = _rows(6)
    rows[4] = (rows[4][0], rows[4][1][:50])
    with pytest.raises(DataError, match="cannot be read") as caught:
        unpack(rows, tmp_path, encoder, max_length=400)
    assert caught.value.where == "t4, image of s1"
