"""The sources of knowledge: bundled notes in our own words, each with its references.

A source's file is Markdown. Its front matter names the family, the licence and the references;
``# Moderate NPDR on CFP`` begins a topic, ``## Signs [icdr, etdrs10]`` a section of it that rests
on the references named. Pages of EyeWiki, the AAO and PMC, which the paper retrieves, may not be
copied or change from day to day; the notes are free, and the same for everyone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from fundus_r1.errors import DataError
from fundus_r1.fingerprint import fingerprint

_TOPIC = re.compile(r"^# (?P<title>.+)$", re.MULTILINE)
_SECTION = re.compile(r"^## (?P<section>[^\[\n]+?)\s*\[(?P<references>[^\]]+)\]\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Note:
    """One section of one topic, from whatever source."""

    source: str
    """``notes/<file>``, ``eyewiki``, ``pmc/PMC<id>`` or ``aao/<document>``."""
    title: str
    section: str
    reference: str
    """Full citations, joined by `` | ``."""
    licence: str
    text: str
    hidden: tuple[str, ...] = ()
    """What the page holds and does not show; it is no part of the text, only looked at for attacks."""


class _FrontMatter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    family: str
    licence: str
    references: dict[str, str]


def parse_note(name: str, content: str) -> list[Note]:
    """The sections of one file, in order.

    Args:
        name: the source's name, for the rows and for errors.
        content: the file's text.

    Raises:
        DataError: the front matter is wrong, or a section names an unknown reference.
    """
    try:
        _, front, body = re.split(r"^---$", content, maxsplit=2, flags=re.MULTILINE)
        head = _FrontMatter.model_validate(yaml.safe_load(front))
    except (ValueError, yaml.YAMLError, ValidationError) as error:
        raise DataError(
            f"The front matter of a note cannot be read: {error}",
            where=name,
            hint="it stands between two lines '---' and has family, licence and references",
        ) from error
    notes = []
    for title, topic in _split(_TOPIC, body):
        for match, text in _split_matches(_SECTION, topic):
            names = [part.strip() for part in match["references"].split(",")]
            if unknown := [part for part in names if part not in head.references]:
                raise DataError(
                    f"The section {match['section']!r} of {title!r} names no known reference: {unknown[0]!r}",
                    where=name,
                    hint=f"the front matter lists {', '.join(head.references)}",
                )
            reference = " | ".join(head.references[part] for part in names)
            notes.append(Note(name, title, match["section"], reference, head.licence, " ".join(text.split())))
    return notes


def _split_matches(pattern: re.Pattern[str], text: str) -> list[tuple[re.Match[str], str]]:
    """Each match with the text from its end to the next match."""
    found = list(pattern.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [(match, text[match.end() : end]) for match, end in zip(found, ends, strict=True)]


def _split(pattern: re.Pattern[str], text: str) -> list[tuple[str, str]]:
    return [(match["title"].strip(), body) for match, body in _split_matches(pattern, text)]


@cache
def read_notes() -> tuple[Note, ...]:
    """All sections of the bundled notes, by file and then in the order of the file."""
    folder = files(__package__).joinpath("notes")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".md"))
    return tuple(
        note
        for name in names
        for note in parse_note(
            f"notes/{name.removesuffix('.md')}", folder.joinpath(name).read_text(encoding="utf-8")
        )
    )


def corpus_digest(sources: Sequence[str]) -> str:
    """SHA-256 over what the program itself holds of the sources; part of the stage's fingerprint.

    Of the sources only the notes are bundled. The others lie in the network and contribute their
    names; which of their pages were used is what a snapshot says.
    """
    return fingerprint([_bundled(source) for source in sources])


def _bundled(source: str) -> list[str | list[str]]:
    if source != "notes":
        return [source]
    notes = [
        [note.source, note.title, note.section, note.reference, note.licence, note.text]
        for note in read_notes()
    ]
    return [source, *notes]
