"""D[y, m] and its record from retrieved passages, by sentence patterns (paper, Sec. 3.2.1).

A finding is required where a sentence calls it decisive ("is characterized by", "hallmark",
"required"), supportive where a sentence says that it may be there ("can accompany"), and absent
where a sentence denies it or says that it speaks against the label. Nothing is known beforehand
of any label. Sentences of a passage on another label or another kind of image do not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from fundus_r1.models.trace_reading import label_namings
from fundus_r1.ontology.findings import FINDINGS, mentions
from fundus_r1.ontology.labels import LABELS, canonical_label
from fundus_r1.ontology.wording import series
from fundus_r1.rows import Modality, Passage

CONTEXT_SENTENCES = 2
"""At most so many sentences that name no finding are kept, for where and how it looks."""

_CLAUSE = re.compile(
    r"(?<=[.!?])\s+|;\s*|,?\s+\b(?:but|whereas|while|although|however|since|because)\b\s*", re.IGNORECASE
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_AGAINST = re.compile(
    r"\b(?:(?:speak|argue|count)s? against|speaks? for (?:another|a different)|exclud(?:es?|ing)|rules? out|"
    r"points? away|(?:is|are) (?:unexpected|foreign)|(?:is|are) not (?:a )?(?:sign|part)s? of)\b",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"\b(?:may|might|can|could|sometimes|often|frequently|occasionally|commonly|usually|accompan\w+|"
    r"supports?|supportive|also)\b",
    re.IGNORECASE,
)
_DECISIVE = re.compile(
    r"\b(?:hallmarks?|(?:is|are) required|requires|characteri[sz]ed by|defined by|decisive|"
    r"must be (?:present|seen)|(?:core|key|cardinal|defining) (?:finding|sign|feature)s?|pathognomonic)\b",
    re.IGNORECASE,
)
_NOT_ALWAYS = re.compile(
    r"\b(?:(?:may|might|can|could) (?:still )?(?:be (?:absent|missing|lacking|too)|not\b)|need not)",
    re.IGNORECASE,
)


def extract_knowledge(inputs: dict[str, Any]) -> str:
    """The record, as JSON of `prompts.knowledge.RECORD_SCHEMA`.

    Args:
        inputs: ``label`` (key), ``modality`` and ``passages`` (rows), best first.
    """
    label, modality = inputs["label"], Modality(inputs["modality"])
    passages = [row for row in inputs["passages"] if _is_on(row, label, modality)]
    grades: dict[str, set[str]] = {"required": set(), "supportive": set(), "absent": set()}
    for passage in passages:
        for key, grade in _graded(passage.text):
            grades[grade].add(key)
    required = grades["required"]
    supportive = grades["supportive"] - required
    absent = grades["absent"] - required - supportive
    names = {
        "required": _names(required), "supportive": _names(supportive), "absent": _names(absent)
    }  # fmt: skip
    description = _describe(label, modality, names, _context(passages, label))
    return json.dumps({"description": description, **names}, ensure_ascii=False)


def _is_on(passage: Passage, label: str, modality: Modality) -> bool:
    """Whether a passage's title names no other label and no other modality."""
    topic, _, view = passage.title.partition(" on ")
    other_label = canonical_label(topic) not in (None, label)
    other_view = view in set(Modality) - {modality}
    return not other_label and not other_view


def _graded(text: str) -> Iterator[tuple[str, str]]:
    """(finding, grade) for each finding that a passage grades."""
    for clause in _CLAUSE.split(text):
        for mention in mentions(clause):
            if mention.negated or _AGAINST.search(clause):
                if not _NOT_ALWAYS.search(clause):
                    yield mention.key, "absent"
            elif _WEAK.search(clause):
                yield mention.key, "supportive"
            elif _DECISIVE.search(clause):
                yield mention.key, "required"


def _names(keys: set[str]) -> list[str]:
    return [finding.plural for finding in FINDINGS.values() if finding.key in keys]


def _context(passages: Sequence[Passage], label: str) -> list[str]:
    """Sentences that name no finding and no other label, from where the decisive findings stand.

    A label without decisive findings has them from its signs.
    """
    decisive = [row for row in passages if any(grade == "required" for _, grade in _graded(row.text))]
    signs = [row for row in passages if row.section.lower().startswith("sign")]
    found: list[str] = []
    for passage in decisive or signs or passages:
        for sentence in _SENTENCE.split(passage.text):
            others = {naming.label for naming in label_namings(sentence)} - {label}
            if not mentions(sentence) and not others and sentence not in found:
                found.append(sentence)
    return found[:CONTEXT_SENTENCES]


def _describe(label: str, modality: Modality, names: dict[str, list[str]], context: list[str]) -> str:
    """D[y, m] in the manner of the paper's example."""
    name = LABELS[label].name
    lines = []
    if names["required"]:
        lines.append(f"On {modality}, {name} is characterized by {series(names['required'], 'and')}.")
    elif not names["supportive"]:
        lines.append(f"On {modality}, {name} means a picture without abnormal signs.")
    lines += context
    if names["absent"]:
        lines.append(f"At the same time, there should be no evidence of {series(names['absent'], 'or')}.")
    if names["supportive"]:
        lines.append(
            f"In addition to the core findings, {series(names['supportive'], 'and')} may also be observed."
        )
    return " ".join(lines)
