"""Notes are read with their references; a broken one says what is wrong with it."""

from __future__ import annotations

import pytest

from fundus_r1.errors import DataError
from fundus_r1.ontology.labels import LABELS, canonical_label
from fundus_r1.ontology.tasks import TASKS, pairs
from fundus_r1.retrieval.sources import corpus_digest, parse_note, read_notes

NOTE = """---
family: Test
licence: Apache-2.0 (own words)
references:
  one: "Somebody. Something. 2003"
  two: "Another. Else. 2004"
---
# Drusen on OCT

## Signs [one, two]
First line
and second line.

## Management [two]
Watched.
"""


def test_a_note_is_read_section_by_section():
    signs, management = parse_note("notes/test", NOTE)
    assert (signs.title, signs.section, signs.text) == (
        "Drusen on OCT",
        "Signs",
        "First line and second line.",
    )
    assert signs.reference == "Somebody. Something. 2003 | Another. Else. 2004"
    assert signs.licence == "Apache-2.0 (own words)"
    assert management.section == "Management"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (NOTE.replace("[one, two]", "[three]"), "'three'"),
        (NOTE.replace("family", "familiy"), "front matter"),
        (NOTE.replace("---", ""), "front matter"),
        (NOTE.replace("references:", "references: ["), "front matter"),
    ],
)
def test_a_broken_note_is_refused_with_its_name(broken: str, said: str):
    with pytest.raises(DataError, match=said) as raised:
        parse_note("notes/test", broken)
    assert raised.value.where == "notes/test"


def test_the_bundled_notes_cover_every_pair_and_all_have_references():
    notes = read_notes()
    titles = {note.title for note in notes}
    every = sorted({task.dataset for task in TASKS.values()})
    assert titles == {f"{LABELS[label].name} on {of}" for label, of in pairs(every)}
    assert all(canonical_label(title.rpartition(" on ")[0]) for title in titles)
    assert all(note.reference and note.licence and note.text.endswith(".") for note in notes)


def test_the_digest_is_of_what_is_bundled_and_of_the_names_of_the_rest():
    assert corpus_digest(["notes"]) == corpus_digest(("notes",))
    digests = [corpus_digest(names) for names in ([], ["notes"], ["eyewiki"], ["eyewiki", "notes"], ["pmc"])]
    assert len(set(digests)) == 5
