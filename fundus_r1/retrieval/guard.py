"""Retrieved text is data: what of a section tries to instruct a model is taken out and reported.

What that is, `prompts.guard` says. The prompt quotes what is left as JSON, which no text can leave;
this is the second wall.
"""

from __future__ import annotations

from dataclasses import replace

from fundus_r1.prompts.guard import Hit, neutralise
from fundus_r1.retrieval.sources import Note
from fundus_r1.rows import Neutralised

_EXCERPT = 160


def clean(note: Note) -> tuple[Note, list[Neutralised]]:
    """A section without what would instruct a model, and a row for each piece taken out."""
    title, in_title = neutralise(note.title)
    section, in_section = neutralise(note.section)
    text, in_text = neutralise(note.text)
    in_hidden = [Hit("hidden", piece) for piece in note.hidden if neutralise(piece)[1]]
    found = [
        Neutralised(
            source=note.source,
            title=title,
            section=section,
            reference=note.reference,
            kind=hit.kind,
            excerpt=" ".join(hit.text.split())[:_EXCERPT],
        )
        for hit in (*in_title, *in_section, *in_text, *in_hidden)
    ]
    return replace(note, title=title, section=section, text=text, hidden=()), found
