"""Which phrases of a text are denied: negation by sentence and clause.

A cue reaches forward ("no A, B, or C is observed", "without A") or backward ("A and B are absent")
to the end of its clause. A clause ends at a sentence's end, at a contrast ("but", "however"), at a
predicate that completes it, and where something new is asserted ("and multiple C").
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

_SEEN = (
    r"(?:seen|observed|visible|present|detected|noted|identified|found|evident|apparent|appreciated|"
    r"discernible|shown|visualized|visualised|demonstrated|recognizable|expected|there)"
)
_BE = r"(?:is|are|was|were|be|been|being|remains?|appears?)"
_ADVERB = r"(?:(?!(?:not|anomaly)\b)\w+ly\s+|yet\s+|all\s+|both\s+|also\s+|to\s+be\s+){0,3}"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


_SENTENCE = re.compile(r"[.!?](?=\s|$)|[;\n]")
_CONTRAST = _words(
    r"but|however|although|though|whereas|while|yet|nevertheless|nonetheless|except|other than|apart from|"
    r"besides|despite|in contrast|instead(?!\s+of)"
)
_NO_CUE = _words(
    r"no (?:doubt|change|longer|fewer|more than|less than)|not (?:only|just|merely|limited|necessarily|"
    r"(?:be )?(?:required|necessary|needed|mandatory|essential|excluded|ruled out|uncommon|unusual))|"
    r"(?:cannot|can not|can't) be (?:excluded|ruled out)|without (?:doubt|question)|or absent|absent or"
)
_DETERMINER = _words(r"no|neither|nor|none of|zero")
_PREPOSITION = _words(
    r"without|absence of|lack of|lacks|lacking|free of|free from|negative for|not|cannot|never|rather than|"
    r"instead of|rules? out|ruling out|excludes?|excluding|devoid of|fails? to show"
)
_NOT_SHORT = re.compile(r"n['’]t\b", re.IGNORECASE)
_CUE_WORDS = frozenset(
    ["no", "neither", "nor", "none", "zero", "without", "absence", "absent", "lack", "lacks", "lacking",
     "free", "negative", "not", "cannot", "never", "rather", "instead", "rule", "rules", "ruling", "ruled",
     "exclude", "excludes", "excluding", "excluded", "devoid", "fail", "fails", "missing"]
)  # fmt: skip
"""One of them, or an "n't", is in each cue, forward or backward."""
_WORD = re.compile(r"[^\W_]+")
_BACKWARD = _words(
    rf"(?:(?:should|must|can|could|may|might|will|would|do|does|did|has|have|had)\s+)?"
    rf"(?:{_BE}\s+)?{_ADVERB}(?:absent|missing|lacking(?!\s+\w)|ruled out|excluded|"
    rf"(?:not|never|cannot|can not)\s+(?:{_BE}\s+)?{_ADVERB}{_SEEN})|"
    rf"(?:is|are|was|were|could|can|should|must|would)n['’]t\s+(?:{_BE}\s+)?{_ADVERB}{_SEEN}|"
    rf"can't\s+be\s+{_ADVERB}{_SEEN}"
)
_PREDICATE = _words(rf"{_BE}\s+(?!not\b){_ADVERB}{_SEEN}")
_ASSERTS = _words(
    r"(?:(?<=, )|(?<=and ))(?:multiple|several|many|numerous|scattered|a few|some|extensive|they|these|"
    r"this|it|with|which|only|consistent|suggestive|indicating|suggesting|making|supporting|confirming|"
    r"reflecting)|there (?:is|are)|so|therefore|thus|hence|because|since|"
    r"(?<!that )(?<!which )(?:indicates|suggests|makes|supports|confirms|reflects|distinguishes)"
)
"""A new statement. After a noun alone, "suggesting" belongs to what is denied: "no sign suggesting A"."""
_NEW_SUBJECT = re.compile(
    rf",(?=\s+(?:(?!\b(?:and|or|nor)\b)[^,;]){{1,120}}?\b(?:{_BE}|may|can|could)\s+{_SEEN})", re.IGNORECASE
)
"""A comma before one noun and its predicate; the last noun of a list has an "and" or "or" before it."""
_NEW_SUBJECT_AND = re.compile(rf"\band\b(?=[^,;]{{0,120}}?\b(?:{_BE}|may|can|could|shows?)\b)", re.IGNORECASE)
_VERB = _words(
    rf"(?:is|are|was|were|has|have|had|shows?|reveals?|demonstrates?|displays?|contains?|suggests?|supports?|"
    rf"indicates?|reflects?|confirms?|exhibits?|presents?|exists?|appears?|{_SEEN}|with|without|no|because|since)"
)
_COLON = re.compile(r"\s*:\s*(?=\S)")


Span = tuple[int, int]


class _Intervals:
    """Spans of which one can ask whether any of them holds a span."""

    def __init__(self, spans: Iterable[Span]):
        self._spans = sorted(spans)
        self._starts = [start for start, _ in self._spans]
        self._reach = list(accumulate((end for _, end in self._spans), max))

    def holds(self, start: int, end: int) -> bool:
        """Whether one span begins at or before `start` and reaches to `end`."""
        place = bisect_right(self._starts, start)
        return place > 0 and self._reach[place - 1] >= end


def _clauses(text: str) -> list[Span]:
    """Spans of the clauses: what lies between sentence ends and contrasts."""
    breaks = sorted(match.span() for pattern in (_SENTENCE, _CONTRAST) for match in pattern.finditer(text))
    starts = [0, *(end for _, end in breaks)]
    ends = [*(start for start, _ in breaks), len(text)]
    return list(zip(starts, ends, strict=True))


def _denied_in(text: str, start: int, end: int) -> list[Span]:
    """Spans of one clause in which everything is denied."""

    def all_of(*patterns: re.Pattern[str]) -> list[Span]:
        return sorted(match.span() for pattern in patterns for match in pattern.finditer(text, start, end))

    ignored = _Intervals(all_of(_NO_CUE))
    backward = [span for span in all_of(_BACKWARD) if not ignored.holds(span[0], span[0] + 1)]
    verbs = [verb_end for _, verb_end in all_of(_VERB)]
    spans = []
    for cue_start, cue_end in backward:
        if _COLON.match(text, cue_end, end):
            spans.append((cue_end, end))
        else:
            before = bisect_right(verbs, cue_start)
            spans.append((verbs[before - 1] if before else start, cue_start))

    used = _Intervals(backward)
    stops = [stop for stop, _ in all_of(_PREDICATE, _ASSERTS, _BACKWARD, _NEW_SUBJECT)]
    # "No A and B are seen" denies both; "without A and B is seen" denies A.
    stops_of_preposition = sorted([*stops, *(stop for stop, _ in all_of(_NEW_SUBJECT_AND))])
    for patterns, ends in (((_DETERMINER,), stops), ((_PREPOSITION, _NOT_SHORT), stops_of_preposition)):
        for cue_start, cue_end in all_of(*patterns):
            if ignored.holds(cue_start, cue_end) or used.holds(cue_start, cue_start + 1):
                continue
            place = bisect_left(ends, cue_end)
            spans.append((cue_end, ends[place] if place < len(ends) else end))
    return spans


def _may_deny(text: str) -> bool:
    """Whether a cue can be in a text; most sentences have none, and this is told at once."""
    return not _CUE_WORDS.isdisjoint(_WORD.findall(text.lower())) or _NOT_SHORT.search(text) is not None


def denied(text: str, spans: Sequence[Span]) -> list[bool]:
    """For each span of a text, whether the text denies what stands there."""
    if not spans or not _may_deny(text):
        return [False] * len(spans)
    reaches = _Intervals(reach for start, end in _clauses(text) for reach in _denied_in(text, start, end))
    return [reaches.holds(start, end) for start, end in spans]
