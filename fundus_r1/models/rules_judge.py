"""The judge and the checker without a language model: the same verdicts by reading the text.

Findings are read out of a trace (and out of D) by the ontology's regular expressions, negation
included. These rules see which findings are stated; whether the prose between them is sound
reasoning they cannot see, which is what a language model is for.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from fundus_r1.models.rules_check import check
from fundus_r1.ontology.findings import mentions
from fundus_r1.prompts.material import Material, check_answer
from fundus_r1.prompts.trace_reading import stated
from fundus_r1.prompts.verdicts import FindingsVerdict, KnowledgeVerdict

_HEDGED = re.compile(
    r"\b(?:may|might|can|could|sometimes|occasionally|often|also|support\w*|in addition|add\w*)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")


def check_trace(inputs: dict[str, Any]) -> str:
    """The checker's answer, as JSON of `prompts.material.CHECK_SCHEMA`.

    Args:
        inputs: `Material.inputs` and ``trace``, the whole trace with its tags.
    """
    fields = {key: value for key, value in inputs.items() if key != "trace"}
    return check_answer(check(Material(**fields), inputs["trace"]))


def judge_findings(inputs: dict[str, Any]) -> str:
    """The judge's answer on a right answer's trace, as JSON of ``FINDINGS_SCHEMA``.

    Args:
        inputs: ``trace`` and ``findings``, the canonical keys of VF(x).
    """
    return json.dumps({"verdict": findings_verdict(inputs["trace"], frozenset(inputs["findings"]))})


def judge_knowledge(inputs: dict[str, Any]) -> str:
    """The judge's answer on a wrong answer's trace, as JSON of ``KNOWLEDGE_SCHEMA``.

    Args:
        inputs: ``trace`` and ``description``, which is D[y^, m].
    """
    return json.dumps({"verdict": knowledge_verdict(inputs["trace"], inputs["description"])})


def findings_verdict(trace: str, shown: frozenset[str]) -> FindingsVerdict:
    """How well the findings that a trace states agree with VF(x).

    plausible: all that it states is shown, something is stated if anything is shown, and nothing
    shown is denied. flawed: it denies what is shown, or nothing that it states is shown.
    tenuous: a part of what it states is shown.
    """
    said = stated(trace)
    if said.absent & shown:
        return "flawed"
    if said.present <= shown and (said.present or not shown):
        return "plausible"
    return "tenuous" if said.present & shown else "flawed"


def knowledge_verdict(trace: str, description: str) -> KnowledgeVerdict:
    """Whether the findings that a trace states are a way to the answer that D describes.

    plausible: all findings that D states without "may", "also" and the like are stated as present,
    no finding that D denies is, and what is stated belongs to D.
    """
    decisive, belongs, against = _described(description)
    said = stated(trace)
    fits = decisive <= said.present <= belongs and not said.present & against
    return "plausible" if fits and (said.present or not belongs) else "implausible"


@lru_cache(maxsize=1024)
def _described(description: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """(decisive, all that belong, denied) findings of D[y, m]."""
    decisive: set[str] = set()
    belongs: set[str] = set()
    against: set[str] = set()
    for sentence in _SENTENCE.split(description):
        for mention in mentions(sentence):
            if mention.negated:
                against.add(mention.key)
                continue
            belongs.add(mention.key)
            if not _HEDGED.search(sentence):
                decisive.add(mention.key)
    return frozenset(decisive), frozenset(belongs), frozenset(against - belongs)
