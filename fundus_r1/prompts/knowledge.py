"""What the writer is asked to extract from passages, and how its record is read (paper, Sec. 3.2.1).

Passages stand in the prompt as JSON strings: text from elsewhere must not be able to end its own
quotation and give orders.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fundus_r1.prompts import render
from fundus_r1.rows import Passage

DESCRIPTION_CHARACTERS = 1000
PHRASES = 16
PHRASE_CHARACTERS = 60
"""Bounds under which constrained decoding always comes to an end, within the 1,024 tokens of `Chat`."""

_PHRASES = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": PHRASE_CHARACTERS},
    "maxItems": PHRASES,
}
RECORD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "description": {"type": "string", "minLength": 1, "maxLength": DESCRIPTION_CHARACTERS},
        "required": _PHRASES,
        "supportive": _PHRASES,
        "absent": _PHRASES,
    },
    "required": ["description", "required", "supportive", "absent"],
    "additionalProperties": False,
}


class KnowledgeRecord(BaseModel):
    """The JSON-style record: D[y, m] and its findings as the writer phrased them.

    A record beyond the schema's bounds is read all the same: they are there for the decoder.
    """

    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True)

    description: str = Field(min_length=1)
    required: list[str]
    supportive: list[str]
    absent: list[str]


def knowledge_question(query: str, label: str, modality: str, passages: Sequence[Passage]) -> str:
    """Asks the writer for the record of one (label, modality).

    Args:
        query: what was searched for.
        label: the label's name.
        modality: ``CFP``, ``OCT`` or ``UWF``.
        passages: what was found, best first.
    """
    lines = [
        json.dumps({"title": row.title, "section": row.section, "text": row.text}, ensure_ascii=False)
        for row in passages
    ]
    return render("knowledge", query=query, label=label, modality=modality, passages="\n".join(lines))


def read_record(text: str) -> KnowledgeRecord | None:
    """The record in the writer's answer, or None if it is none of `RECORD_SCHEMA`."""
    try:
        return KnowledgeRecord.model_validate_json(text)
    except ValidationError:
        return None
