"""Looks at what a language model answered: is it there, in the right language, and by its JSON schema."""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from typing import Any

_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)

_CONTROL = re.compile(r"[\x00-\x1f]")


def bare_json(text: str) -> str:
    """An answer without the reasoning before it and the code fence around it.

    Raw control characters in JSON texts, which grammars of constrained decoding let through, are escaped.
    """
    text = _THINKING.sub("", text).strip()
    fenced = _FENCE.match(text)
    return _escaped(fenced[1].strip() if fenced else text)


def _escaped(text: str) -> str:
    if not _CONTROL.search(text):
        return text
    try:
        return json.dumps(json.loads(text, strict=False), ensure_ascii=False)
    except json.JSONDecodeError:
        return text


@functools.lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    import jsonschema

    parsed = json.loads(schema)
    kind = jsonschema.validators.validator_for(parsed)
    kind.check_schema(parsed)
    return kind(parsed)


def violation(text: str, schema: dict[str, Any]) -> str | None:
    """What is wrong with a text by its JSON schema, in one sentence; None if nothing is."""
    from jsonschema.exceptions import best_match

    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return f"it is no JSON ({error})"
    wrong = best_match(_validator(json.dumps(schema)).iter_errors(value))
    return None if wrong is None else f"at {wrong.json_path}: {wrong.message}"


def is_foreign(text: str) -> bool:
    """Whether most letters are of another script than the prompts'. All prompts are in English.

    Another language in Latin letters is not noticed; the checks of Sec. 3.2.3 reject what it says.
    """
    if text.isascii():
        return False
    letters = [char for char in text if char.isalpha()]
    return sum(not unicodedata.name(char, "").startswith("LATIN") for char in letters) * 2 > len(letters)
