"""Sections out of marked-up text: MediaWiki's plain extracts and its HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bs4 import BeautifulSoup, Comment, Tag

from fundus_r1.retrieval.documents import NESTED

LEAD = "Introduction"
"""The section before the first heading."""
_HEADING = re.compile(r"^(={2,6})\s*(.+?)\s*\1\s*$", re.MULTILINE)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS = ("p", "li", "dd", "dt", "td", "th", "blockquote", "pre")
_JUNK = (
    "script, style, noscript, template, iframe, svg, .mw-editsection, .toc, #toc, .navbox, .reference, "
    ".references, .reflist, .noprint, .metadata"
)
_HIDDEN_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*0(?:\.0*)?\s*(?:;|$)|"
    r"font-size\s*:\s*[01](?:\.\d*)?(?:px|pt|em|rem|%)?\s*(?:;|$)|"
    r"(?:left|top|text-indent)\s*:\s*-\d{3,}|clip\s*:\s*rect\(\s*0|"
    r"(?<![-\w])(?:height|width)\s*:\s*0(?:px)?\s*(?:;|$)|"
    r"(?<![-\w])color\s*:\s*(?:transparent|white|#fff(?:fff)?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Part:
    """One section of a page."""

    path: str
    """Its headings from the outermost to its own."""
    text: str


class Outline:
    """Collects text under headings of several levels."""

    def __init__(self) -> None:
        self._path: list[tuple[int, str]] = []
        self._texts: list[str] = []
        self.parts: list[Part] = []

    def heading(self, level: int, name: str) -> None:
        """Begins a section; text that comes next is its."""
        self.end()
        self._path = [(depth, above) for depth, above in self._path if depth < level]
        self._path.append((level, " ".join(name.split())))

    def text(self, text: str) -> None:
        """Adds text to the section that was begun last."""
        if words := " ".join(text.split()):
            self._texts.append(words)

    def end(self) -> None:
        """Closes the section that was begun last."""
        if self._texts:
            path = NESTED.join(name for _, name in self._path if name) or LEAD
            self.parts.append(Part(path, "\n".join(self._texts)))
        self._texts = []


def parts_of_extract(text: str) -> list[Part]:
    """The sections of a plain-text extract, whose headings read ``== Signs ==``."""
    outline = Outline()
    place = 0
    for match in _HEADING.finditer(text):
        for line in text[place : match.start()].splitlines():
            outline.text(line)
        outline.heading(len(match[1]), match[2])
        place = match.end()
    for line in text[place:].splitlines():
        outline.text(line)
    outline.end()
    return outline.parts


def parts_of_html(html: str) -> tuple[list[Part], tuple[str, ...]]:
    """The sections of a page that people see, and the texts that they do not."""
    soup = BeautifulSoup(html, "html.parser")
    hidden = _take_out_hidden(soup)
    for tag in soup.select(_JUNK):
        tag.decompose()
    outline = Outline()
    for tag in soup.find_all([*_HEADINGS, *_BLOCKS]):
        if tag.name in _HEADINGS:
            outline.heading(int(tag.name[1]), tag.get_text(" "))
        elif tag.find_parent(_BLOCKS) is None:
            outline.text(tag.get_text(" "))
    outline.end()
    return outline.parts, hidden


def _take_out_hidden(soup: BeautifulSoup) -> tuple[str, ...]:
    texts = [str(comment.extract()) for comment in soup.find_all(string=lambda s: isinstance(s, Comment))]
    for tag in soup.find_all(_is_hidden):
        if not tag.decomposed:
            texts.append(tag.get_text(" "))
            tag.decompose()
    cleaned = (" ".join(text.split()) for text in texts)
    return tuple(text for text in cleaned if text)


def _is_hidden(tag: Tag) -> bool:
    style = tag.get("style")
    return tag.has_attr("hidden") or (isinstance(style, str) and bool(_HIDDEN_STYLE.search(style)))
