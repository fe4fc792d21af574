"""Asks for a free-form trace: the baseline of Tab. 3 and Tab. 6 of the paper (Sec. 4.2).

A vision model sees the image and gets the VQA triplet, and nothing else: no findings, no knowledge,
no steps to follow. The text of the prompt is ours.
"""

from __future__ import annotations

from fundus_r1.prompts import render
from fundus_r1.rows import Triplet


def free_question(triplet: Triplet) -> str:
    """The user's text, which goes with the image."""
    return render("free", question=triplet.question, answer=triplet.answer)
