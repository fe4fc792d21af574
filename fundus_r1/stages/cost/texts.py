"""How many tokens a request has: of its image, and of the prompt as it is really worded.

Prompts are rendered with fillers as long as what will stand in their places, so an estimate follows
when a prompt's text is changed. Lengths come from the ontology where it has them, else from
`placement.cost`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from statistics import fmean

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import TASKS, pairs
from fundus_r1.prompts import render
from fundus_r1.spec.cost import CostAssumptions

FACTOR = 28
"""Pixels of a side that become one token: patches of 14, merged two by two."""


def image_tokens(width: float, height: float, least: int, most: int) -> int:
    """Tokens of an image in Qwen2.5-VL: its size in steps of 28 pixels, kept within the limits.

    Args:
        width: in pixels.
        height: in pixels.
        least: fewest tokens; smaller images are scaled up.
        most: most tokens; larger images are scaled down.
    """
    down, across = max(1, round(height / FACTOR)), max(1, round(width / FACTOR))
    if down * across > most:
        scale = math.sqrt(width * height / (most * FACTOR**2))
        down, across = (max(1, math.floor(side / scale / FACTOR)) for side in (height, width))
    elif down * across < least:
        scale = math.sqrt(least * FACTOR**2 / (width * height))
        down, across = (math.ceil(side * scale / FACTOR) for side in (height, width))
    return down * across


def _mean(values: Iterable[float]) -> float:
    """The mean; 0 of nothing, as of a spec that names no dataset."""
    found = list(values)
    return fmean(found) if found else 0.0


class Texts:
    """Mean tokens of the prompts and answers of a run.

    Args:
        datasets: whose labels and questions are asked about.
        assumed: lengths that nobody knows before the run.
    """

    def __init__(self, datasets: Sequence[str], assumed: CostAssumptions):
        self._datasets = datasets
        self._assumed = assumed

    def prompt(self, name: str, *, findings: float = 0.0, passages: float = 0.0) -> float:
        """Tokens of a prompt with its places filled.

        Args:
            name: of the text in `fundus_r1.prompts`.
            findings: how many findings it lists, besides those of the label's groups.
            passages: how many passages it quotes.
        """
        lengths = {
            **self._places,
            "findings": findings * (self._finding + len(", ")),
            "passages": passages * self._assumed.passage_characters,
        }
        return self._tokens(len(render(name, **{place: "x" * round(n) for place, n in lengths.items()})))

    def findings_answer(self, asked: float) -> float:
        """Tokens of one rollout of the joint question: a JSON object of findings."""
        return self._tokens(2 + asked * (self._finding + len('"": "absent", ')))

    def record(self) -> float:
        """Tokens of the record that the writer extracts: D[y, m] and three lists of findings."""
        return self._tokens(self._assumed.description_characters + 3 * self._group(len('"", ')))

    def trace(self) -> float:
        """Tokens of a trace with its answer, tags included."""
        tags = len("<think></think> <answer></answer>")
        return self._tokens(self._assumed.trace_characters + self._label + tags)

    def verdict(self) -> float:
        """Tokens of a short JSON verdict."""
        return self._tokens(len('{"accepted": false, "problems": [""]}'))

    def answer(self) -> float:
        """Tokens of an answer without a trace."""
        return self._tokens(self._label + len("<answer></answer>"))

    def _tokens(self, characters: float) -> float:
        return characters / self._assumed.characters_per_token

    def _group(self, separator: int) -> float:
        return self._assumed.findings_in_group * (self._finding + separator)

    @cached_property
    def _finding(self) -> float:
        return _mean(len(finding.name) for finding in FINDINGS.values())

    @cached_property
    def _label(self) -> float:
        return _mean(len(LABELS[label].name) for label, _ in pairs(self._datasets))

    @cached_property
    def _question(self) -> float:
        """A question with its options."""
        tasks = [task for task in TASKS.values() if task.dataset in self._datasets]
        asked = _mean(len(question) for task in tasks for question in task.questions)
        options = _mean(min(6, len(task.labels)) if len(task.labels) > 1 else 0 for task in tasks)
        return asked + options * (self._label + len("A. \n"))

    @cached_property
    def _places(self) -> dict[str, float]:
        """Place in a prompt -> characters that will stand there."""
        assumed, group = self._assumed, self._group(len(", "))
        return {
            "modality": 3,
            "label": self._label,
            "answer": self._label,
            "question": self._question,
            "query": len("What are the key CFP findings for diagnosing ?") + self._label,
            "description": assumed.description_characters,
            "required": group,
            "supportive": group,
            "absent": group,
            "trace": assumed.trace_characters,
        }
