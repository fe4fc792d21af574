"""The retrieval half of RAG: the query of Sec. 3.2.1 against the passages of the sources.

For one (label, modality) each source is asked for pages; their sections are cleaned of what would
instruct a model (`retrieval.guard`), filtered by heading, split, and ranked together against the
paper's query. A passage in which no word of the label's own stands has nothing to do with it and
is not retrieved. Sources are asked at once; what comes out does not depend on which is first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fundus_r1.errors import DataError
from fundus_r1.ontology.labels import LABELS
from fundus_r1.prompts import render
from fundus_r1.retrieval.guard import clean
from fundus_r1.retrieval.pages import Pages
from fundus_r1.retrieval.passages import to_passages
from fundus_r1.retrieval.sources import Note
from fundus_r1.retrieval.topics import is_about
from fundus_r1.retrieval.web import Web
from fundus_r1.rows import Modality, Neutralised, Passage, RefusedPage

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings

Source = Callable[[str, Modality], Sequence[Note]]
"""The sections that a source has for a label on a modality."""


def query_for(label: str, modality: Modality) -> str:
    """ "What are the key CFP findings for diagnosing Moderate NPDR?".

    Args:
        label: key of `LABELS`.
        modality: how the eye was imaged.
    """
    return render("query", modality=modality.value, label=LABELS[label].name)


class KnowledgeBase:
    """The passages of some sources, ready to be searched; a context manager.

    Args:
        sources: by name, in the order in which equals rank.
        pages: what was used of the network and the store.
        k: passages that a query gives, at most.
        embeddings: ranks by meaning too; None ranks by words alone.
        web: closed with the base.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        pages: Pages,
        k: int,
        *,
        embeddings: Embeddings | None = None,
        web: Web | None = None,
    ):
        if not sources:
            raise DataError(
                "There are no sources to retrieve from", hint="science.knowledge.sources names at least one"
            )
        self._sources = tuple(sources)
        self._pages = pages
        self._k = k
        self._embeddings = embeddings
        self._web = web
        self._cleaned: dict[Note, tuple[Note, list[Neutralised]]] = {}
        self._neutralised: dict[Neutralised, None] = {}
        self._threads = ThreadPoolExecutor(len(self._sources), thread_name_prefix="retrieval")

    def retrieve(self, label: str, modality: Modality) -> list[Passage]:
        """The passages on a label, best first; the same pages give the same passages.

        Raises:
            DataError: a page that is needed cannot be had; transient if it may be later.
        """
        from fundus_r1.retrieval.ranking import Bm25Retriever, FusionReranker

        asked = [self._threads.submit(source, label, modality) for source in self._sources]
        notes: list[Note] = []
        for pending in asked:
            for note in pending.result():
                if note not in self._cleaned:
                    self._cleaned[note] = clean(note)
                cleaned, found = self._cleaned[note]
                self._neutralised.update(dict.fromkeys(found))
                notes.append(cleaned)
        passages = list({passage.passage_id: passage for passage in to_passages(notes)}.values())
        if not passages:
            return []
        query = query_for(label, modality)
        documents: Sequence[Document] = [
            document
            for document in Bm25Retriever(passages=passages, k=len(passages)).invoke(query)
            if _about(document.metadata["passage"], label)
        ]
        if self._embeddings is not None:
            documents = FusionReranker(embeddings=self._embeddings).compress_documents(documents, query)
        distinct: dict[str, Passage] = {}
        for document in documents:
            # A text that two pages share is evidence once.
            distinct.setdefault(document.metadata["passage"].digest, document.metadata["passage"])
        return list(distinct.values())[: self._k]

    def snapshot(self) -> str:
        """Writes which pages were used so far; the digest that ``science.knowledge.snapshot`` can pin."""
        return self._pages.keep_snapshot()

    @property
    def neutralised(self) -> list[Neutralised]:
        """What was taken out of the sections used so far, by source and place."""
        return sorted(
            self._neutralised, key=lambda row: (row.source, row.title, row.section, row.kind, row.excerpt)
        )

    @property
    def refused(self) -> list[RefusedPage]:
        """The pages that could not be used, by source and request."""
        return self._pages.refused

    def counts(self) -> dict[str, int]:
        """What retrieving took so far. How pages came is no part of a result, only of the account."""
        pages = self._pages.counts
        return {
            "pages_fetched": pages["fetched"],
            "pages_kept": pages["kept"],
            "pages_refused": pages["refused"],
            "retried": self._web.retried if self._web else 0,
            "neutralised": len(self._neutralised),
        }

    def close(self) -> None:
        """Ends connections and threads."""
        self._threads.shutdown(cancel_futures=True)
        if self._web is not None:
            self._web.close()

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _about(passage: Passage, label: str) -> bool:
    return is_about(f"{passage.title} {passage.section} {passage.text}", label)
