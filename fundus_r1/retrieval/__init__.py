"""Retrieval of ophthalmic knowledge: sources -> passages -> ranked passages (paper, Sec. 3.2.1)."""

from __future__ import annotations

from fundus_r1.retrieval.opening import open_knowledge_base
from fundus_r1.retrieval.search import KnowledgeBase, query_for
from fundus_r1.retrieval.sources import Note, corpus_digest, read_notes

__all__ = ["KnowledgeBase", "Note", "corpus_digest", "open_knowledge_base", "query_for", "read_notes"]
