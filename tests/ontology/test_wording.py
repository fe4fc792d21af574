"""Findings, labels and negations are found fast, and just as without the haste."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import pytest

from fundus_r1.ontology import findings, negation
from fundus_r1.ontology.findings import FINDINGS, mentions
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.wording import PhraseFinder, bounded
from fundus_r1.prompts import trace_reading
from fundus_r1.retrieval.sources import read_notes


def texts() -> Iterator[str]:
    """All notes, each name in many spellings, and names thrown together."""
    yield from (note.text for note in read_notes())
    names = [name for row in (*FINDINGS.values(), *LABELS.values()) for name in (row.name, *row.synonyms)]
    for name in names:
        british = (
            name.replace("hemorrhag", "haemorrhag").replace("edema", "oedema").replace("nevus", "naevus")
        )
        hyphened = british.replace(" ", "-")
        yield f"{name}; {name.upper()}; {name}s; {british}; {hyphened}; {name.replace(' ', '')}; no {name}"
    draw = random.Random(0)
    yield from (" and ".join(draw.sample(names, 4)) for _ in range(300))


@pytest.mark.parametrize("finder", [findings._phrases()[0], trace_reading._label_names()])
def test_what_is_found_is_what_one_expression_would_find(finder: PhraseFinder) -> None:
    one = bounded("|".join(f"({pattern})" for _, pattern in finder.patterns))
    found = 0
    for text in islice(texts(), 0, None, 4):
        quick = [(match.span(), place + 1) for place, match in finder.find(text)]
        assert quick == [(match.span(), match.lastindex) for match in one.finditer(text)], text
        found += len(quick)
    assert found > 1000


def test_a_text_without_a_cue_denies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [mentions(text) for text in texts()]
    monkeypatch.setattr(negation, "_may_deny", lambda _: True)
    assert quick == [mentions(text) for text in texts()]
