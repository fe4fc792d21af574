"""The observer's joint question, its rollouts read, and the vote (paper, Sec. 3.2.2, Eq. 3).

All findings of a vocabulary are asked in one question. A rollout says present or absent for
each; what it says of a finding that cannot be read, or that it contradicts, is an abstention,
which never votes. A finding is kept if more rollouts say present than a threshold (the paper's
is two, of five).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fundus_r1.errors import DataError
from fundus_r1.ontology.findings import FINDINGS, canonical_finding
from fundus_r1.prompts import render
from fundus_r1.rows import Modality, Sample, VocabularyEntry

Rollout = Mapping[str, bool | None]
"""Finding -> present, absent, or None for an abstention."""

# Every repetition has an end and a name begins with a word, so the time grows with the text's length.
_SAID = re.compile(
    r"""
    (?<! [^\W\d_] ) (?P<name> [^\W\d_] [^:=\n,;{}"*]{0,80} ) ["'*]{0,4}
    (?: \s? [:=] | \s[–—-]\s ) [\s"'*]{0,8}
    (?P<value> (?: not \s )? present | absent | true | false | yes | no ) \b
    (?! \s? (?: / | or\b ) )  # "present or absent" repeats the question
    """,
    re.IGNORECASE | re.VERBOSE,
)
_GAP = re.compile(r"\s{2,}")
_PRESENT = frozenset({"present", "true", "yes"})


def asked_of(sample: Sample, vocabulary: Mapping[tuple[str, Modality], VocabularyEntry]) -> tuple[str, ...]:
    """The findings asked about one image: those of all its labels, each once.

    Raises:
        DataError: the vocabulary has no entry for a label.
    """
    asked: dict[str, None] = {}
    for label in sample.labels:
        entry = vocabulary.get((label, sample.modality))
        if entry is None:
            raise DataError(
                f"The vocabulary has no entry for the label {label} on {sample.modality}",
                where=sample.sample_id,
                hint="run the stage knowledge with the datasets that the stage index had",
            )
        asked.update(dict.fromkeys(entry.asked))
    return tuple(asked)


def question(modality: Modality, asked: Sequence[str]) -> str:
    """The joint question, in the paper's words, with the form of the answer added."""
    return render("findings", modality=modality.value, findings=", ".join(_name(key) for key in asked))


def schema(asked: Sequence[str]) -> dict[str, Any]:
    """JSON schema of a rollout: each finding's name -> ``present`` or ``absent``."""
    names = [_name(key) for key in asked]
    return {
        "type": "object",
        "properties": {name: {"type": "string", "enum": ["present", "absent"]} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _name(key: str) -> str:
    return FINDINGS[key].name


def parse_rollout(text: str, asked: Sequence[str]) -> dict[str, bool | None]:
    """What a rollout says of each finding that was asked.

    JSON is read, whole or broken off, and so are lines such as ``- **Hard exudates**: absent``.
    Names are canonical findings in any wording; what was not asked is left out.
    """
    said: dict[str, set[bool]] = {key: set() for key in asked}
    # Models fill JSON with white space, sometimes until their answer ends.
    closed = _GAP.sub(lambda gap: "\n" if "\n" in gap[0] else " ", text)
    for match in _SAID.finditer(closed):
        key = _finding(match["name"])
        if key in said:
            said[key].add(match["value"].lower() in _PRESENT)
    return {key: values.pop() if len(values) == 1 else None for key, values in said.items()}


@lru_cache(maxsize=1 << 14)
def _finding(name: str) -> str | None:
    # Rollouts say the same few names again and again.
    return canonical_finding(name)


@dataclass(frozen=True)
class Vote:
    """What the rollouts say together."""

    votes: dict[str, int]
    """Finding -> rollouts that said present."""
    abstentions: dict[str, int]
    """Finding -> rollouts that said nothing readable."""
    kept: tuple[str, ...]
    """Findings with more votes than the threshold, in the order in which they were asked."""


def vote(rollouts: Collection[Rollout], asked: Sequence[str], over: int) -> Vote:
    """The majority vote.

    Args:
        rollouts: one for each time the question was asked.
        asked: the findings.
        over: a finding is kept if it has more votes than this.
    """
    votes = {key: sum(rollout[key] is True for rollout in rollouts) for key in asked}
    abstentions = {key: sum(rollout[key] is None for rollout in rollouts) for key in asked}
    return Vote(votes, abstentions, tuple(key for key in asked if votes[key] > over))
