"""Sections are filtered by their heading and split at sentences."""

from __future__ import annotations

import pytest

from fundus_r1.fingerprint import sha256
from fundus_r1.retrieval.passages import CHUNK_SIZE, is_kept, to_passages
from fundus_r1.retrieval.sources import Note, read_notes


@pytest.mark.parametrize(
    "heading", ["Signs", "Symptoms", "Diagnostic criteria", "OCT imaging", "Differential signs"]
)
def test_kept_sections(heading: str):
    assert is_kept(heading)


@pytest.mark.parametrize("heading", ["Management", "Course", "Epidemiology", "References", "Design"])
def test_dropped_sections(heading: str):
    assert not is_kept(heading)


def test_a_long_section_is_split_between_sentences_and_loses_nothing():
    text = " ".join(f"Sentence number {number} says something about drusen." for number in range(40))
    note = Note("notes/x", "Drusen on OCT", "Signs", "Somebody 2003", "own", text)
    passages = to_passages([note])
    assert len(passages) > 1
    assert " ".join(passage.text for passage in passages) == text
    assert all(len(passage.text) <= CHUNK_SIZE and passage.text.endswith(".") for passage in passages)
    assert passages[1].passage_id == "notes/x/drusen-on-oct/signs/1"


def test_bundled_passages_have_unique_ids_digests_and_no_treatment():
    notes = read_notes()
    passages = to_passages(notes)
    assert len({passage.passage_id for passage in passages}) == len(passages)
    assert all(passage.digest == sha256(passage.text.encode()) for passage in passages)
    assert {note.section for note in notes} - {passage.section for passage in passages} == {
        "Management",
        "Course",
    }
    assert to_passages(notes) == passages
