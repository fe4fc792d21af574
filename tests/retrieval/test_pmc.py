"""PMC: the search's terms, full texts by efetch and from the bucket, NCBI's demands."""

from __future__ import annotations

import pytest

from fundus_r1.errors import DataError, SpecError
from fundus_r1.retrieval.documents import to_notes
from fundus_r1.retrieval.opening import open_web
from fundus_r1.retrieval.pages import Pages
from fundus_r1.retrieval.pmc import PmcRetriever, is_ncbi, term
from fundus_r1.retrieval.sources import Note
from fundus_r1.retrieval.web import Web
from fundus_r1.rows import RefusedPage
from fundus_r1.spec.placement import RetrievalPlace
from fundus_r1.spec.science import KnowledgeScience
from fundus_r1.storage.folder import FolderStore
from tests.retrieval.conftest import Time
from tests.retrieval.servers import Fault, Pmc, PmcArticle, garbled, send, status

DRUSEN = term(["macular drusen"], ["OCT"])


@pytest.fixture
def pmc():
    site = Pmc()
    yield site
    site.close()


def place(pmc: Pmc, **changes: object) -> RetrievalPlace:
    return RetrievalPlace.model_validate(
        {"pmc": pmc.eutils, "pmc_bulk": pmc.bucket, "requests_per_s": 1000, "deadline_s": 5, **changes}
    )


def retrieve(store: FolderStore, pmc: Pmc, query: str = DRUSEN, key: str | None = None, **changes: object):
    where = place(pmc, **changes)
    with Web(where, [pmc.url], clock=Time().clock) as web:
        pages = Pages(store, web)
        notes: list[Note] = to_notes(PmcRetriever(pages=pages, place=where, k=3, key=key).invoke(query))
        refused: list[RefusedPage] = pages.refused
    return notes, refused


def test_a_term_names_label_modality_and_open_access():
    assert (
        term(["PDR", "proliferative DR"], ["OCT"])
        == '("PDR" OR "proliferative DR") AND ("OCT") AND open access[filter]'
    )
    assert term(["PDR"], []) == '("PDR") AND open access[filter]'


def test_an_article_comes_with_its_number_and_licence(pmc: Pmc, store: FolderStore):
    [note], refused = retrieve(store, pmc)
    assert note.source == "pmc/PMC1002" and note.section == "OCT imaging"
    assert note.reference == "https://pmc.ncbi.nlm.nih.gov/articles/PMC1002/"
    assert note.licence == "https://creativecommons.org/licenses/by-nc/4.0/"
    assert "drusen are decisive" in note.text and refused == []


def test_ncbi_is_told_tool_and_contact_and_its_key_is_kept_nowhere(pmc: Pmc, store: FolderStore):
    retrieve(store, pmc, key="s3cret-key", contact="someone@lab.example")
    for asked in pmc.asked:
        assert asked.path != "/robots.txt"
        assert asked.parameters["tool"] == "fundus-r1"
        assert asked.parameters["email"] == "someone@lab.example"
        assert asked.parameters["api_key"] == "s3cret-key"
    for key in store.list(""):
        kept = store.get(key)
        assert b"s3cret-key" not in kept and b"someone@lab.example" not in kept


def test_with_and_without_a_key_it_is_the_same_page(pmc: Pmc, store: FolderStore):
    retrieve(store, pmc, key="s3cret-key")
    before = len(pmc.asked)
    assert retrieve(store, pmc)[0]
    assert len(pmc.asked) == before


@pytest.mark.parametrize(
    ("query", "number", "tries"),
    [(term(["choroidal neovascularization"], ["OCT"]), "1003", 2), (DRUSEN, "1002", 3),
     (term(["moderate nonproliferative diabetic retinopathy"], []), "1001", 1)],
)  # fmt: skip
def test_the_bucket_has_articles_in_todays_layout_or_by_licence(
    pmc: Pmc, store: FolderStore, query: str, number: str, tries: int
):
    by_bucket, _ = retrieve(store, pmc, query, pmc_articles="bulk")
    assert {note.source for note in by_bucket} == {f"pmc/PMC{number}"}
    paths = [asked.path for asked in pmc.pages_asked]
    assert not any("efetch" in path for path in paths)
    assert len([path for path in paths if path.startswith("/bucket/")]) == tries


def test_efetch_and_the_bucket_give_the_same_sections(pmc: Pmc, store: FolderStore, tmp_path):
    by_bucket, _ = retrieve(FolderStore(tmp_path / "other"), pmc, pmc_articles="bulk")
    assert by_bucket == retrieve(store, pmc)[0]


def test_articles_that_cannot_be_used_are_refused_with_their_reasons_and_the_others_stay(store: FolderStore):
    abstract = b"<article><front><article-meta/></front></article>"
    laughs = (
        b'<!DOCTYPE article [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><article><body><p>&b;</p></body></article>'
    )
    title = "Macular drusen on OCT"
    site = Pmc(
        [
            PmcArticle("1", title, {}, xml=abstract),
            PmcArticle("2", title, {}, xml=laughs),
            PmcArticle("3", title, {"Signs": "Drusen are domes."}),
        ]
    )
    try:
        notes, refused = retrieve(store, site)
    finally:
        site.close()
    assert [note.source for note in notes] == ["pmc/PMC3"]
    assert [(row.page.partition("&id=")[2][:1], row.reason) for row in refused] == [
        ("1", "no_body"),
        ("2", "not_xml"),
    ]


def test_a_search_that_failed_is_asked_again(pmc: Pmc, store: FolderStore):
    failed = b'{"esearchresult": {"ERROR": "Search Backend failed"}}'
    pmc.faults = [Fault(garbled), Fault(lambda handler: send(handler, 200, "application/json", failed))]
    assert retrieve(store, pmc)[0]


def test_a_search_answered_in_xml_is_read_too(pmc: Pmc, store: FolderStore):
    xml = b"<eSearchResult><Count>1</Count><IdList><Id>1002</Id></IdList></eSearchResult>"
    pmc.faults = [Fault(lambda handler: send(handler, 200, "text/xml", xml))]
    assert retrieve(store, pmc, "anything")[0]


def test_a_wrong_key_is_a_clear_error_without_the_key(pmc: Pmc, store: FolderStore):
    pmc.faults = [Fault(status(400, b'{"error":"API key invalid","api-key":"s3cret-key"}'))]
    with pytest.raises(DataError, match="API key invalid") as raised:
        retrieve(store, pmc, key="s3cret-key")
    assert "s3cret-key" not in str(raised.value)


# ---- NCBI itself is not contacted here, only asked about --------------------------------


def test_ncbi_is_known_by_its_host():
    assert is_ncbi(RetrievalPlace().pmc)
    assert not is_ncbi("http://127.0.0.1:80/eutils.ncbi.nlm.nih.gov") and not is_ncbi("https://evilnih.gov/")


def test_ncbi_demands_a_contact_and_a_mirror_does_not(pmc: Pmc):
    science = KnowledgeScience(sources=("pmc",))
    with pytest.raises(SpecError, match="whom to write to") as raised:
        open_web(science, RetrievalPlace())
    assert raised.value.where == "placement.retrieval.contact"
    for fine in (place(pmc), RetrievalPlace(offline=True), RetrievalPlace(contact="someone@lab.example")):
        if (web := open_web(science, fine)) is not None:
            web.close()


def test_ncbis_own_limits_hold_for_ncbi(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NCBI_KEY", "x")
    for key_env, rate in ((None, 3.0), ("NCBI_KEY", 10.0)):
        where = RetrievalPlace(contact="someone@lab.example", ncbi_key_env=key_env, requests_per_s=99)
        web = open_web(KnowledgeScience(sources=("pmc",)), where)
        assert web is not None
        with web:
            assert web._rates == {"eutils.ncbi.nlm.nih.gov:443": rate}


def test_an_empty_variable_for_the_key_is_named(monkeypatch: pytest.MonkeyPatch, pmc: Pmc):
    monkeypatch.delenv("NCBI_KEY", raising=False)
    with pytest.raises(SpecError, match="NCBI_KEY holds no key"):
        open_web(KnowledgeScience(sources=("pmc",)), place(pmc, ncbi_key_env="NCBI_KEY"))
