"""What a reasoning trace is composed from and checked against: VF(x), D[y, m] and the triplet.

The writer is guided as in the paper, Sec. 3.2.3: (i) summarise the findings, (ii) connect them to
the domain knowledge, (iii) derive the answer. The texts of both prompts are ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.prompts import render
from fundus_r1.rows import Findings, Knowledge, Triplet

CHECK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "accepted": {"type": "boolean"},
        "problems": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["accepted", "problems"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Material:
    """One triplet with its findings and its knowledge; ``ChatRequest.inputs`` holds the same keys."""

    triplet: Triplet
    findings: Findings
    knowledge: Knowledge

    def inputs(self) -> dict[str, Any]:
        """The rows by name, for a model that needs no prompt."""
        return {"triplet": self.triplet, "findings": self.findings, "knowledge": self.knowledge}

    def _places(self) -> dict[str, str]:
        present = [FINDINGS[key].plural for key in self.findings.present]
        return {
            "modality": self.triplet.modality.value,
            "question": self.triplet.question,
            "answer": self.triplet.answer,
            "label": LABELS[self.triplet.label].name,
            "findings": "\n".join(f"- {name}" for name in present) or "- none",
            "description": self.knowledge.description,
            "required": _listed(self.knowledge.required),
            "supportive": _listed(self.knowledge.supportive),
            "absent": _listed(self.knowledge.absent),
        }


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(FINDINGS[key].plural for key in keys) or "none"


def trace_question(material: Material) -> str:
    """Asks the writer for a trace."""
    return render("trace", **material._places())


def check_question(material: Material, trace: str) -> str:
    """Asks the writer for the problems of a trace, given as its whole text with tags."""
    return render("check", trace=json.dumps(trace, ensure_ascii=False), **material._places())


def read_check(text: str) -> list[str] | None:
    """The problems that the writer named, or None if its answer is not of `CHECK_SCHEMA`.

    An answer that rejects without a reason, or accepts with one, is a rejection.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return None
    match value:
        case {"accepted": bool(accepted), "problems": list(problems)}:
            named = [str(problem) for problem in problems]
            return named or ([] if accepted else ["rejected without a reason"])
        case _:
            return None
