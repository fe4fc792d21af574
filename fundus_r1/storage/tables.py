"""Rows together with their image bytes, as parquet.

The columns follow from the row's annotations alone, never from the data, so a column whose
values all happen to be None, or a table without rows, has the type that every other has. The
same rows give the same bytes. Reading validates every row again.

==================  ====================
annotation          parquet
==================  ====================
str, Literal, Enum  string
int, float, bool    int64, double, bool
X | None            the same, nullable
tuple[X, ...]       list of X
dict[str, X]        map of string to X
(the image)         ``image_bytes``: binary
==================  ====================
"""

from __future__ import annotations

import enum
import io
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from fundus_r1.errors import StoreError
from fundus_r1.rows import Row

R = TypeVar("R", bound=Row)

IMAGE = "image_bytes"
_ROW_TYPE = b"fundus_r1.row"
# A row group is built in memory at once; Arrow's binary arrays end at 2 GiB.
_ROWS_PER_GROUP = 256
_SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def _type_of(annotation: Any, at: str) -> tuple[pa.DataType, bool]:
    """Arrow type of an annotation, and whether None is allowed."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        inner = [arg for arg in args if arg is not types.NoneType]
        if len(inner) == 1 and len(inner) < len(args):
            return _type_of(inner[0], at)[0], True
    elif origin is Literal:
        kinds = {type(value) for value in args}
        if len(kinds) == 1:
            return _type_of(kinds.pop(), at)
    elif origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            item, nullable = _type_of(args[0], f"{at}[]")
            return pa.list_(pa.field("element", item, nullable)), False
    elif origin is dict:
        if args[0] is str:
            item, nullable = _type_of(args[1], f"{at}{{}}")
            return pa.map_(pa.string(), pa.field("value", item, nullable)), False
    elif annotation in _SCALARS:
        return _SCALARS[annotation], False
    elif isinstance(annotation, type) and issubclass(annotation, enum.StrEnum):
        return pa.string(), False
    raise TypeError(f"{at}: {annotation} has no column type; see the table in {__name__}")


def schema(row_type: type[Row]) -> pa.Schema:
    """The columns of a row type, then the image.

    Raises:
        TypeError: a field's annotation has no column type.
    """
    fields = []
    for name, field in row_type.model_fields.items():
        if name == IMAGE:
            raise TypeError(f"{row_type.__name__}.{IMAGE} hides the column of the image bytes")
        column, nullable = _type_of(field.annotation, f"{row_type.__name__}.{name}")
        fields.append(pa.field(name, column, nullable))
    fields.append(pa.field(IMAGE, pa.binary(), False))
    return pa.schema(fields, metadata={_ROW_TYPE: row_type.__name__.encode()})


def _cell(value: Any) -> Any:
    return list(value.items()) if isinstance(value, dict) else value


def _batch(columns: pa.Schema, rows: Sequence[Row], images: Sequence[bytes]) -> pa.RecordBatch:
    arrays = [
        pa.array([_cell(getattr(row, field.name)) for row in rows], field.type)
        for field in columns
        if field.name != IMAGE
    ]
    return pa.record_batch([*arrays, pa.array(images, pa.binary())], schema=columns)


class TableWriter:
    """Writes a parquet file of rows (all of one type) with one image each, a few rows at a time.

    How the rows are spread over the calls of `write` does not show in the file.

    Args:
        sink: a path or an open binary file.
        row_type: type of the rows.
    """

    def __init__(self, sink: Path | BinaryIO, row_type: type[Row]):
        self.row_type = row_type
        self._columns = schema(row_type)
        self._waiting: list[tuple[Row, bytes]] = []
        # Images are compressed already; dictionaries and statistics of them would only cost.
        self._writer = pq.ParquetWriter(
            sink,
            self._columns,
            version="2.6",
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, rows: Sequence[Row], images: Sequence[bytes]) -> None:
        """Adds rows, each with its encoded image file.

        Raises:
            ValueError: there are not as many images as rows.
            TypeError: a row is of another type.
        """
        if len(rows) != len(images):
            raise ValueError(f"{len(rows)} rows with {len(images)} images")
        for row, image in zip(rows, images, strict=True):
            if type(row) is not self.row_type:
                raise TypeError(f"a {type(row).__name__} among rows of {self.row_type.__name__}")
            self._waiting.append((row, image))
            if len(self._waiting) == _ROWS_PER_GROUP:
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            rows, images = zip(*self._waiting, strict=True)
            self._writer.write_batch(_batch(self._columns, rows, images), row_group_size=_ROWS_PER_GROUP)
            self._waiting = []


def to_parquet(rows: Sequence[R], images: Sequence[bytes], row_type: type[R] | None = None) -> bytes:
    """A parquet file of rows (all of one type) with one image each.

    Args:
        rows: the rows, in the order in which they are to be read.
        images: encoded image files (PNG, JPEG), one a row.
        row_type: type of the rows; needed only where there may be none.

    Raises:
        ValueError: there are not as many images as rows, or the rows' type is not known.
        TypeError: a row is of another type, or a field has no column type.
    """
    if row_type is None:
        if not rows:
            raise ValueError("no rows: say their row_type, or the file has no columns")
        row_type = type(rows[0])
    sink = io.BytesIO()
    with TableWriter(sink, row_type) as writer:
        writer.write(rows, images)
    return sink.getvalue()


def _open(source: BinaryIO, columns: pa.Schema, row_type: type[Row]) -> pq.ParquetFile:
    file = pq.ParquetFile(source, page_checksum_verification=True)
    found = file.schema_arrow
    if not found.equals(columns):
        written_as = (found.metadata or {}).get(_ROW_TYPE, b"some other row").decode(errors="replace")
        raise StoreError(
            f"A parquet file does not hold rows of {row_type.__name__} as this version knows them",
            where=f"written as {written_as} with the columns {', '.join(found.names)}",
            hint="it was written by another stage or version; run that stage again",
        )
    return file


def from_parquet(data: bytes, row_type: type[R]) -> list[tuple[R, bytes]]:
    """The rows of a parquet file and their image bytes, in order.

    Raises:
        StoreError: the bytes are damaged, or hold something else than rows of this type.
    """
    return list(_read(io.BytesIO(data), len(data), row_type))


def read_parquet(path: Path, row_type: type[R]) -> Iterator[tuple[R, bytes]]:
    """The rows of a parquet file of any size, as `from_parquet` reads them, a few in memory at a time."""
    with path.open("rb") as file:
        yield from _read(file, path.stat().st_size, row_type)


def _read(source: BinaryIO, size: int, row_type: type[R]) -> Iterator[tuple[R, bytes]]:
    columns = schema(row_type)
    count = 0
    try:
        file = _open(source, columns, row_type)
        for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP):
            for values in batch.to_pylist(maps_as_pydicts="strict"):
                image = values.pop(IMAGE)
                row = row_type.model_validate(values)
                count += 1
                yield row, image
        if count != file.metadata.num_rows:
            raise pa.ArrowInvalid(f"{file.metadata.num_rows} rows are announced, {count} can be read")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreError(
            "A parquet file is damaged",
            where=f"{row_type.__name__} rows, {size} bytes: {str(error).splitlines()[0]}",
            hint="delete the record of the stage that wrote it and run again",
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise StoreError(
            f"Row {count + 1} of a parquet file is no {row_type.__name__}: {problem['msg']}",
            where=f"field {field}",
            hint="it was written by another version; run the stage that wrote it again",
        ) from error
