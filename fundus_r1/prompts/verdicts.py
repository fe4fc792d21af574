"""What the judge of Eq. 4 is asked, and how its verdicts are read (paper, Sec. 3.3).

A rollout is text to be graded, and must not be able to grade itself. What of a trace addresses the
judge is taken out (`prompts.guard`) before the judge sees it. What is left stands in the prompt as a
JSON string in which no tag or special token can begin, so that it cannot end its own quotation. The
judge sees one trace and one reference: no other rollout, no reward, and of the answer only the
question's own name for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

from fundus_r1.prompts import render
from fundus_r1.prompts.guard import neutralise

FindingsVerdict = Literal["plausible", "tenuous", "flawed"]
KnowledgeVerdict = Literal["plausible", "implausible"]
V = TypeVar("V", FindingsVerdict, KnowledgeVerdict)

ANSWER_KEY = "answer_key"
"""The guard's name of sentences such as "The correct answer is B", which a trace may well say."""


@dataclass(frozen=True)
class Graded(Generic[V]):
    """What came of holding a trace against a reference."""

    verdict: V | None
    """The judge's; None if it did not answer, or its verdict could not be read."""
    by_rules: V
    """What rules say of the same trace and reference."""
    seconds: float = 0.0
    """Until the verdict was there."""
    shared: bool = False
    """Whether the verdict came from a request that was made for an identical one."""
    addressed: bool = False
    """Whether the trace held text that addresses the judge, and was cleared of it."""
    problem: str | None = None
    """Why there is no verdict."""


def _schema(words: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"verdict": {"type": "string", "enum": list(words)}},
        "required": ["verdict"],
        "additionalProperties": False,
    }


FINDINGS_SCHEMA = _schema(get_args(FindingsVerdict))
KNOWLEDGE_SCHEMA = _schema(get_args(KnowledgeVerdict))


def cleared(trace: str) -> tuple[str, bool]:
    """A trace without what addresses the judge, and whether there was any; else it comes back as it is."""
    text, hits = neutralise(trace, spoken=(ANSWER_KEY,))
    return text, bool(hits)


def findings_question(trace: str, findings: Sequence[str]) -> str:
    """Asks to grade a trace against VF(x), for a right answer.

    Args:
        trace: the reasoning, without its tags, as `cleared` gives it.
        findings: names of the findings in the image; empty for an eye that shows none.
    """
    listed = "\n".join(f"- {name}" for name in findings) or "- none: the image shows no abnormal finding"
    return render("judge_findings", trace=quoted(trace), findings=listed)


def knowledge_question(trace: str, answer: str, description: str) -> str:
    """Asks whether a trace is plausible against D[y^, m], for a wrong answer.

    Args:
        trace: the reasoning, without its tags, as `cleared` gives it.
        answer: the predicted answer, in the question's words.
        description: D[y^, m], the domain knowledge of that answer.
    """
    return render("judge_knowledge", trace=quoted(trace), answer=quoted(answer), description=description)


def quoted(text: str) -> str:
    """A text as a JSON string, without a ``<`` with which a tag or a model's special token could begin."""
    return json.dumps(text, ensure_ascii=False).replace("<", r"\u003c")


def read_verdict(text: str, schema: dict[str, Any]) -> str | None:
    """The verdict in a judge's text, or None if it is no JSON with a verdict of the schema."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    verdict = value.get("verdict") if isinstance(value, dict) else None
    return verdict if verdict in schema["properties"]["verdict"]["enum"] else None
