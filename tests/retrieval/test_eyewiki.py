"""EyeWiki: search, extracts, parsed HTML, two hosts."""

from __future__ import annotations

import json

import pytest
from langchain_core.retrievers import BaseRetriever

from fundus_r1.retrieval.documents import to_notes
from fundus_r1.retrieval.eyewiki import LICENCE, EyeWikiRetriever
from fundus_r1.retrieval.headings import parts_of_extract, parts_of_html
from fundus_r1.retrieval.pages import Pages
from fundus_r1.retrieval.sources import Note
from fundus_r1.retrieval.web import Web
from fundus_r1.spec.placement import RetrievalPlace
from fundus_r1.storage.folder import FolderStore
from tests.retrieval.conftest import Time
from tests.retrieval.servers import EyeWiki, Fault, garbled, half, reset, send, status

PLACE = RetrievalPlace(requests_per_s=1000, deadline_s=10)


def retrieve(store: FolderStore, words: str, *wikis: EyeWiki, k: int = 3) -> list[Note]:
    with Web(PLACE, [wiki.url for wiki in wikis], clock=Time().clock) as web:
        retriever = EyeWikiRetriever(pages=Pages(store, web), apis=tuple(wiki.api for wiki in wikis), k=k)
        assert isinstance(retriever, BaseRetriever)
        return to_notes(retriever.invoke(words))


@pytest.fixture
def wiki():
    site = EyeWiki()
    yield site
    site.close()


@pytest.fixture
def plain_wiki():
    """A wiki without TextExtracts."""
    site = EyeWiki(extracts=False)
    yield site
    site.close()


def test_sections_come_with_their_headings_address_and_licence(wiki: EyeWiki, store: FolderStore):
    notes = retrieve(store, "moderate nonproliferative diabetic retinopathy", wiki)
    assert [note.section for note in notes] == [
        "Introduction", "Diagnosis", "Diagnosis > Signs", "Diagnosis > Differential diagnosis", "Management",
    ]  # fmt: skip
    assert {note.title for note in notes} == {"Diabetic Retinopathy"}
    assert {(note.source, note.reference, note.licence) for note in notes} == {
        ("eyewiki", "https://eyewiki.example/Diabetic_Retinopathy", LICENCE)
    }
    assert "dot-blot retinal hemorrhages" in notes[2].text


def test_at_most_k_pages_are_asked_for(wiki: EyeWiki, store: FolderStore):
    assert len({note.title for note in retrieve(store, "retinopathy", wiki, k=1)}) == 1
    assert {asked.parameters.get("srlimit") for asked in wiki.pages_asked} == {"1", None}


def test_without_extracts_the_parsed_page_gives_the_same_sections(
    wiki: EyeWiki, plain_wiki: EyeWiki, store: FolderStore, tmp_path
):
    by_extract = retrieve(store, "drusen", wiki)
    by_html = retrieve(FolderStore(tmp_path / "other"), "drusen", plain_wiki)
    assert [(note.section, note.text) for note in by_html] == [
        (note.section, note.text) for note in by_extract
    ]
    assert "parse" in {asked.parameters.get("action") for asked in plain_wiki.pages_asked}


def test_the_second_host_is_asked_where_the_first_does_not_answer(
    wiki: EyeWiki, plain_wiki: EyeWiki, store: FolderStore
):
    wiki.close()
    assert retrieve(store, "drusen", wiki, plain_wiki)


def test_a_search_without_hits_is_an_answer(wiki: EyeWiki, store: FolderStore):
    assert retrieve(store, "gallstones", wiki) == []
    assert len(list(store.list("pages/eyewiki/"))) == 1


@pytest.mark.parametrize(
    "fault", [garbled, half, reset, status(503)], ids=["garbled", "half", "reset", "503"]
)
def test_half_answers_are_asked_for_again(wiki: EyeWiki, store: FolderStore, fault):
    wiki.faults = [Fault(fault)]
    assert retrieve(store, "drusen", wiki)


def test_an_error_of_mediawiki_that_passes_is_waited_out_and_another_is_kept(
    wiki: EyeWiki, store: FolderStore
):
    def says(code: str):
        body = json.dumps({"error": {"code": code, "info": "..."}}).encode()
        return lambda handler: send(handler, 200, "application/json", body)

    wiki.faults = [Fault(says("ratelimited"))]
    assert retrieve(store, "drusen", wiki)
    wiki.faults = [Fault(says("search-disabled"))]
    assert retrieve(store, "glaucoma", wiki) == []
    assert len(wiki.faults) == 1 and wiki.faults[0].times == 0


def test_an_extract_is_cut_at_its_headings():
    parts = parts_of_extract(
        "Lead.\n\n\n== A ==\ntext\nmore\n\n=== B ===\ndeep\n== C ==\n\n=== D ===\nlast = 3 == x\n"
    )
    assert [(part.path, part.text) for part in parts] == [
        ("Introduction", "Lead."), ("A", "text\nmore"), ("A > B", "deep"), ("C > D", "last = 3 == x"),
    ]  # fmt: skip


def test_html_gives_text_without_furniture():
    html = """
    <div id="toc">Contents</div><p>Lead<sup class="reference">[1]</sup>.</p>
    <div class="mw-heading"><h2>Signs</h2><span class="mw-editsection">[edit]</span></div>
    <ul><li>red dots<ul><li>small</li></ul></li><li>blots</li></ul>
    <table><tr><th>Grade</th><td>moderate</td></tr></table><script>x()</script><style>p{}</style>
    """
    parts, hidden = parts_of_html(html)
    assert [(part.path, part.text) for part in parts] == [
        ("Introduction", "Lead ."), ("Signs", "red dots small\nblots\nGrade\nmoderate"),
    ]  # fmt: skip
    assert hidden == ()
