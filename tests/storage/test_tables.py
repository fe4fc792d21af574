"""Rows with images, as parquet."""

from __future__ import annotations

import enum
import io
import math
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from fundus_r1 import rows
from fundus_r1.errors import StoreError
from fundus_r1.rows import Conversation, Prompt, Question, Row, Sample, Triplet, Verdict
from fundus_r1.storage.tables import TableWriter, from_parquet, schema, to_parquet


class Kind(enum.StrEnum):
    ONE = "one"
    TWO = "two"


class Everything(Row):
    """A field of each annotation that has a column type."""

    text: str
    whole: int
    number: float
    flag: bool
    choice: Literal["a", "b", ""]
    count: Literal[1, 2]
    kind: Kind
    maybe_text: str | None
    maybe_number: float | None
    maybe_kind: Kind | None
    words: tuple[str, ...]
    maybe_words: tuple[str, ...] | None
    grid: tuple[tuple[int, ...], ...]
    mapping: dict[str, str]
    lists: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    maybe_mapping: dict[str, int] | None = None


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INT64 = st.integers(-(2**63), 2**63 - 1)
EVERYTHING = st.builds(
    Everything,
    text=TEXT,
    whole=INT64,
    number=st.floats(allow_nan=False),
    flag=st.booleans(),
    choice=st.sampled_from(["a", "b", ""]),
    count=st.sampled_from([1, 2]),
    kind=st.sampled_from(Kind),
    maybe_text=st.none() | TEXT,
    maybe_number=st.none() | st.floats(allow_nan=False),
    maybe_kind=st.none() | st.sampled_from(Kind),
    words=st.lists(TEXT, max_size=3).map(tuple),
    maybe_words=st.none() | st.lists(TEXT, max_size=3).map(tuple),
    grid=st.lists(st.lists(INT64, max_size=2).map(tuple), max_size=2).map(tuple),
    mapping=st.dictionaries(TEXT, TEXT, max_size=3),
    lists=st.dictionaries(TEXT, st.lists(TEXT, max_size=2).map(tuple), max_size=2),
    maybe_mapping=st.none() | st.dictionaries(TEXT, INT64, max_size=2),
)


def sample(number: int = 0, **changes: Any) -> Sample:
    values: dict[str, Any] = {
        "sample_id": f"idrid/{number}.jpg", "dataset": "idrid", "modality": "CFP", "labels": ("pdr",),
        "split": "train", "patient": "idrid:1", "path": "x.jpg", "digest": "0", "pixels": "0",
        "width": 64, "height": 48, "media_type": "image/jpeg",
    }  # fmt: skip
    return Sample(**{**values, **changes})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(EVERYTHING, st.binary(max_size=30)), max_size=4))
def test_what_is_written_is_read(pairs: list[tuple[Everything, bytes]]) -> None:
    table = to_parquet([row for row, _ in pairs], [image for _, image in pairs], Everything)
    read = from_parquet(table, Everything)
    assert read == pairs
    for (row, _), (expected, _) in zip(read, pairs, strict=True):
        # Equal dicts may differ in order, and the order of options is seen by a model.
        assert list(row.mapping) == list(expected.mapping)
        assert type(row.kind) is Kind


def test_the_same_rows_give_the_same_bytes() -> None:
    made = [sample(n, findings=("drusen",) if n % 2 else None, attributes={"sex": "f"}) for n in range(600)]
    images = [bytes([n % 256]) * n for n in range(600)]
    assert to_parquet(made, images) == to_parquet(list(made), list(images))
    assert from_parquet(to_parquet(made, images), Sample) == list(zip(made, images, strict=True))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=5))
def test_how_rows_are_handed_over_does_not_show(sizes: list[int]) -> None:
    made, images = [sample(n) for n in range(sum(sizes))], [bytes([n % 256]) for n in range(sum(sizes))]
    sink = io.BytesIO()
    with TableWriter(sink, Sample) as table:
        start = 0
        for size in sizes:
            table.write(made[start : start + size], images[start : start + size])
            start += size
    assert sink.getvalue() == to_parquet(made, images, Sample)


def test_columns_come_from_the_annotations_not_from_the_data() -> None:
    without = to_parquet([sample(findings=None)], [b""])
    given_ = to_parquet([sample(findings=("drusen",), attributes={"a": "b"})], [b"\x00\xff"])
    none_at_all = to_parquet([], [], Sample)
    types = [pq.read_schema(io.BytesIO(table)) for table in (without, given_, none_at_all)]
    assert types[0] == types[1] == types[2] == schema(Sample)
    assert types[0].field("findings").type == pa.list_(pa.field("element", pa.string(), False))
    assert types[0].field("findings").nullable and not types[0].field("labels").nullable
    assert types[0].field("image_bytes").type == pa.binary()


@pytest.mark.parametrize("row_type", [Sample, Question, Conversation, Prompt, Triplet])
def test_rows_that_travel_with_images_have_columns(row_type: type[Row]) -> None:
    assert schema(row_type).names == [*row_type.model_fields, "image_bytes"]


def test_every_row_has_columns_or_says_which_field_has_none() -> None:
    for row_type in Row.__subclasses__():
        if row_type.__module__ == rows.__name__ and row_type is not Verdict:
            schema(row_type)
    with pytest.raises(TypeError, match=r"Verdict\.rules"):
        schema(Verdict)


@pytest.mark.parametrize("annotation", [Any, str | int, set[str], tuple[str, int], dict[int, str], object])
def test_an_annotation_without_a_column_type_is_refused(annotation: Any) -> None:
    made = type("Odd", (Row,), {"__annotations__": {"odd": annotation}, "__module__": __name__})
    with pytest.raises(TypeError, match=r"Odd\.odd"):
        schema(made)


def test_other_readers_see_plain_columns() -> None:
    table = pq.read_table(io.BytesIO(to_parquet([sample()], [b"image"])))
    assert table.column("labels").to_pylist() == [["pdr"]]
    assert table.column("image_bytes").to_pylist() == [b"image"]
    assert table.column("modality").to_pylist() == ["CFP"]


def test_infinite_numbers_and_nan_travel() -> None:
    class Number(Row):
        value: float

    read = from_parquet(to_parquet([Number(value=math.nan), Number(value=-math.inf)], [b"", b""]), Number)
    assert math.isnan(read[0][0].value) and read[1][0].value == -math.inf


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="1 rows with 0 images"):
        to_parquet([sample()], [])
    with pytest.raises(ValueError, match="row_type"):
        to_parquet([], [])
    prompt = Conversation(triplet_id="", sample_id="", prompt="", response="", split=rows.Split.TRAIN)
    with pytest.raises(TypeError, match="Conversation among rows of Sample"):
        to_parquet([sample(), prompt], [b"", b""])


def test_rows_of_another_type_are_refused() -> None:
    with pytest.raises(StoreError, match="does not hold rows of Prompt") as caught:
        from_parquet(to_parquet([sample()], [b""]), Prompt)
    assert "written as Sample" in caught.value.where


def test_values_are_validated_on_reading() -> None:
    table = pq.read_table(io.BytesIO(to_parquet([sample(0), sample(1)], [b"", b""])))
    index = table.schema.get_field_index("split")
    field = table.schema.field("split")
    table = table.set_column(index, field, pa.array(["train", "holiday"]))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    with pytest.raises(StoreError, match="Row 2 of a parquet file is no Sample") as caught:
        from_parquet(sink.getvalue(), Sample)
    assert caught.value.where == "field split"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_found(data: st.DataObject) -> None:
    made = [sample(n, attributes={"age": str(n)}) for n in range(3)]
    whole = to_parquet(made, [b"image" * 40] * 3)
    if data.draw(st.booleans(), label="cut"):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
        with pytest.raises(StoreError):
            from_parquet(damaged, Sample)
    else:
        # A flipped bit is found, or it hits what does not matter; it never changes a row unseen.
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]
        try:
            read = from_parquet(damaged, Sample)
        except StoreError:
            return
        assert read == [(row, b"image" * 40) for row in made]
