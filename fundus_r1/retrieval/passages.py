"""Sections of a source become passages: filtered by their heading, split at sentences.

The paper keeps sections on characteristic symptoms, diagnostic criteria and modality-specific
manifestations (Sec. 3.2.1); what a page says of treatment or inheritance is not retrieved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fundus_r1.fingerprint import sha256
from fundus_r1.retrieval.sources import Note
from fundus_r1.rows import Passage

CHUNK_SIZE = 600
"""Characters in a passage, at most."""
_KEPT = re.compile(r"\b(?:symptom|sign|diagnos|criteri|imaging|manifestation|finding)", re.IGNORECASE)


def is_kept(section: str) -> bool:
    """Whether a section's heading promises what diagnosing by images needs."""
    return bool(_KEPT.search(section))


def _slug(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def to_passages(notes: Iterable[Note]) -> list[Passage]:
    """The passages of the sections that are kept, in the order of the sections.

    Ids are ``<source>/<title>/<section>/<number>`` in lower case; they last as long as headings do.
    """
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        chunk_size=CHUNK_SIZE, chunk_overlap=0, separators=["\n\n", ". ", " "], keep_separator="end"
    )
    passages = []
    for note in notes:
        if not is_kept(note.section):
            continue
        for number, text in enumerate(splitter.split_text(note.text)):
            passages.append(
                Passage(
                    passage_id=f"{note.source}/{_slug(note.title)}/{_slug(note.section)}/{number}",
                    source=note.source,
                    title=note.title,
                    section=note.section,
                    reference=note.reference,
                    licence=note.licence,
                    text=text,
                    digest=sha256(text.encode()),
                )
            )
    return passages
