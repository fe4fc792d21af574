"""Reviewed vocabularies between a file, a spec and the store (paper, Sec. 3.2.1).

A run names the file by its digest. Whoever can read the file keeps it in the store, so that a step
on another machine, which cannot, finds the same bytes there.
"""

from __future__ import annotations

from pathlib import Path

from fundus_r1.errors import DataError, SpecError, StageError, StoreError
from fundus_r1.fingerprint import SHORT, sha256
from fundus_r1.ontology.review_sheet import vocabulary_text
from fundus_r1.ontology.reviewed import VocabularyFile, read_vocabulary
from fundus_r1.rows import Knowledge, Passage
from fundus_r1.spec.science import ReviewedVocabulary
from fundus_r1.storage.output import StageOutput
from fundus_r1.storage.protocol import Conflict, Store


def open_reviewed(named: ReviewedVocabulary, store: Store) -> VocabularyFile:
    """The vocabulary that a spec names, from its file or from the store; then the store keeps it.

    Raises:
        SpecError: it is not pinned, or the file is another than the spec names.
        StageError: neither the file nor the store has it.
        StoreError: the store's copy is damaged.
        DataError: it is no vocabulary.
    """
    if named.digest is None:
        raise SpecError(
            "The reviewed vocabulary has no digest",
            where="science.knowledge.vocabulary.digest",
            hint="resolve the spec where the file is: fundus-r1 fills the digest in",
        )
    key = f"vocabularies/{named.digest}.yaml"
    data = _from_file(named)
    if data is None:
        data = store.get(key)
        if data is None:
            raise StageError(
                "The reviewed vocabulary is neither a file here nor in the store",
                where=f"{named.path}, {store.uri}/{key}",
                hint="run the stage knowledge once where the file is, or copy the file to that key",
            )
        if sha256(data) != named.digest:
            raise StoreError(
                "The store's copy of the reviewed vocabulary is damaged",
                where=f"{store.uri}/{key}",
                hint="delete it, and run where the file is",
            )
    else:
        _keep(store, key, data)
    return parse_vocabulary(data, named.path)


def _from_file(named: ReviewedVocabulary) -> bytes | None:
    try:
        data = Path(named.path).read_bytes()
    except OSError:
        return None
    if (found := sha256(data)) != named.digest:
        raise SpecError(
            f"The reviewed vocabulary is another than the spec names: its digest is {found[:SHORT]}..., "
            f"not {str(named.digest)[:SHORT]}...",
            where=named.path,
            hint="give the file of that digest, or leave the digest out to take the file as it is",
        )
    return data


def _keep(store: Store, key: str, data: bytes) -> None:
    try:
        store.put(key, data, if_absent=True)
    except Conflict:
        return  # The key is the content's digest: what lies there is the same.


def read_vocabulary_file(path: Path) -> VocabularyFile:
    """The vocabulary in a file.

    Raises:
        DataError: it cannot be read or is no vocabulary.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"The vocabulary cannot be read: {error.strerror}", where=str(path), hint="correct the path"
        ) from error
    return parse_vocabulary(data, str(path))


def parse_vocabulary(data: bytes, where: str) -> VocabularyFile:
    """The vocabulary in the bytes of a file."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("The vocabulary is no UTF-8 text", where=where, hint="save it as UTF-8") from error
    return read_vocabulary(text, where)


def exported(output: StageOutput) -> str:
    """The vocabulary of a finished stage `knowledge`, for review."""
    passages = {row.passage_id: row for row in output.read_rows("passages.jsonl", Passage)}
    return vocabulary_text(list(output.read_rows("knowledge.jsonl", Knowledge)), passages)
