"""D[y, m] and its record from retrieved passages, by sentence patterns (paper, Sec. 3.2.1).

A finding is required where a sentence calls it decisive ("is characterized by", "hallmark",
"required"), supportive where a sentence says that it may be there ("can accompany"), and absent
where a sentence denies it or says that it speaks against the label. Where nothing is called decisive,
what the label is plainly said to show ("shows", "has") is required. Nothing is known beforehand of any
label. Passages and sentences on another label or another kind of image do not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fundus_r1.ontology.findings import FINDINGS, canonical_finding, mentions
from fundus_r1.ontology.labels import LABELS, canonical_label, lineage
from fundus_r1.ontology.wording import series
from fundus_r1.prompts.trace_reading import label_namings, modalities_named
from fundus_r1.rows import REMOVED, Modality, Passage

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
_SHOWS = re.compile(
    r"\b(?:has|have|shows?|reveals?|demonstrates?|displays?|presents? with|consists? of|(?:is|are) seen)\b",
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
    grades: dict[str, set[str]] = {"required": set(), "supportive": set(), "absent": set(), "stated": set()}
    for passage in passages:
        for key, grade in _graded(passage, label, modality):
            grades[grade].add(key)
    required = grades["required"] or grades["stated"]
    supportive = grades["supportive"] - required
    absent = grades["absent"] - required - supportive
    names = {
        "required": _names(required), "supportive": _names(supportive), "absent": _names(absent)
    }  # fmt: skip
    description = _describe(label, modality, names, _context(passages, label, modality))
    return json.dumps({"description": description, **names}, ensure_ascii=False)


def _is_on(passage: Passage, label: str, modality: Modality) -> bool:
    """Whether a passage's title names no other label and no other modality.

    A page without a modality in its title may be on a broader label: grades stand on one page.
    """
    topic, _, view = passage.title.partition(" on ")
    own = (label,) if view in set(Modality) else lineage(label)
    other_view = view in set(Modality) - {modality}
    return canonical_label(topic) in (None, *own) and not other_view


def _graded(passage: Passage, label: str, modality: Modality) -> Iterator[tuple[str, str]]:
    """(finding, grade) for each finding that a passage grades; ``stated`` is what is plainly shown."""
    for sentence, named in _sentences(passage, label, modality):
        for clause in _CLAUSE.split(sentence):
            for mention in mentions(clause):
                if mention.negated or _AGAINST.search(clause):
                    if not _NOT_ALWAYS.search(clause):
                        yield mention.key, "absent"
                elif _WEAK.search(clause):
                    yield mention.key, "supportive"
                elif _DECISIVE.search(clause):
                    yield mention.key, "required"
                elif named and _SHOWS.search(clause):
                    yield mention.key, "stated"


def _sentences(passage: Passage, label: str, modality: Modality) -> Iterator[tuple[str, bool]]:
    """The sentences of a passage on a label and modality, each with whether it names the label.

    In a passage that is under its own title all sentences are.
    """
    topic, _, view = passage.title.partition(" on ")
    own = canonical_label(topic) == label
    for sentence in _SENTENCE.split(passage.text.replace(REMOVED, " ").strip()):
        named = {naming.label for naming in label_namings(sentence) if not naming.contrasted}
        views = modalities_named(sentence)
        elsewhere = not view and bool(views) and modality not in views
        if not elsewhere and (own or label in named or not _others(named, label)):
            yield sentence, label in named


def _others(named: Iterable[str], label: str) -> set[str]:
    """The diseases that are neither the label nor a kind of it nor what it is a kind of.

    A label whose name is a finding (drusen) is none of them: it may be a finding of this one.
    """
    apart = {key for key in named if label not in lineage(key) and key not in lineage(label)}
    return {key for key in apart if not LABELS[key].sign and canonical_finding(LABELS[key].name) is None}


def _names(keys: set[str]) -> list[str]:
    return [finding.plural for finding in FINDINGS.values() if finding.key in keys]


def _context(passages: Sequence[Passage], label: str, modality: Modality) -> list[str]:
    """Sentences that name no finding and no other label, from where the decisive findings stand.

    A label without decisive findings has them from its signs.
    """
    decisive = [
        row for row in passages if any(grade == "required" for _, grade in _graded(row, label, modality))
    ]
    signs = [row for row in passages if row.section.lower().startswith("sign")]
    found: list[str] = []
    for passage in decisive or signs or passages:
        for sentence, _ in _sentences(passage, label, modality):
            named = {naming.label for naming in label_namings(sentence)} - {label}
            others = {key for key in named if not LABELS[key].sign}
            if not mentions(sentence) and not others and sentence not in found:
                found.append(sentence)
    return found[:CONTEXT_SENTENCES]


def _describe(label: str, modality: Modality, names: dict[str, list[str]], context: list[str]) -> str:
    """D[y, m] in the manner of the paper's example."""
    name = LABELS[label].name
    lines = []
    if names["required"]:
        lines.append(f"On {modality}, {name} is characterized by {series(names['required'], 'and')}.")
    elif not any(names.values()):
        return f"On {modality}, the passages name no finding of {name}."
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
