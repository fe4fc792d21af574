"""How one medical phrase may be written: spelling, hyphens, plurals, abbreviations.

A phrase of the ontology is written once, in American spelling and the singular. Here it becomes
a regular expression that also meets "haemorrhages", "cotton wool spots" and "hard_exudate".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

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
_LETTERS = re.compile(r"[^\W_]+")
_BEGINNING = 4
"""Letters of a word that are looked up before an expression is tried."""
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


class PhraseFinder:
    """Finds any of hundreds of phrases in a text.

    One regular expression would try each of them at each place. Here expressions are asked only where a
    word has the beginning of a phrase, and only that of its first letter.

    Args:
        patterns: (phrase, its expression, without groups), of which the first that fits is taken.
    """

    def __init__(self, patterns: Sequence[tuple[str, str]]):
        self.patterns = tuple(patterns)
        places: dict[str, list[int]] = {}
        for place, (phrase, _) in enumerate(patterns):
            for letter in _first_letters(phrase):
                places.setdefault(letter, []).append(place)
        self._by_letter = {
            letter: (bounded("|".join(f"({patterns[place][1]})" for place in mine)), mine)
            for letter, mine in places.items()
        }
        self._beginnings = frozenset(
            beginning for phrase, pattern in patterns for beginning in _beginnings(phrase, pattern)
        )

    def find(self, text: str) -> Iterator[tuple[int, re.Match[str]]]:
        """(place in `patterns`, match) from left to right, none within another."""
        end = 0
        for word in _LETTERS.finditer(text):
            start = word.start()
            if start < end:
                continue
            beginning = text[start : start + _BEGINNING].casefold()
            if not any(beginning[:length] in self._beginnings for length in range(1, _BEGINNING + 1)):
                continue
            pattern, places = self._by_letter[beginning[0]]
            if match := pattern.match(text, start):
                end = match.end()
                yield places[(match.lastindex or 1) - 1], match


def _beginnings(phrase: str, pattern: str) -> Iterable[str]:
    """The letters with which each match of a phrase's expression begins, however it is spelled."""
    rest = re.sub(r"^(?:\(\?-i:|\()*", "", pattern)
    letters = re.match(r"[a-z]*", rest, re.IGNORECASE)
    assert letters is not None
    optional = rest[letters.end() : letters.end() + 1] in ("?", "*", "{")
    certain = letters[0][:-1] if optional else letters[0]
    return [certain[:_BEGINNING].casefold()] if certain else _first_letters(phrase)


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
