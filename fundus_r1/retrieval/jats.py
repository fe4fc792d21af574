"""Articles in JATS, the XML of PubMed Central: title, licence, and sections of the body.

The XML comes from elsewhere, so entities are not expanded and nothing is loaded for it
(defusedxml). Tables, formulas and the numbers of references are no text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from fundus_r1.retrieval.addresses import Refusal
from fundus_r1.retrieval.headings import Outline, Part

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

DEEPEST = 200
"""Elements within elements; deeper XML is not written by people."""
_SKIPPED = frozenset(
    {
        "table-wrap", "table-wrap-group", "disp-formula", "inline-formula", "math", "tex-math", "fig-group",
        "fig", "supplementary-material", "fn", "fn-group", "ref-list", "label", "title", "graphic", "media",
        "object-id",
    }
)  # fmt: skip
_LINK = "{http://www.w3.org/1999/xlink}href"
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Article:
    """One article with a body."""

    pmcid: str
    """``PMC123``, or empty where the file does not say."""
    title: str
    licence: str
    parts: tuple[Part, ...]


def parse_article(body: bytes) -> Article:
    """The article in a file of JATS, or in the set that efetch answers.

    Raises:
        Refusal: it is no such file, or the article has no body.
    """
    try:
        root = fromstring(body)
    except (ParseError, DefusedXmlException, ValueError, RecursionError, LookupError) as error:
        raise Refusal("not_xml", f"{type(error).__name__}: {str(error).splitlines()[0][:120]}") from None
    _strip_namespaces(root)
    if root.tag == "article":
        article = root
    elif (first := root.find(".//article")) is not None:
        article = first
    else:
        raise Refusal("no_body", "the answer holds no article")
    outline = Outline()
    if (text := article.find("body")) is not None:
        _walk(text, outline, level=1)
    outline.end()
    if not outline.parts:
        raise Refusal("no_body", "the article has no full text, perhaps only an abstract")
    return Article(_pmcid(article), _title(article), _licence(article), tuple(outline.parts))


def _strip_namespaces(root: Element) -> None:
    level, deep = [root], 0
    while level:
        deep += 1
        if deep > DEEPEST:
            raise Refusal("not_xml", f"elements nested more than {DEEPEST} deep")
        for element in level:
            if isinstance(element.tag, str):
                element.tag = element.tag.rpartition("}")[2]
        level = [child for element in level for child in element]


def _walk(element: Element, outline: Outline, level: int) -> None:
    for child in element:
        if child.tag == "sec":
            title = child.find("title")
            outline.heading(level, _text(title, whole=True) if title is not None else "")
            _walk(child, outline, level + 1)
        elif child.tag not in _SKIPPED:
            outline.text(_text(child))


def _text(element: Element, *, whole: bool = False) -> str:
    """All text of an element; `whole` where the element itself is a title."""
    if element.tag in _SKIPPED and not whole:
        return ""
    if element.tag == "xref" and element.get("ref-type") == "bibr":
        return ""
    pieces = [element.text or ""]
    for child in element:
        pieces += [_text(child), child.tail or ""]
        if child.tag in ("p", "list-item", "list"):
            pieces.append("\n")
    return re.sub(r"\s*\[[\s,–-]*\]", "", "".join(pieces)) if not whole else "".join(pieces)


def _pmcid(article: Element) -> str:
    for identifier in article.iterfind(".//front/article-meta/article-id"):
        if identifier.get("pub-id-type") in ("pmc", "pmcid", "pmcaid"):
            digits = re.search(r"\d+", identifier.text or "")
            if digits:
                return f"PMC{digits[0]}"
    return ""


def _title(article: Element) -> str:
    title = article.find(".//front/article-meta/title-group/article-title")
    return " ".join(_text(title, whole=True).split()) if title is not None else "(without a title)"


def _licence(article: Element) -> str:
    licence = article.find(".//front/article-meta/permissions/license")
    if licence is None:
        return NOT_STATED
    named = licence.find(".//license_ref")
    link = licence.find(".//ext-link")
    address = (
        licence.get(_LINK)
        or (named.text if named is not None else None)
        or (link.get(_LINK) if link is not None else None)
    )
    said = address or licence.get("license-type") or " ".join("".join(licence.itertext()).split())[:200]
    return said.strip() or NOT_STATED
