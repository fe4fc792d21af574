"""PubMed Central as a LangChain retriever: a search, then full texts of the open-access subset.

NCBI's E-utilities are a documented API with terms of their own (three requests a second, ten with
a key; ``tool`` and ``email`` named), to which the robots.txt of the host's web pages does not
speak. Large jobs take the articles from the open-access bucket instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from fundus_r1.errors import SpecError
from fundus_r1.retrieval.addresses import Again, Answer, Request
from fundus_r1.retrieval.documents import json_object, to_document
from fundus_r1.retrieval.jats import parse_article
from fundus_r1.retrieval.pages import Page, Pages
from fundus_r1.retrieval.politeness import AGENT
from fundus_r1.retrieval.sources import Note
from fundus_r1.retrieval.web import Check
from fundus_r1.spec.placement import RetrievalPlace

SOURCE = "pmc"
PER_S, PER_S_WITH_KEY = 3.0, 10.0
"""NCBI's limits, requests a second."""
BULK_KEYS = ("{pmcid}.1/{pmcid}.1.xml", "oa_comm/xml/all/{pmcid}.xml", "oa_noncomm/xml/all/{pmcid}.xml")
"""Where an article may lie in the bucket: its first version in today's layout, then in the one that
was deprecated in 2026, by licence."""
_OPEN = "open access[filter]"


def is_ncbi(url: str) -> bool:
    """Whether an address is NCBI's own, not another server that answers like it."""
    host = (urlsplit(url).hostname or "").lower()
    return host == "nih.gov" or host.endswith(".nih.gov")


def ncbi_key(place: RetrievalPlace) -> str | None:
    """The API key of NCBI, where one is named.

    Raises:
        SpecError: the variable that should hold it is empty.
    """
    if place.ncbi_key_env is None:
        return None
    key = os.environ.get(place.ncbi_key_env)
    if not key:
        raise SpecError(
            f"The variable {place.ncbi_key_env} holds no key",
            where="placement.retrieval.ncbi_key_env",
            hint=f"set {place.ncbi_key_env}, or leave ncbi_key_env out",
        )
    return key


def check_contact(place: RetrievalPlace) -> None:
    """NCBI demands to be told whom to write to.

    Raises:
        SpecError: no contact is named.
    """
    if place.contact is None and is_ncbi(place.pmc):
        raise SpecError(
            "NCBI wants to know whom to write to if requests cause trouble",
            where="placement.retrieval.contact",
            hint="set it to your e-mail address; it is sent to the hosts and written nowhere else",
        )


def term(names: Sequence[str], modality_words: Sequence[str]) -> str:
    """A search in Entrez's language: any of the names, and any of the words, open access alone."""
    groups = [" OR ".join(f'"{name}"' for name in group) for group in (names, modality_words) if group]
    return " AND ".join([*(f"({group})" for group in groups), _OPEN])


class PmcRetriever(BaseRetriever):
    """The sections of the articles that a search (`term`) finds, article by article, best first."""

    pages: Pages
    place: RetrievalPlace
    k: int
    """Articles, at most."""
    key: str | None = None
    """API key; kept nowhere."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [to_document(note) for number in self.search(query) for note in self.sections(number)]

    def search(self, query: str) -> list[str]:
        """Numbers of the articles found, best first, without the letters PMC."""
        page = self._eutils(
            "esearch.fcgi",
            {"db": "pmc", "term": query, "retmax": str(self.k), "retmode": "json", "sort": "relevance"},
            _is_search,
        )
        if page.ref.reason is not None:
            return []
        return list(dict.fromkeys(_ids(Answer("", "", page.body))))[: self.k]

    def sections(self, number: str) -> Iterator[Note]:
        """The sections of one article, in its order; none where it was refused."""
        for page in self._article(number):
            if page.ref.reason is None:
                article = parse_article(page.body)
                pmcid = article.pmcid or f"PMC{number}"
                reference = f"https://pmc.ncbi.nlm.nih.gov/articles/{pmcid}/"
                for part in article.parts:
                    yield Note(
                        f"{SOURCE}/{pmcid}", article.title, part.path, reference, article.licence, part.text
                    )
                return

    def _article(self, number: str) -> Iterator[Page]:
        """The article from the first place that has it."""
        if self.place.pmc_articles == "efetch":
            yield self._eutils("efetch.fcgi", {"db": "pmc", "id": number, "retmode": "xml"}, _is_article)
            return
        for pattern in BULK_KEYS:
            key = pattern.format(pmcid=f"PMC{number}")
            request = Request((f"{self.place.pmc_bulk.rstrip('/')}/{key}",))
            page = self.pages.get(SOURCE, key, request, _is_article)
            yield page
            if page.ref.reason not in ("not_found", "forbidden"):
                return

    def _eutils(self, program: str, parameters: dict[str, str], check: Check) -> Page:
        key = f"{program}?{urlencode(sorted(parameters.items()))}"
        told = {"tool": AGENT} | ({"email": self.place.contact} if self.place.contact else {})
        request = Request(
            (f"{self.place.pmc.rstrip('/')}/{key}&{urlencode(told)}",),
            secrets={"api_key": self.key} if self.key else {},
            robots=False,
        )
        return self.pages.get(SOURCE, key, request, check)


def _is_search(answer: Answer) -> None:
    _ids(answer)


def _is_article(answer: Answer) -> None:
    parse_article(answer.body)


def _ids(answer: Answer) -> list[str]:
    """The numbers in an answer of esearch, as JSON or, where a server knows no other, as XML.

    Raises:
        Again: it is no answer of esearch, or says that the search failed.
    """
    if answer.body.lstrip()[:1] == b"<":
        try:
            found: Any = [element.text for element in fromstring(answer.body).iterfind(".//IdList/Id")]
        except (ParseError, DefusedXmlException, ValueError, LookupError):
            raise Again("the search's answer is no XML") from None
    else:
        result = json_object(answer).get("esearchresult")
        found = result.get("idlist") if isinstance(result, dict) and "ERROR" not in result else None
    if not isinstance(found, list):
        raise Again(f"the search failed: {answer.body[:100].decode('utf-8', 'replace')!r}")
    numbers = [re.sub(r"\D", "", str(number)) for number in found]
    return [number for number in numbers if number]
