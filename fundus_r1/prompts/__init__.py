"""Versioned prompt texts, one file each; the hash of a text is part of the fingerprints.

A text is a `string.Template`: ``$name`` is filled in by `render`. The paper publishes only two
of its prompts (the retrieval query and the joint question of Sec. 3.2.2); the others are ours.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from string import Template


@cache
def prompt_text(name: str) -> str:
    """The text of ``prompts/<name>.txt``, without the line feed at its end.

    Raises:
        FileNotFoundError: there is no such prompt.
    """
    return files(__package__).joinpath(f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")


def prompt_hash(name: str) -> str:
    """SHA-256 of a prompt's text."""
    return hashlib.sha256(prompt_text(name).encode()).hexdigest()


def render(name: str, **values: str) -> str:
    """A prompt with its places filled.

    Raises:
        KeyError: a place has no value.
    """
    return Template(prompt_text(name)).substitute(values)
