"""The retrieval half of RAG: the query of Sec. 3.2.1 against the passages of the sources."""

from __future__ import annotations

from collections.abc import Sequence

from fundus_r1.errors import DataError
from fundus_r1.ontology.labels import LABELS
from fundus_r1.prompts import render
from fundus_r1.retrieval.passages import to_passages
from fundus_r1.retrieval.sources import read_sources
from fundus_r1.rows import Modality, Passage


def query_for(label: str, modality: Modality) -> str:
    """ "What are the key CFP findings for diagnosing Moderate NPDR?".

    Args:
        label: key of `LABELS`.
        modality: how the eye was imaged.
    """
    return render("query", modality=modality.value, label=LABELS[label].name)


class KnowledgeBase:
    """The passages of some sources, ready to be searched.

    Args:
        sources: names of sources.
        k: passages that a query gives, at most.
    """

    def __init__(self, sources: Sequence[str], k: int):
        from fundus_r1.retrieval.ranking import Bm25Retriever

        passages = to_passages(read_sources(sources))
        if not passages:
            raise DataError(
                "The sources hold no passage", hint="science.knowledge.sources names at least one"
            )
        self._retriever = Bm25Retriever(passages=passages, k=k)

    def retrieve(self, query: str) -> list[Passage]:
        """The passages nearest to a query, best first; the same query gives the same passages."""
        return [document.metadata["passage"] for document in self._retriever.invoke(query)]
