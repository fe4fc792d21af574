"""A LangChain retriever that ranks passages with BM25.

A passage is found by the words of its title, its section's heading and its text; no label, no key
and no source is looked up. A title says what the whole passage is about, so its words count more.
This module is about LangChain; import it where a retriever is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr
from rank_bm25 import BM25Plus

from fundus_r1.rows import Passage

TITLE_WEIGHT = 3
_UNTOLD = re.compile(
    r"(?:an?|and|are|as|at|be|by|for|from|in|is|it|its|of|on|or|that|the|this|to|what|which|with|"
    r"key|findings?|diagnosing)"
)
"""Words that tell nothing, among them those of every query. "No" tells much: "No DR"."""


def tokens(text: str) -> list[str]:
    """Lower-case words, without the plural's s."""
    words = (word for word in re.findall(r"[a-z0-9]+", text.lower()) if not _UNTOLD.fullmatch(word))
    return [word[:-1] if len(word) > 3 and re.search(r"[^su]s$", word) else word for word in words]


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
        best = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[: self.k]
        return [
            Document(
                page_content=self.passages[place].text,
                metadata={"passage": self.passages[place], "score": scores[place]},
                id=self.passages[place].passage_id,
            )
            for place in best
        ]
