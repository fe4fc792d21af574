"""PDFs of the American Academy of Ophthalmology as a LangChain loader.

A PDF has no sections, only lines. A short line without a full stop that reads like a heading (all
capitals, or capitalised words) begins one; what every page repeats at its edge is no text. The
documents are under the publisher's copyright: they are kept in the user's own store, and are not
to be passed on.
"""

from __future__ import annotations

import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from fundus_r1.retrieval.addresses import Answer, Refusal, Request
from fundus_r1.retrieval.documents import to_document
from fundus_r1.retrieval.headings import Outline
from fundus_r1.retrieval.pages import Pages
from fundus_r1.retrieval.sources import Note

if TYPE_CHECKING:
    from pypdf import PdfReader

SOURCE = "aao"
LICENCE = "American Academy of Ophthalmology: all rights reserved, not to be passed on"
LONGEST_HEADING = 80
_MAGIC_WITHIN = 1024
_BROKEN = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError,
    AssertionError, NotImplementedError, OSError, zlib.error,
)  # fmt: skip
"""What pypdf lets through, beside its own errors, on a file that is damaged."""
_SMALL = re.compile(r"an?|and|as|at|by|for|from|in|of|on|or|the|to|with|vs")
"""Words that a heading leaves in lower case."""


class AaoLoader(BaseLoader):
    """The sections of some documents, split at page ends so that each has its page number.

    Args:
        pages: kept pages and the way to the network.
        base: address below which documents are named.
        documents: names below `base`, or whole addresses.
    """

    def __init__(self, pages: Pages, base: str, documents: Sequence[str]):
        self._pages = pages
        self._base = base.rstrip("/")
        self._documents = tuple(documents)

    def lazy_load(self) -> Iterator[Document]:
        """The sections of all documents, in the order of documents and pages."""
        for document in self._documents:
            for note in self._sections(document):
                yield to_document(note)

    def _sections(self, document: str) -> Iterator[Note]:
        whole = re.match(r"https?://", document)
        request = Request((document if whole else f"{self._base}/{document.lstrip('/')}",))
        page = self._pages.get(SOURCE, document, request, _check)
        if page.ref.reason is not None:
            return
        reader = open_pdf(page.body)
        texts = page_texts(reader)
        slug = _slug(document)
        title = _title(reader, slug)
        heading = ""
        for number, lines in enumerate(without_edges(texts), start=1):
            outline = Outline()
            if heading:
                outline.heading(1, heading)
            for line in lines:
                if is_heading(line):
                    heading = line.capitalize() if line.isupper() and len(line) > 4 else line
                    outline.heading(1, heading)
                else:
                    outline.text(line)
            outline.end()
            for part in outline.parts:
                reference = f"{page.ref.url}#page={number}"
                text = joined(part.text.split("\n"))
                yield Note(f"{SOURCE}/{slug}", title, part.path, reference, LICENCE, text)


def open_pdf(body: bytes) -> PdfReader:
    """A PDF that can be read.

    Raises:
        Refusal: it is none, is damaged, or is encrypted.
    """
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    if b"%PDF-" not in body[:_MAGIC_WITHIN]:
        raise Refusal("not_a_pdf", f"it begins with {body[:20]!r}")
    try:
        reader = PdfReader(io.BytesIO(body))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refusal("encrypted", "it opens with a password only")
        len(reader.pages)
    except (PyPdfError, *_BROKEN) as error:
        raise Refusal("not_a_pdf", f"damaged: {type(error).__name__}: {str(error)[:100]}") from None
    return reader


def page_texts(reader: PdfReader) -> list[list[str]]:
    """The lines of each page.

    Raises:
        Refusal: a page is damaged, or none has text.
    """
    from pypdf.errors import PyPdfError

    try:
        texts = [page.extract_text() for page in reader.pages]
    except (PyPdfError, *_BROKEN) as error:
        raise Refusal("not_a_pdf", f"damaged: {type(error).__name__}: {str(error)[:100]}") from None
    lines = [[" ".join(line.split()) for line in text.splitlines() if line.strip()] for text in texts]
    if not any(lines):
        raise Refusal("no_body", "it holds pictures of pages, and no text")
    return lines


def without_edges(pages: Sequence[Sequence[str]]) -> list[list[str]]:
    """The lines of each page without page numbers and what most pages begin or end with."""
    edges: Counter[str] = Counter()
    for lines in pages:
        edges.update({_edge(line) for line in (*lines[:2], *lines[-2:])})
    repeated = {line for line, times in edges.items() if times >= 3 and times * 2 > len(pages)}

    def is_text(line: str, place: int, of: int) -> bool:
        inner = 2 <= place < of - 2
        return inner or not (_edge(line) in repeated or re.fullmatch(r"[Pp.ageivx ]*\d*", line))

    return [[line for place, line in enumerate(lines) if is_text(line, place, len(lines))] for lines in pages]


def _edge(line: str) -> str:
    return re.sub(r"\d+", "#", line.casefold())


def is_heading(line: str) -> bool:
    """Whether a line reads like a heading of a section."""
    words = re.findall(r"[^\W\d_][\w'’-]*", line)
    if not words or len(line) > LONGEST_HEADING or len(words) > 9 or line[-1] in ".,;:?!)-":
        return False
    if re.match(r"[•·▪◆*–-]|\d+\s*[%)]", line) or not re.match(r"[\dA-Z]", line):
        return False
    if line.isupper():
        return len(words[0]) > 1
    return all(word[0].isupper() or _SMALL.fullmatch(word) for word in words) and words[0][0].isupper()


def joined(lines: Sequence[str]) -> str:
    """Lines as running text; a word that a line's end divided is whole again."""
    text = ""
    for line in lines:
        if re.search(r"[a-z]-$", text) and line[:1].islower():
            text = text[:-1] + line
        else:
            text = f"{text} {line}" if text else line
    return text


def _check(answer: Answer) -> None:
    page_texts(open_pdf(answer.body))


def _slug(document: str) -> str:
    name = unquote(urlsplit(document).path.rstrip("/").rpartition("/")[2]) or document
    return "-".join(re.findall(r"[a-z0-9]+", name.lower().removesuffix(".pdf"))) or "document"


def _title(reader: PdfReader, slug: str) -> str:
    from pypdf.errors import PyPdfError

    try:
        title = reader.metadata.title if reader.metadata else None
    except (PyPdfError, *_BROKEN):
        title = None
    spoken = slug.removesuffix("-pdf").removesuffix("-ppp").replace("-", " ").capitalize()
    return " ".join(str(title).split()) if title and title.strip() else spoken
