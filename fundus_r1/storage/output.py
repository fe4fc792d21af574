"""One stage's output in a store: written file by file, closed by its record, verified on reading.

Everything is kept under ``<stage>/<fingerprint>/``. Each file's SHA-256 stands in the record and
is compared whenever the file is read, before the first row is handed out. Files of rows are
written and read row by row; a large one waits on disk meanwhile, not in memory.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fundus_r1.errors import StoreError
from fundus_r1.fingerprint import sha256
from fundus_r1.record import FileRef, Record, output_prefix
from fundus_r1.rows import Row
from fundus_r1.storage.documents import read_document
from fundus_r1.storage.lines import line_of, parse_lines
from fundus_r1.storage.protocol import Store

R = TypeVar("R", bound=Row)

IN_MEMORY = 16 << 20
"""Bytes of a file of rows that are read at once; a larger one is brought to disk first."""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class OutputWriter:
    """Collects the files of an output that is being made.

    Args:
        store: where they go.
        stage: its name.
        fingerprint: of the output.
        scratch: folder for files on their way; None takes the system's temporary folder.
    """

    def __init__(self, store: Store, stage: str, fingerprint: str, scratch: Path | None = None):
        self.store = store
        self.stage = stage
        self.fingerprint = fingerprint
        self.scratch = scratch
        self.prefix = output_prefix(stage, fingerprint)
        self.files: dict[str, FileRef] = {}

    def write_bytes(self, name: str, data: bytes, *, rows: int | None = None) -> FileRef:
        """Writes one object under a name (which may hold ``/``)."""
        self.store.put(f"{self.prefix}/{name}", data)
        ref = FileRef(key=name, sha256=sha256(data), size=len(data), rows=rows)
        self.files[name] = ref
        return ref

    def write_json(self, name: str, value: Any) -> FileRef:
        """Writes a JSON value, keys sorted."""
        text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)
        return self.write_bytes(name, text.encode())

    def write_rows(self, name: str, rows: Iterable[Row]) -> FileRef:
        """Writes rows as JSON lines, in the order given; any number, since none is kept.

        Nothing is in the store if the iterable raises.
        """
        with tempfile.TemporaryDirectory(prefix="fr1-rows-", dir=self.scratch) as folder:
            path = Path(folder, "rows.jsonl")
            count = 0
            with path.open("wb") as file:
                for row in rows:
                    file.write(line_of(row))
                    count += 1
            return self.upload_file(name, path, rows=count)

    def upload_file(self, name: str, path: Path, *, rows: int | None = None) -> FileRef:
        """Writes a file of any size."""
        self.store.upload(f"{self.prefix}/{name}", path)
        ref = FileRef(key=name, sha256=file_sha256(path), size=path.stat().st_size, rows=rows)
        self.files[name] = ref
        return ref

    def upload_folder(self, name: str, folder: Path) -> None:
        """Writes all files below a folder as ``<name>/<relative path>``."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.upload_file(f"{name}/{path.relative_to(folder).as_posix()}", path)

    def adopt(self, name: str, ref: FileRef) -> None:
        """Names an object that is already there, such as a part that a worker committed."""
        self.files[name] = ref

    def close(
        self,
        *,
        revision: int,
        science: dict[str, Any],
        prompts: dict[str, str],
        inputs: dict[str, str],
        counts: dict[str, int | float | str | None],
        models: dict[str, str],
        started: datetime.datetime,
    ) -> Record:
        """Writes the record, which makes the output exist."""
        record = Record(
            stage=self.stage,
            fingerprint=self.fingerprint,
            revision=revision,
            science=science,
            prompts=prompts,
            inputs=inputs,
            files=dict(sorted(self.files.items())),
            counts=counts,
            models=models,
            started=started,
            finished=datetime.datetime.now(datetime.UTC),
        )
        self.store.put(f"{self.prefix}/record.json", record.model_dump_json(indent=1).encode())
        return record


class StageOutput:
    """A finished output, for reading.

    Args:
        store: where it lies.
        record: of the output.
        scratch: folder for large files on their way; None takes the system's temporary folder.
    """

    def __init__(self, store: Store, record: Record, scratch: Path | None = None):
        self.store = store
        self.record = record
        self.scratch = scratch

    def __contains__(self, name: str) -> bool:
        return name in self.record.files

    def names(self, prefix: str = "") -> list[str]:
        """Names of the files that begin with `prefix`, sorted."""
        return sorted(name for name in self.record.files if name.startswith(prefix))

    def _ref(self, name: str) -> FileRef:
        try:
            return self.record.files[name]
        except KeyError:
            raise StoreError(
                f"The output of {self.record.stage} has no file {name}", where=self._where(name)
            ) from None

    def _where(self, name: str) -> str:
        return f"{self.store.uri}/{self.record.prefix}/{name}"

    def _check(self, name: str, found: str) -> None:
        if found != self._ref(name).sha256:
            raise StoreError(
                "A stored file does not have the checksum that its record states",
                where=self._where(name),
                hint=f"delete {self.record.prefix}/record.json in the store and run again",
            )

    def read_bytes(self, name: str) -> bytes:
        """One file's content.

        Raises:
            StoreError: it is missing or damaged.
        """
        data = self.store.get(f"{self.record.prefix}/{self._ref(name).key}")
        if data is None:
            raise StoreError(
                "A file that the record names is not in the store",
                where=self._where(name),
                hint=f"delete {self.record.prefix}/record.json in the store and run again",
            )
        self._check(name, sha256(data))
        return data

    def read_json(self, name: str) -> Any:
        return json.loads(self.read_bytes(name))

    def read_rows(self, name: str, row_type: type[R]) -> Iterator[R]:
        """Rows of a JSON-lines file, one at a time; whoever keeps none needs no memory for them.

        Raises:
            StoreError: the file is missing or damaged, which is told before the first row, or a line
                is no such row.
        """
        with self._opened(name) as lines:
            yield from parse_lines(lines, row_type, self._where(name))

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        """A file's content, checked."""
        if self._ref(name).size <= IN_MEMORY:
            yield io.BytesIO(self.read_bytes(name))
            return
        with (
            tempfile.TemporaryDirectory(prefix="fr1-rows-", dir=self.scratch) as folder,
            self.download_file(name, Path(folder, "rows.jsonl")).open("rb") as file,
        ):
            yield file

    def download_file(self, name: str, path: Path) -> Path:
        """Brings one file to a local path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.store.download(f"{self.record.prefix}/{self._ref(name).key}", path)
        self._check(name, file_sha256(path))
        return path

    def download_folder(self, name: str, folder: Path) -> Path:
        """Brings all files ``<name>/...`` to a local folder."""
        names = self.names(f"{name}/")
        if not names:
            raise StoreError(
                f"The output of {self.record.stage} has no folder {name}", where=self._where(name)
            )
        for file in names:
            self.download_file(file, folder / file.removeprefix(f"{name}/"))
        return folder


def find_record(store: Store, stage: str, fingerprint: str) -> Record | None:
    """The record of an output, or None if the stage has not written it."""
    key = f"{output_prefix(stage, fingerprint)}/record.json"
    return read_document(store, key, Record, name="A record", mend="run again")


def all_records(store: Store, stages: Sequence[str]) -> Iterator[Record]:
    """All records of the given stages that this version can read."""
    for stage in stages:
        for key in store.list(f"{stage}/"):
            if key.count("/") == 2 and key.endswith("/record.json"):
                record = find_record(store, stage, key.split("/")[1])
                if record is not None:
                    yield record
