"""Reads which options a model's text chooses; what cannot be read is no answer, and wrong.

The paper takes VLMEvalKit's extraction for all models (Sec. 4.1). Its rules are followed, after the
trace has been cut off, but where they fail VLMEvalKit asks a language model and at last draws an
option at random, and FunBench takes the option nearest in a sentence embedding. Here nothing is
drawn or guessed: the same text always gives the same letters, or none. The order of the rules:

1. The trace goes: only what follows ``</think>`` counts, and of that what stands in
   ``<answer>...</answer>``, if anything does. A text that ends within its trace has no answer.
2. A refusal ("Sorry, I can't help ...") is no answer.
3. The whole answer is a letter, is an option's text, or begins with one of them and punctuation
   (``B.``, ``(C)``, ``D: Drusen``, ``Yes, there is``).
4. What follows "the answer is" is read by rule 3; "option C" names its letter.
5. VLMEvalKit's rule: exactly one letter occurs as a word, among the last four words. "A" and "I"
   do not count as letters where they read as English words.
6. Exactly one option's text occurs, as whole words and not after "no", "not" or "without"; an
   option that occurs only inside a longer one ("retinopathy") does not count.

Multi-label answers are split at commas, semicolons, line feeds and "and", and each piece is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fundus_r1.prompts.student import parse_student

_THINK_END = re.compile(r"</think>", re.IGNORECASE)
_THINK = re.compile(r"<think>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_REFUSAL = re.compile(
    r"sorry,? (?:but )?i (?:can(?:no|')t|am unable|'m unable)|cannot determine the answer"
    r"|i can(?:no|')t (?:help|assist|process)|without the image provided",
    re.IGNORECASE,
)
_STATED = re.compile(r"\b(?:answer|choice|option)\s*(?:is|would be|should be|:|=)[\s:*]*", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s+[(\[\"'*]*([A-Z])\b(?!['’])")
_PUNCTUATION = re.compile(r"[.()\[\],:;!*#{}\"'`?]")
_PIECES = re.compile(r"[,;\n]|\band\b", re.IGNORECASE)
# "A" before a plain word is an article and "I" a pronoun, unless the word speaks of a choice.
_ENGLISH = re.compile(
    r"\bI['’]\w+|\b[AI]\b(?=\s+(?!(?:is|are|was|because|since|as|and|or|would|seems|with)\b)[A-Za-z][\w-])"
)


def extract(text: str, options: Mapping[str, str], *, several: bool = False) -> tuple[str, ...]:
    """The letters that a model's text chooses, sorted.

    Args:
        text: what the model said, trace and all.
        options: letter -> text.
        several: whether more than one option may be right.

    Returns:
        One letter, or with `several` any number; none if no answer could be read.
    """
    answer = visible_answer(text)
    if not answer or _REFUSAL.search(answer):
        return ()
    one = _exact(answer, options)
    if one is not None:
        return (one,)
    if several:
        return _several(answer, options)
    one = _single(answer, options)
    return () if one is None else (one,)


def visible_answer(text: str) -> str:
    """What a text says outside of its trace: the content of ``<answer>``, or else all the rest."""
    text = _THINK_END.split(text)[-1]
    found = parse_student(text)
    if found.answer is not None:
        return found.answer
    return _TAG.sub(" ", _THINK.split(text)[0]).strip()


def _bare(text: str) -> str:
    """Lower case, single spaces, no quotes and punctuation around."""
    return " ".join(text.split()).casefold().strip(" .,:;!?*\"'`()[]{}")


def _exact(answer: str, options: Mapping[str, str]) -> str | None:
    """The option whose letter or text is the whole answer."""
    bare = _bare(answer)
    for letter in options:
        if bare == letter.casefold():
            return letter
    plain = " ".join(answer.split()).casefold()
    same = [letter for letter, text in options.items() if " ".join(text.split()).casefold() == plain]
    same = same or [letter for letter, text in options.items() if bare and _bare(text) == bare]
    return same[0] if same else None


def _single(answer: str, options: Mapping[str, str]) -> str | None:
    stated = [match.end() for match in _STATED.finditer(answer)]
    if stated:
        rest = answer[stated[-1] :].strip()
        found = _exact(rest, options) or _leading(rest, options, alone=True)
        if found:
            return found
    named = {match[1] for match in _NAMED.finditer(answer)} & set(options)
    return (
        _leading(answer, options, alone=False)
        or (named.pop() if len(named) == 1 else None)
        or _only_letter(answer, options)
        or _only_text(answer, options)
    )


def _leading(answer: str, options: Mapping[str, str], *, alone: bool) -> str | None:
    """The option whose letter or text begins the answer, before punctuation.

    Args:
        alone: whether a capital letter may also stand before plain words ("B because ...").
    """
    match = re.match(r"[\s(\[\"'*{]*([A-Za-z])\s*(?:[.:\n]|[)\]*}]+|-\s|$)", answer)
    if match and match[1].upper() in options:
        return match[1].upper()
    if alone:
        words = _words(answer)
        if words and words[0] in options:
            return words[0]
    starts = [
        letter
        for letter, text in sorted(options.items(), key=lambda item: -len(item[1]))
        if re.match(rf"[\s(\[\"'*]*{_pattern(text)}\s*(?:[.,:;!)\n*]|-\s|$)", answer, re.IGNORECASE)
    ]
    return starts[0] if starts else None


def _words(answer: str) -> list[str]:
    return _PUNCTUATION.sub(" ", _ENGLISH.sub("_", answer)).split()


def _only_letter(answer: str, options: Mapping[str, str]) -> str | None:
    words = _words(answer)
    found = set(words) & set(options)
    if len(found) != 1:
        return None
    letter = found.pop()
    return letter if letter in words[-4:] else None


def _pattern(text: str) -> str:
    """An option's text as whole words, whatever the spaces between them."""
    return r"(?<!\w)" + r"\s+".join(re.escape(word) for word in text.split()) + r"(?!\w)"


def _occurring(answer: str, options: Mapping[str, str]) -> set[str]:
    """Letters of the options whose text occurs, unless only inside a longer option or negated."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for letter, text in options.items():
        if text.split():
            pattern = rf"(?<!\bno )(?<!\bnot )(?<!\bwithout ){_pattern(text)}"
            found = [match.span() for match in re.finditer(pattern, answer, re.IGNORECASE)]
            if found:
                spans[letter] = found

    def inside(span: tuple[int, int], of: str) -> bool:
        return any(
            start <= span[0] and span[1] <= end and (start, end) != span
            for letter, others in spans.items()
            if letter != of
            for start, end in others
        )

    return {letter for letter, found in spans.items() if not all(inside(span, letter) for span in found)}


def _only_text(answer: str, options: Mapping[str, str]) -> str | None:
    found = _occurring(answer, options)
    return found.pop() if len(found) == 1 else None


def _several(answer: str, options: Mapping[str, str]) -> tuple[str, ...]:
    stated = [match.end() for match in _STATED.finditer(answer)]
    answer = answer[stated[-1] :] if stated else answer
    letters = _PUNCTUATION.sub("", answer).strip()
    if letters and set(letters) <= set(options):
        return tuple(sorted(set(letters)))
    found = _occurring(answer, options)
    for piece in _PIECES.split(answer):
        one = _exact(piece, options) or _leading(piece, options, alone=False) or _only_letter(piece, options)
        if one is not None:
            found.add(one)
    return tuple(sorted(found))
