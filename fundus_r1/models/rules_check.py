"""The automatic quality check as typed rules (paper, Sec. 3.2.3, last paragraph).

The paper prompts the writer to find traces with an inconsistent modality, omitted required
findings, redundant or incorrect findings, omitted or mismatched knowledge. Each of these is a rule
here, so that a rejection can be read and argued with. The rules hold a trace against what the
image is known to show and what the knowledge says of its label; doubt rejects.
"""

from __future__ import annotations

from collections.abc import Iterable

from fundus_r1.models.trace_reading import (
    Sentence,
    Stated,
    label_namings,
    modalities_named,
    sentences,
    stated,
)
from fundus_r1.ontology.findings import FINDINGS, canonical_finding
from fundus_r1.ontology.labels import LABELS
from fundus_r1.prompts.material import Material
from fundus_r1.prompts.student import parse_student
from fundus_r1.rows import Modality, Reason

Reasons = list[tuple[Reason, str]]

PARENTS = {
    "mild_npdr": "diabetic_retinopathy",
    "moderate_npdr": "diabetic_retinopathy",
    "severe_npdr": "diabetic_retinopathy",
    "pdr": "diabetic_retinopathy",
}
"""Label -> the wider label that a trace may name as well."""


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
    if parsed.answer is not None and parsed.answer != material.triplet.answer:
        reasons.append((Reason.ANSWER_MISMATCH, f"{parsed.answer!r} is not {material.triplet.answer!r}"))
    if parsed.think is not None:
        reasons += _modality(parsed.think, material.triplet.modality)
        said = stated(parsed.think)
        reasons += _findings(said, material)
        reasons += _knowledge(parsed.think, said, material)
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
    shown = set(material.findings.present)
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


def _knowledge(think: str, said: Stated, material: Material) -> Reasons:
    reasons: Reasons = []
    spoken = sentences(think)
    label = material.triplet.label
    if not any(sentence.links and _named(sentence) for sentence in spoken):
        reasons.append((Reason.KNOWLEDGE_OMITTED, f"no link from the findings to {LABELS[label].name}"))
    problems = []
    if others := sorted({other for sentence in spoken for other in _rivals(sentence, material)}):
        problems.append(f"concludes {', '.join(LABELS[other].name for other in others)}")
    if denied := (said.absent - said.present) & set(material.knowledge.required):
        problems.append(f"denies what {LABELS[label].name} requires: {_names(denied)}")
    if problems:
        reasons.append((Reason.KNOWLEDGE_MISMATCH, "; ".join(problems)))
    return reasons


def _named(sentence: Sentence) -> set[str]:
    return {naming.label for naming in label_namings(sentence.text) if not naming.contrasted}


def _rivals(sentence: Sentence, material: Material) -> set[str]:
    """Labels other than y that a sentence connects to or concludes."""
    if sentence.observes:
        return set()
    triplet, knowledge = material.triplet, material.knowledge
    own = {triplet.label, PARENTS.get(triplet.label, triplet.label)}
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
