"""EyeWiki as a LangChain retriever: MediaWiki's search, then the text of the pages found.

A page's text comes from the TextExtracts extension where the wiki has it, else from the parsed
HTML. EyeWiki's text is its publisher's and under no open licence: it is kept in the user's own
store, and is not to be passed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urljoin

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from fundus_r1.retrieval.addresses import Again, Answer, Refusal, Request
from fundus_r1.retrieval.documents import json_object, to_document
from fundus_r1.retrieval.headings import Part, parts_of_extract, parts_of_html
from fundus_r1.retrieval.pages import Page, Pages
from fundus_r1.retrieval.sources import Note

SOURCE = "eyewiki"
LICENCE = "EyeWiki, American Academy of Ophthalmology: no open licence, not to be passed on"
_PASSING = ("ratelimited", "readonly", "maxlag", "internal_api_error")
"""How the names of MediaWiki's errors begin that a second try may cure."""


class EyeWikiRetriever(BaseRetriever):
    """The sections of the pages that a search finds, page by page, best first."""

    pages: Pages
    apis: tuple[str, ...]
    """Addresses of ``api.php``; the next is asked where one does not answer."""
    k: int
    """Pages, at most."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [to_document(note) for title in self.search(query) for note in self.sections(title)]

    def search(self, words: str) -> list[str]:
        """Titles of the pages that have all the words, best first."""
        page = self._ask(
            {
                "action": "query", "list": "search", "srsearch": words, "srlimit": str(self.k),
                "srnamespace": "0",
            }
        )  # fmt: skip
        hits = _inside(page, "query", "search")
        titles = [hit["title"] for hit in hits or () if isinstance(hit, dict) and "title" in hit]
        return list(dict.fromkeys(str(title) for title in titles))[: self.k]

    def sections(self, title: str) -> Iterator[Note]:
        """The sections of one page, in its order."""
        page = self._ask(
            {
                "action": "query", "prop": "extracts|info", "inprop": "url", "explaintext": "1",
                "exsectionformat": "wiki", "redirects": "1", "titles": title,
            }
        )  # fmt: skip
        found = _inside(page, "query", "pages")
        entries = list(found.values()) if isinstance(found, dict) else found or []
        entry = next((entry for entry in entries if isinstance(entry, dict)), {})
        title = str(entry.get("title", title))
        reference = str(entry.get("fullurl") or urljoin(page.ref.url, f"/{quote(title.replace(' ', '_'))}"))
        hidden: tuple[str, ...] = ()
        if extract := entry.get("extract"):
            parts = parts_of_extract(str(extract))
        elif page.ref.reason in (None, "api_error"):
            parts, hidden = self._parsed(title)
        else:
            return
        for part in parts:
            yield Note(SOURCE, title, part.path, reference, LICENCE, part.text, hidden)
            hidden = ()

    def _parsed(self, title: str) -> tuple[list[Part], tuple[str, ...]]:
        page = self._ask(
            {"action": "parse", "page": title, "prop": "text", "redirects": "1", "disabletoc": "1"}
        )
        text = _inside(page, "parse", "text")
        return parts_of_html(str(text.get("*", "") if isinstance(text, dict) else text or ""))

    def _ask(self, parameters: dict[str, str]) -> Page:
        query = urlencode(sorted({**parameters, "format": "json", "formatversion": "2"}.items()))
        request = Request(tuple(f"{api}?{query}" for api in self.apis))
        return self.pages.get(SOURCE, query, request, _check)


def _check(answer: Answer) -> None:
    error = json_object(answer).get("error")
    if error is None:
        return
    code = str(error.get("code", "")) if isinstance(error, dict) else str(error)
    if code.startswith(_PASSING):
        raise Again(f"MediaWiki says {code}")
    raise Refusal("api_error", f"MediaWiki says {code[:100]}")


def _inside(page: Page, *names: str) -> Any:
    """A value inside a page's JSON, or None."""
    value: Any = json_object(Answer("", "", page.body)) if page.ref.reason is None else None
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
