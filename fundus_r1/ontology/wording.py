"""How one medical phrase may be written: spelling, hyphens, plurals, abbreviations.

A phrase of the ontology is written once, in American spelling and the singular. Here it becomes
a regular expression that also meets "haemorrhages", "cotton wool spots" and "hard_exudate".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

GAP = r"[\s_\-\u2010-\u2013]*"
"""Between the words of a phrase: blank, hyphen, en dash, underscore or nothing."""

_SPELLINGS = (
    ("hemorrhag", "ha?emorrhag"),
    ("edema", "o?edema"),
    ("edematous", "o?edematous"),
    ("ischemi", "ischa?emi"),
    ("ization", "i[sz]ation"),
    ("ized", "i[sz]ed"),
    ("color", "colou?r"),
    ("fiber", "fib(?:er|re)"),
    ("caliber", "calib(?:er|re)"),
    ("gray", "gr[ae]y"),
    ("disc", "dis[ck]"),
    ("tumor", "tumou?r"),
    ("nevus", "na?evus"),
    ("necrotizing", "necroti[sz]ing"),
    ("microaneurysm", rf"micro{GAP}aneur[yi]sm"),
    ("nonproliferative", rf"non{GAP}proliferative"),
    ("hyperreflectiv", rf"hyper{GAP}reflectiv"),
    ("intraretinal", rf"intra{GAP}retinal"),
    ("subretinal", rf"sub{GAP}retinal"),
    ("preretinal", rf"pre{GAP}retinal"),
)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def is_abbreviation(phrase: str) -> bool:
    """Whether a phrase is an abbreviation such as ``IRMA``; these are met in capitals only."""
    return phrase.isupper() and " " not in phrase


def _word(word: str, *, last: bool) -> str:
    pattern = re.escape(word)
    for american, either in _SPELLINGS:
        if american in word:
            pattern = pattern.replace(american, either)
            break
    if not last:
        return pattern
    if word.endswith("y") and word[-2] not in "aeiou":
        return rf"{pattern[:-1]}(?:y|ies)"
    if word.endswith(("s", "x", "ch", "sh")):
        return rf"{pattern}(?:es)?"
    return rf"{pattern}s?"


def phrase_pattern(phrase: str) -> str:
    """The regular expression of one phrase, without word boundaries.

    Args:
        phrase: American spelling, singular; in capitals if it is an abbreviation.
    """
    if is_abbreviation(phrase):
        return rf"(?-i:{re.escape(phrase)}s?)"
    words = re.split(r"[\s-]+", phrase)
    return GAP.join(_word(word, last=i == len(words) - 1) for i, word in enumerate(words))


def bounded(pattern: str) -> re.Pattern[str]:
    """Compiles an expression that may not begin or end within a word."""
    return re.compile(rf"(?<![^\W_])(?=[^\W_])(?:{pattern})(?![^\W_])", re.IGNORECASE)


def by_first_letter(patterns: Sequence[tuple[str, str]]) -> str:
    """Alternatives of which, at each place of a text, only those are tried that begin with its letter.

    Of hundreds of phrases a regular expression would otherwise try each at each place.

    Args:
        patterns: (phrase, its expression); the order is kept, so sorted by letter they are fastest.
    """
    return "|".join(
        rf"(?=[{letters}])(?:{'|'.join(pattern for _, pattern in group)})"
        for letters, group in groupby(patterns, key=lambda item: _first_letters(item[0]))
    )


def _first_letters(phrase: str) -> str:
    """The letters with which a phrase may begin, however it is spelled."""
    first = phrase[0].casefold()
    return f"{first}o" if phrase.casefold().startswith("edema") else first


def folded(text: str) -> str:
    """A phrase with nothing left but what it means: case, spelling, articles, punctuation go."""
    text = text.casefold()
    for british, american in (
        ("haemorrhag", "hemorrhag"), ("oedema", "edema"), ("isation", "ization"), ("colour", "color"),
        ("ischaemi", "ischemi"),
    ):  # fmt: skip
        text = text.replace(british, american)
    text = re.sub(r"\bnon[\s\-\u2010-\u2013]+(?=proliferative|exudative|neovascular)", "non", text)
    return " ".join(re.findall(r"[^\W_]+", _ARTICLE.sub(" ", text)))


def series(names: Sequence[str], last: str) -> str:
    """``a, b, and c``, or ``a and b``; `last` is the word before the last one."""
    if len(names) < 3:
        return f" {last} ".join(names)
    return f"{', '.join(names[:-1])}, {last} {names[-1]}"
