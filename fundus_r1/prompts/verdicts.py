"""What the judge of Eq. 4 is asked, and how its verdicts are read (paper, Sec. 3.3).

The trace stands in the prompt as a JSON string: a rollout is text to be graded, and must not be
able to end its own quotation and praise itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

from fundus_r1.prompts import render

FindingsVerdict = Literal["plausible", "tenuous", "flawed"]
KnowledgeVerdict = Literal["plausible", "implausible"]


def _schema(words: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"verdict": {"type": "string", "enum": list(words)}},
        "required": ["verdict"],
        "additionalProperties": False,
    }


FINDINGS_SCHEMA = _schema(get_args(FindingsVerdict))
KNOWLEDGE_SCHEMA = _schema(get_args(KnowledgeVerdict))


def findings_question(trace: str, findings: Sequence[str]) -> str:
    """Asks to grade a trace against VF(x), for a right answer.

    Args:
        trace: the reasoning, without its tags.
        findings: names of the findings in the image; empty for an eye that shows none.
    """
    listed = "\n".join(f"- {name}" for name in findings) or "- none: the image shows no abnormal finding"
    return render("judge_findings", trace=json.dumps(trace, ensure_ascii=False), findings=listed)


def knowledge_question(trace: str, answer: str, description: str) -> str:
    """Asks whether a trace is plausible against D[y^, m], for a wrong answer.

    Args:
        trace: the reasoning, without its tags.
        answer: the predicted answer.
        description: D[y^, m], the domain knowledge of that answer.
    """
    return render(
        "judge_knowledge",
        trace=json.dumps(trace, ensure_ascii=False),
        answer=json.dumps(answer, ensure_ascii=False),
        description=description,
    )


def read_verdict(text: str, schema: dict[str, Any]) -> str | None:
    """The verdict in a judge's text, or None if it is no JSON with a verdict of the schema."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    verdict = value.get("verdict") if isinstance(value, dict) else None
    return verdict if verdict in schema["properties"]["verdict"]["enum"] else None
