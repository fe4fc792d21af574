"""The automatic quality check as typed rules (paper, Sec. 3.2.3, last paragraph).

The paper prompts the writer to find traces with an inconsistent modality, omitted required
findings, redundant or incorrect findings, omitted or mismatched knowledge, "etc.". Each of these is
a rule here, so that a rejection can be read and argued with; the trace's last step, by which it is
to derive the answer, is one more. The rules hold a trace against what the image is known to show
and what the knowledge says of its label; doubt rejects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fundus_r1.ontology.findings import FINDINGS, canonical_finding, mentions
from fundus_r1.ontology.labels import LABELS, canonical_label, lineage
from fundus_r1.ontology.wording import bounded
from fundus_r1.prompts.material import Material, Reasons
from fundus_r1.prompts.student import parse_student
from fundus_r1.prompts.trace_reading import (
    Sentence,
    Stated,
    in_english,
    modalities_named,
    sentences,
    stated,
)
from fundus_r1.rows import Modality, Reason, Triplet

_FROM_ABSENCE = re.compile(
    r"\b(?:absence|lack) of (?!other\b|further\b|additional\b|more\b)([^.;]{0,120}?)\b(?:support|suggest"
    r"|indicat|confirm|favo|point|argu|is (?:characteristic|typical|diagnostic))",
    re.IGNORECASE,
)


def check(material: Material, text: str) -> Reasons:
    """What is wrong with a trace, each kind of reason once; empty if nothing is.

    Args:
        material: what the trace was composed from.
        text: the whole trace with its tags.
    """
    parsed = parse_student(text)
    reasons: Reasons = []
    if not parsed.well_formed:
        reasons.append((Reason.FORMAT, "not exactly <think>...</think> <answer>...</answer>"))
    elif parsed.think is not None and not in_english(parsed.think):
        reasons.append((Reason.FORMAT, "not in English"))
    if parsed.answer is not None and parsed.answer != material.triplet.answer:
        reasons.append((Reason.ANSWER_MISMATCH, f"{parsed.answer!r} is not {material.triplet.answer!r}"))
    if parsed.think is not None:
        spoken, said = sentences(parsed.think), stated(parsed.think)
        reasons += _modality(parsed.think, material.triplet.modality)
        reasons += _findings(said, material)
        reasons += _knowledge(spoken, said, material)
        reasons += _derivation(spoken, material.triplet)
    return reasons


def _names(keys: Iterable[str]) -> str:
    return ", ".join(FINDINGS[key].name for key in sorted(keys))


def _modality(think: str, modality: Modality) -> Reasons:
    others = modalities_named(think) - {modality}
    if not others:
        return []
    return [(Reason.MODALITY, f"names {', '.join(sorted(others))} on a {modality} image")]


def _findings(said: Stated, material: Material) -> Reasons:
    knowledge = material.knowledge
    shown = set(material.present)
    belongs = {*knowledge.required, *knowledge.supportive} - set(knowledge.absent)
    wrong = [
        (said.present - shown, "not in the image"),
        (said.absent & shown, "denied but in the image"),
        ((said.present & shown) - belongs, f"no finding of {LABELS[knowledge.label].name}"),
    ]
    reasons: Reasons = []
    if omitted := set(knowledge.required) - said.present:
        reasons.append((Reason.REQUIRED_OMITTED, _names(omitted)))
    if told := "; ".join(f"{why}: {_names(keys)}" for keys, why in wrong if keys):
        reasons.append((Reason.FINDING_INCORRECT, told))
    if said.repeated:
        reasons.append((Reason.FINDING_REDUNDANT, _names(said.repeated)))
    return reasons


def _knowledge(spoken: Sequence[Sentence], said: Stated, material: Material) -> Reasons:
    reasons: Reasons = []
    label = material.triplet.label
    if not any(sentence.links and _named(sentence) for sentence in spoken):
        reasons.append((Reason.KNOWLEDGE_OMITTED, f"no link from the findings to {LABELS[label].name}"))
    problems = []
    if others := sorted({other for sentence in spoken for other in _rivals(sentence, material)}):
        problems.append(f"concludes {', '.join(LABELS[other].name for other in others)}")
    if denied := (said.absent - said.present) & set(material.knowledge.required):
        problems.append(f"denies what {LABELS[label].name} requires: {_names(denied)}")
    if any(_argues_from_absence(sentence, material) for sentence in spoken):
        problems.append(f"argues for {LABELS[label].name} from what is absent")
    if problems:
        reasons.append((Reason.KNOWLEDGE_MISMATCH, "; ".join(problems)))
    return reasons


def _argues_from_absence(sentence: Sentence, material: Material) -> bool:
    """Whether a label that requires findings is held to follow from an absence that D does not name."""
    knowledge = material.knowledge
    argued = _FROM_ABSENCE.search(sentence.text)
    if argued is None or not knowledge.required or material.triplet.label not in _named(sentence):
        return False
    return not any(mention.key in knowledge.absent for mention in mentions(argued[1]))


def _derivation(spoken: Sequence[Sentence], triplet: Triplet) -> Reasons:
    """The last step: a sentence that connects or concludes names the answer, and only then it ends."""
    steps = [place for place, sentence in enumerate(spoken) if _concludes(sentence, triplet)]
    if not steps:
        return [(Reason.NOT_DERIVED, f"nothing concludes {triplet.answer}")]
    after = spoken[steps[-1] + 1 :]
    if any(sentence.doubts or triplet.label in _set_apart(sentence) for sentence in after):
        return [(Reason.NOT_DERIVED, "the conclusion is taken back")]
    late = {key for sentence in after if sentence.observes for key, no in sentence.statements() if not no}
    if late:
        return [(Reason.NOT_DERIVED, f"described after the conclusion: {_names(late)}")]
    return []


def _concludes(sentence: Sentence, triplet: Triplet) -> bool:
    """Whether a sentence leads to the answer without doubt."""
    if sentence.observes or sentence.doubts:
        return False
    if canonical_label(triplet.answer) is not None:
        return triplet.label in _named(sentence)
    return triplet.label in _named(sentence) or bool(bounded(re.escape(triplet.answer)).search(sentence.text))


def _set_apart(sentence: Sentence) -> set[str]:
    return {naming.label for naming in sentence.namings if naming.contrasted}


def _named(sentence: Sentence) -> set[str]:
    return {naming.label for naming in sentence.namings if not naming.contrasted}


def _rivals(sentence: Sentence, material: Material) -> set[str]:
    """Labels other than y that a sentence connects to or concludes."""
    if sentence.observes:
        return set()
    triplet, knowledge = material.triplet, material.knowledge
    own = set(lineage(triplet.label))
    named = _named(sentence)
    others = named - own
    if triplet.label in named:
        # "Drusen are characteristic of AMD" names a finding, not a second diagnosis.
        belongs = {*knowledge.required, *knowledge.supportive}
        others = {
            other
            for other in others & set(triplet.option_labels.values())
            if canonical_finding(LABELS[other].name) not in belongs
        }
    return others
