"""Ranks passages: a LangChain retriever by words (BM25), a reranker by words and meaning together.

A passage is found by the words of its title, its section's heading and its text; no label, no key
and no source is looked up. A title says what the whole passage is about, so its words count more.
This module is about LangChain; import it where a retriever is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import CallbackManagerForRetrieverRun, Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, PrivateAttr
from rank_bm25 import BM25Plus

from fundus_r1.retrieval.embeddings import nearness
from fundus_r1.retrieval.words import tokens
from fundus_r1.rows import Passage

TITLE_WEIGHT = 3
FUSION_K = 60
"""The constant of reciprocal rank fusion (Cormack et al. 2009)."""


class Bm25Retriever(BaseRetriever):
    """The `k` passages nearest to a query, best first; equal scores keep the passages' order."""

    passages: list[Passage]
    k: int

    _index: BM25Plus = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        self._index = BM25Plus(
            [
                TITLE_WEIGHT * tokens(passage.title) + tokens(f"{passage.section} {passage.text}")
                for passage in self.passages
            ]
        )

    def scores(self, query: str) -> Sequence[float]:
        """The score of each passage, in the passages' order."""
        return [float(score) for score in self._index.get_scores(tokens(query))]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        scores = self.scores(query)
        return [_document(self.passages[place], scores[place]) for place in order(scores)[: self.k]]


class FusionReranker(BaseDocumentCompressor):
    """Orders documents by their score and by what they mean, between them (reciprocal rank fusion).

    Documents keep their own order where both say the same.
    """

    embeddings: Embeddings

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """All the documents, best first.

        Args:
            documents: as a retriever of this module gives them.
            query: what they were found for.
            callbacks: are not called.
        """
        if not documents:
            return []
        passages = [document.metadata["passage"] for document in documents]
        texts = [f"{passage.title}. {passage.section}. {passage.text}" for passage in passages]
        meaning = nearness(self.embeddings.embed_query(query), self.embeddings.embed_documents(texts))
        scores = fused([[document.metadata["score"] for document in documents], meaning])
        return [_document(passages[place], scores[place]) for place in order(scores)]


def order(scores: Sequence[float]) -> list[int]:
    """Places by falling score; equal scores keep their order."""
    return sorted(range(len(scores)), key=lambda place: (-scores[place], place))


def fused(rankings: Sequence[Sequence[float]]) -> list[float]:
    """Reciprocal rank fusion: for each place the sum of ``1 / (FUSION_K + rank)``.

    Args:
        rankings: for each way of ranking the scores of all places. The best has rank one, and equal
            scores have one rank: where words say nothing, meaning decides.
    """
    totals = [0.0] * (len(rankings[0]) if rankings else 0)
    for scores in rankings:
        falling = sorted(scores, reverse=True)
        first = {score: rank for rank, score in reversed(list(enumerate(falling, start=1)))}
        for place, score in enumerate(scores):
            totals[place] += 1 / (FUSION_K + first[score])
    return totals


def _document(passage: Passage, score: float) -> Document:
    return Document(
        page_content=passage.text, metadata={"passage": passage, "score": score}, id=passage.passage_id
    )
