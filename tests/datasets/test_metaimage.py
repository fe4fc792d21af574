"""MetaImage volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_layouts import volume

from fundus_r1.datasets.images import BadImageError, Limits, examine
from fundus_r1.datasets.metaimage import read_volume
from fundus_r1.errors import DataError

VALUES = np.arange(3 * 40 * 48, dtype=np.uint16).reshape(3, 40, 48)


def test_planes_are_shown_with_depth_downwards_however_they_are_stored(tmp_path: Path) -> None:
    by_row = read_volume(volume(tmp_path / "row.mhd", VALUES, "0.011 0.002 0.047"))
    stored = np.ascontiguousarray(VALUES.transpose(0, 2, 1))
    by_column = read_volume(volume(tmp_path / "column.mhd", stored, "0.002 0.011 0.047"))
    unspoken = read_volume(volume(tmp_path / "unspoken.mhd", stored, None))
    assert by_row.size == by_column.size == unspoken.size == (48, 40, 3)
    for number in range(3):
        for read in (by_row, by_column, unspoken):
            assert np.array_equal(read.values(number), VALUES[number])


def test_both_depths_and_byte_orders_and_a_header_in_the_data(tmp_path: Path) -> None:
    eight = (VALUES >> 8).astype(np.uint8)
    assert np.array_equal(read_volume(volume(tmp_path / "8.mhd", eight)).values(2), eight[2])
    path = volume(tmp_path / "msb.mhd", VALUES.astype(">u2"), BinaryDataByteOrderMSB="True")
    assert np.array_equal(read_volume(path).values(1), VALUES[1])
    for size in ("6", "-1"):
        path = volume(tmp_path / f"head{size}.mhd", eight, HeaderSize=size)
        raw = path.with_suffix(".raw")
        raw.write_bytes(b"header" + raw.read_bytes())
        assert np.array_equal(read_volume(path).values(0), eight[0])


def test_16_bits_become_8_by_a_fixed_scale(tmp_path: Path) -> None:
    bright = read_volume(volume(tmp_path / "a.mhd", np.full((2, 40, 48), 51200, np.uint16)))
    same = read_volume(volume(tmp_path / "b.mhd", np.full((2, 40, 48), 200, np.uint8)))
    assert examine(bright.planes[0], Limits()).pixels == examine(same.planes[0], Limits()).pixels


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"ElementType": "MET_FLOAT"}, "MET_FLOAT"),
        ({"DimSize": "48 40"}, "not three dimensions"),
        ({"DimSize": "48 many 3"}, "many"),
        ({"DimSize": "48 40 4"}, "bytes of"),
        ({"CompressedData": "True"}, "compressed"),
        ({"ElementDataFile": "gone.raw"}, "0 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, fields: dict[str, str], what: str
) -> None:
    path = volume(tmp_path / "oct.mhd", VALUES, **fields)
    with pytest.raises(DataError, match=what) as caught:
        read_volume(path)
    assert caught.value.where == str(path)


def test_a_volume_that_is_cut_off_later_gives_bad_planes_and_no_wrong_ones(tmp_path: Path) -> None:
    read = read_volume(volume(tmp_path / "oct.mhd", VALUES))
    read.raw.write_bytes(read.raw.read_bytes()[:-100])
    with pytest.raises(BadImageError, match="truncated"):
        examine(read.planes[2], Limits())
    with pytest.raises(DataError, match="Plane 2"):
        read.values(2)
