"""Sections of pages as LangChain documents, and back.

Retrievers and loaders hand on documents, one a section; what is done with them afterwards works on
`Note`, as for the bundled notes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from langchain_core.documents import Document

from fundus_r1.retrieval.addresses import Again, Answer
from fundus_r1.retrieval.sources import Note

NESTED = " > "
"""Between the headings of nested sections: ``Diagnosis > Signs``."""


def to_document(note: Note) -> Document:
    """A section as LangChain hands it on."""
    return Document(page_content=note.text, metadata={"note": note})


def to_notes(documents: Iterable[Document]) -> list[Note]:
    """The sections in documents that `to_document` made."""
    return [document.metadata["note"] for document in documents]


def json_object(answer: Answer) -> dict[str, Any]:
    """The JSON object that a service answered.

    Raises:
        Again: it is none; services answer so while they are being mended.
    """
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Again(f"the answer is no JSON object but {answer.body[:60].decode('utf-8', 'replace')!r}")
    return value
