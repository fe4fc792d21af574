"""Sections of a source become passages: filtered by their heading, split at sentences.

The paper keeps sections on characteristic symptoms, diagnostic criteria and modality-specific
manifestations (Sec. 3.2.1); what a page says of treatment or inheritance is not retrieved.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from fundus_r1.fingerprint import SHORT, sha256
from fundus_r1.retrieval.sources import Note
from fundus_r1.rows import Passage

CHUNK_SIZE = 600
"""Characters in a passage, at most."""
_KEPT = re.compile(
    r"\b(?:symptom|signs?\b|diagnos|criteri|imaging|manifestation|finding|(?:clinical|key|characteristic) "
    r"(?:feature|presentation|picture|appearance|characteristic|course and feature)|examination|"
    r"fundus(?:copy|copic| photograph| appearance)|ophthalmoscop|optical coherence|oct\b|"
    r"ultra-?wide|wide-?field|autofluorescence|angiograph)",
    re.IGNORECASE,
)
_DROPPED = re.compile(
    r"\b(?:manag|treat|therap|surg|prognos|follow-?up|epidemiolog|etiolog|pathophysiolog|prevention|"
    r"reference|acknowledg|funding|ethic|method|supplement)",
    re.IGNORECASE,
)
"""Where a heading above says so, sections below are not kept: signs of a treatment's success."""


def is_kept(section: str) -> bool:
    """Whether a section's heading, or one above it, promises what diagnosing by images needs.

    Args:
        section: headings from the outermost to the section's own, joined by `documents.NESTED`.
    """
    *above, own = section.split(" > ")
    if any(_DROPPED.search(heading) and not _KEPT.search(heading) for heading in above):
        return False
    if _KEPT.search(own):
        return True
    return not _DROPPED.search(own) and any(_KEPT.search(heading) for heading in above)


def _slug(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower())) or sha256(text.encode())[:SHORT]


def to_passages(notes: Iterable[Note]) -> list[Passage]:
    """The passages of the sections that are kept, in the order of the sections.

    Give all sections of a page at once: sections with one heading are numbered through.
    Ids are ``<source>/<title>/<section>/<number>`` in lower case; they last as long as headings do.
    """
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        chunk_size=CHUNK_SIZE, chunk_overlap=0, separators=["\n\n", ". ", " "], keep_separator="end"
    )
    passages = []
    numbers: Counter[str] = Counter()
    for note in notes:
        if not is_kept(note.section):
            continue
        place = f"{note.source}/{_slug(note.title)}/{_slug(note.section)}"
        for text in splitter.split_text(note.text):
            number = numbers[place]
            numbers[place] += 1
            passages.append(
                Passage(
                    passage_id=f"{place}/{number}",
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
