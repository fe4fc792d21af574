"""What the student is asked, and how its text is read: ``<think>...</think> <answer>...</answer>``.

The form is the paper's (Tab. 3). One parser serves the quality check, the rewards and the
evaluation, so that none of them sees another answer than the others. Reading never fails: a text
in any other form gives what can still be found, and is not well formed.

Well formed is ``<think>...</think><answer>...</answer>`` from beginning to end, with the tags in lower
case, each once, and nothing but white space around and between the two. A block without a letter or
a digit is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fundus_r1.prompts import render

_TAG = re.compile(r"(</?(?:think|answer)>)", re.IGNORECASE)


@dataclass(frozen=True)
class StudentAnswer:
    """A student's text, taken apart."""

    think: str | None
    """The reasoning after the first ``<think>``; None if there is none or it is empty."""
    answer: str | None
    """The text after the last ``<answer>``; None if there is none or it is empty."""
    well_formed: bool
    """Whether the text is one reasoning and one answer in their tags, neither empty, and no more."""


def student_prompt(question: str, options: Mapping[str, str], *, reasoning: bool) -> str:
    """The user's text, without the image placeholder.

    Args:
        question: the question.
        options: letter -> text; empty for an open question.
        reasoning: whether a trace is asked for, or the answer alone.
    """
    lines = [question.strip()]
    if options:
        lines += ["Options:", *(f"{letter}. {text}" for letter, text in options.items())]
    return render("student" if reasoning else "student_plain", question="\n".join(lines))


def student_response(think: str | None, answer: str) -> str:
    """The assistant's text: trace and answer, or the answer alone if `think` is None."""
    trace = "" if think is None else f"<think>{think}</think> "
    return f"{trace}<answer>{answer}</answer>"


def parse_student(text: str) -> StudentAnswer:
    """Reads a student's text; never raises.

    A tag that is not closed ends at the next tag or at the end of the text, as it does when a
    rollout is cut at its length limit.
    """
    parts = _TAG.split(text.strip())
    tags, bodies = parts[1::2], [_said(body) for body in parts[2::2]]
    thinks = [body for tag, body in zip(tags, bodies, strict=True) if tag.lower() == "<think>"]
    answers = [body for tag, body in zip(tags, bodies, strict=True) if tag.lower() == "<answer>"]
    match parts:
        case ["", "<think>", _, "</think>", gap, "<answer>", _, "</answer>", ""]:
            well_formed = None not in (*thinks, *answers) and not gap.strip()
        case _:
            well_formed = False
    return StudentAnswer(
        think=thinks[0] if thinks else None, answer=answers[-1] if answers else None, well_formed=well_formed
    )


def _said(body: str) -> str | None:
    """What stands in a block; None if it is empty."""
    return body.strip() if any(char.isalnum() for char in body) else None
