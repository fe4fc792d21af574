"""Which option an answer means, and which label: by its text, its letter, or its canonical label.

Only a whole match counts. "NPDR" is not "Severe NPDR", however much of it the text contains, and
a letter that stands before another option's text ("A. Severe NPDR" where A is Mild) means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fundus_r1.ontology.labels import canonical_label, lineage

_LETTER = re.compile(r"\(?(?:option\s+)?([a-z])(?:\s*[).:]+\s*(.*))?", re.IGNORECASE | re.DOTALL)


def normalised(text: str) -> str:
    """Lower case, words and numbers only, single spaces."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _by_text(answer: str, options: Mapping[str, str]) -> str | None:
    wanted = normalised(answer)
    return next((letter for letter, text in options.items() if wanted and normalised(text) == wanted), None)


def _by_label(answer: str, options: Mapping[str, str]) -> str | None:
    for label in _labels(answer):
        alike = [letter for letter, text in options.items() if canonical_label(text) == label]
        if alike:
            return alike[0] if len(alike) == 1 else None
    return None


def _labels(answer: str) -> tuple[str, ...]:
    """The label that an answer states and the broader ones: "Wet AMD" is AMD where no option is finer."""
    label = canonical_label(answer)
    return lineage(label) if label else ()


def chosen_option(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that an answer means, or None.

    Args:
        answer: an option's text, its letter, or ``A. text``; a label may stand for its synonym.
        options: letter -> text.
    """
    if (letter := _by_text(answer, options)) is not None:
        return letter
    letters = {letter.casefold(): letter for letter in options}
    match = _LETTER.fullmatch(answer.strip())
    if match is None or match[1].casefold() not in letters:
        return _by_label(answer, options)
    letter, text = letters[match[1].casefold()], match[2]
    agrees = not text or letter in (_by_text(text, options), _by_label(text, options))
    return letter if agrees else None


def same_answer(answer: str, truth: str, options: Mapping[str, str]) -> bool:
    """Whether an answer means the right one. `truth` is the text of the right option."""
    if options:
        letter = chosen_option(answer, options)
        return letter is not None and normalised(options[letter]) == normalised(truth)
    return normalised(answer) == normalised(truth) or canonical_label(truth) in _labels(answer)


def stated_label(answer: str, options: Mapping[str, str], option_labels: Mapping[str, str]) -> str | None:
    """The canonical label y^ that an answer states, or None.

    Args:
        answer: the student's answer.
        options: letter -> text.
        option_labels: letter -> canonical label, for options that state one.
    """
    letter = chosen_option(answer, options)
    if letter is None:
        return canonical_label(answer)
    return option_labels.get(letter) or canonical_label(options[letter])
