"""What a reasoning trace is composed from and checked against: VF(x), D[y, m] and the triplet.

The writer is guided as in the paper, Sec. 3.2.3: (i) summarise the findings, (ii) connect them to
the domain knowledge, (iii) derive the answer. The texts of both prompts are ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.prompts import render
from fundus_r1.rows import Knowledge, Reason, Triplet

Reasons = list[tuple[Reason, str]]
"""What is wrong with a trace, with the detail of each."""

WRITERS_REASONS: tuple[Reason, ...] = tuple(reason for reason in Reason if reason is not Reason.UNREADABLE)
"""What the writer may give as a reason."""
_LONGEST_DETAIL = 200

CHECK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "accepted": {"type": "boolean"},
        "problems": {
            "type": "array",
            "maxItems": len(WRITERS_REASONS),
            "items": {
                "type": "object",
                "properties": {
                    "reason": {"type": "string", "enum": [reason.value for reason in WRITERS_REASONS]},
                    "detail": {"type": "string", "maxLength": _LONGEST_DETAIL},
                },
                "required": ["reason", "detail"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["accepted", "problems"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Material:
    """One triplet with its findings and its knowledge; ``ChatRequest.inputs`` holds the same keys."""

    triplet: Triplet
    present: tuple[str, ...]
    """VF(x), canonical keys."""
    source: Literal["pixel", "observer"]
    """Where VF(x) comes from."""
    knowledge: Knowledge

    def inputs(self) -> dict[str, Any]:
        """The fields by name, for a model that needs no prompt."""
        return {
            "triplet": self.triplet,
            "present": self.present,
            "source": self.source,
            "knowledge": self.knowledge,
        }

    def _places(self) -> dict[str, str]:
        present = [FINDINGS[key].plural for key in self.present]
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


def check_answer(reasons: Reasons) -> str:
    """An answer of `CHECK_SCHEMA` that gives these reasons; what `read_check` reads."""
    problems = [{"reason": reason.value, "detail": detail[:_LONGEST_DETAIL]} for reason, detail in reasons]
    return json.dumps({"accepted": not problems, "problems": problems}, ensure_ascii=False)


def read_check(text: str) -> Reasons | None:
    """The problems that the writer named, or None if its answer is not of `CHECK_SCHEMA`.

    An answer that rejects without a reason, or accepts with one, is a rejection.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match value:
        case {"accepted": bool(accepted), "problems": list(problems)}:
            named: Reasons = []
            for problem in problems:
                match problem:
                    case {"reason": str(reason), "detail": str(detail)} if reason in WRITERS_REASONS:
                        named.append((Reason(reason), detail))
                    case _:
                        return None
            return named or ([] if accepted else [(Reason.OTHER, "rejected without a reason")])
        case _:
            return None
