"""Canonical labels: what an eye can be said to have (the labels of the 17 datasets of the paper's Tab. 2).

A label has a key, which rows carry, a name, which answers and queries carry, and synonyms, under
which benchmarks and models know it. Only a whole text is a label: "NPDR" alone is none of the
three grades, and a bare "No." answers a question that is not known here. Some labels are kinds of
others ("Wet AMD" of "Age-related macular degeneration"), and some are signs (cotton-wool spots),
whose names are also findings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from fundus_r1.ontology.wording import folded


@dataclass(frozen=True)
class Label:
    """One label."""

    key: str
    name: str
    """As an answer reads: ``Moderate NPDR``."""
    synonyms: tuple[str, ...]
    broader: str | None = None
    """The label that an eye with this one has as well."""
    sign: bool = False
    """A sign rather than a disease: beside a disease its name is a finding."""


def _read() -> dict[str, Label]:
    rows = yaml.safe_load(files(__package__).joinpath("labels.yaml").read_text(encoding="utf-8"))
    return {
        key: Label(key, row["name"], tuple(row["synonyms"]), row.get("broader"), sign=row.get("sign", False))
        for key, row in rows.items()
    }


LABELS: dict[str, Label] = _read()


def lineage(key: str) -> tuple[str, ...]:
    """A label and the broader ones that it is a kind of, nearest first."""
    broader = LABELS[key].broader
    return (key,) if broader is None else (key, *lineage(broader))


@cache
def _names() -> dict[str, str]:
    names: dict[str, str] = {}
    for label in LABELS.values():
        for text in (label.key.replace("_", " "), label.name, *label.synonyms):
            if names.setdefault(folded(text), label.key) != label.key:
                raise ValueError(f"{text!r} is the name of {names[folded(text)]} and of {label.key}")
    return names


def canonical_label(text: str) -> str | None:
    """The key of the label that a text names, or None.

    Args:
        text: a name, synonym or key; case, punctuation, articles, spelling and an abbreviation
            in brackets behind the name do not matter.
    """
    names = _names()
    if (key := names.get(folded(text))) is not None:
        return key
    outer = re.sub(r"\([^)]*\)", " ", text)
    inner = re.findall(r"\(([^)]*)\)", text)
    key = names.get(folded(outer))
    # What stands in brackets must not say something else: "Drusen (CNV)" is no label.
    agrees = all(names.get(folded(part), key) == key for part in inner)
    return key if agrees else None
