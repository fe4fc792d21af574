"""Opens the sources that a spec names: who asks which service for what (paper, Sec. 3.2.1)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from fundus_r1.retrieval.addresses import netloc
from fundus_r1.retrieval.pages import Pages
from fundus_r1.retrieval.search import KnowledgeBase, Source
from fundus_r1.retrieval.sources import Note, read_notes
from fundus_r1.retrieval.topics import MODALITY_WORDS, broader, phrasings
from fundus_r1.retrieval.web import Web
from fundus_r1.rows import Modality
from fundus_r1.spec.placement import RetrievalPlace
from fundus_r1.spec.science import KnowledgeScience
from fundus_r1.storage.protocol import Store


def open_knowledge_base(
    science: KnowledgeScience, place: RetrievalPlace, store: Store, embedder: Path | None
) -> KnowledgeBase:
    """The knowledge base of a spec; to be closed.

    Args:
        science: sources, documents, numbers and the pinned snapshot.
        place: where the sources answer.
        store: where pages are kept.
        embedder: folder of the embedding model; None ranks by words alone.

    Raises:
        SpecError: an address is none, NCBI is to be asked and no contact or key is there.
        DataError: the store has no such snapshot, or no sources are named.
        ModelError: the folder holds no embedding model.
    """
    web = open_web(science, place)
    pages = Pages(store, web, science.pinned_snapshot)
    sources = [_source(name, science, place, pages) for name in science.sources]
    embeddings = None
    if embedder is not None:
        from fundus_r1.retrieval.embeddings import LocalEmbeddings

        embeddings = LocalEmbeddings(embedder)
    return KnowledgeBase(sources, pages, science.passages, embeddings=embeddings, web=web)


def open_web(science: KnowledgeScience, place: RetrievalPlace) -> Web | None:
    """The way to the hosts of the sources that are named; None where none may be contacted."""
    from fundus_r1.retrieval.pmc import PER_S, PER_S_WITH_KEY, check_contact, is_ncbi, ncbi_key

    bases: list[str] = []
    rates: dict[str, float] = {}
    if "eyewiki" in science.sources:
        bases += place.eyewiki
    if "aao" in science.sources:
        bases.append(place.aao)
    if "pmc" in science.sources:
        bases += [place.pmc, place.pmc_bulk]
        if is_ncbi(place.pmc):
            rates[netloc(place.pmc)] = PER_S_WITH_KEY if place.ncbi_key_env else PER_S
    if place.offline or science.pinned_snapshot or not bases:
        return None
    if "pmc" in science.sources:
        check_contact(place)
        ncbi_key(place)
    return Web(place, bases, rates=rates)


def _source(name: str, science: KnowledgeScience, place: RetrievalPlace, pages: Pages) -> Source:
    match name:
        case "eyewiki":
            return _eyewiki(science, place, pages)
        case "pmc":
            return _pmc(science, place, pages)
        case "aao":
            return _aao(science, place, pages)
        case _:
            return lambda label, modality: read_notes()


def _eyewiki(science: KnowledgeScience, place: RetrievalPlace, pages: Pages) -> Source:
    from fundus_r1.retrieval.documents import to_notes
    from fundus_r1.retrieval.eyewiki import EyeWikiRetriever

    retriever = EyeWikiRetriever(pages=pages, apis=place.eyewiki, k=science.pages)

    def sections(label: str, modality: Modality) -> Sequence[Note]:
        # EyeWiki writes of diseases, one page each; its pages treat all modalities.
        for words in dict.fromkeys((*phrasings(label), broader(label))):
            if notes := to_notes(retriever.invoke(words)):
                return notes
        return ()

    return sections


def _pmc(science: KnowledgeScience, place: RetrievalPlace, pages: Pages) -> Source:
    from fundus_r1.retrieval.documents import to_notes
    from fundus_r1.retrieval.pmc import PmcRetriever, ncbi_key, term

    key = None if place.offline or science.pinned_snapshot else ncbi_key(place)
    retriever = PmcRetriever(pages=pages, place=place, k=science.pages, key=key)

    def sections(label: str, modality: Modality) -> Sequence[Note]:
        for words in (MODALITY_WORDS[modality], ()):
            if notes := to_notes(retriever.invoke(term(phrasings(label), words))):
                return notes
        return ()

    return sections


def _aao(science: KnowledgeScience, place: RetrievalPlace, pages: Pages) -> Source:
    from fundus_r1.retrieval.aao import AaoLoader
    from fundus_r1.retrieval.documents import to_notes

    loader = AaoLoader(pages, place.aao, science.aao_documents)
    lock = threading.Lock()
    read: list[Note] = []

    def sections(label: str, modality: Modality) -> Sequence[Note]:
        with lock:
            if not read:
                read.extend(to_notes(loader.load()))
            return tuple(read)

    return sections
