"""PDFs: headings, pages, and files that are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.document_loaders import BaseLoader

from fundus_r1.errors import SpecError
from fundus_r1.retrieval.aao import (
    LICENCE,
    AaoLoader,
    is_heading,
    joined,
    open_pdf,
    page_texts,
    without_edges,
)
from fundus_r1.retrieval.addresses import Refusal
from fundus_r1.retrieval.documents import to_notes
from fundus_r1.retrieval.pages import Pages
from fundus_r1.retrieval.web import Web
from fundus_r1.spec.placement import RetrievalPlace
from fundus_r1.storage.folder import FolderStore
from tests.retrieval.servers import DOCUMENT, GUIDELINE, Aao, pdf

PLACE = RetrievalPlace(requests_per_s=1000, deadline_s=5)


@pytest.fixture
def serve_files():
    sites: list[Aao] = []

    def serve(files: dict[str, bytes] | None = None) -> Aao:
        sites.append(Aao(files))
        return sites[-1]

    yield serve
    for site in sites:
        site.close()


def load(store: FolderStore, aao: Aao, *documents: str):
    with Web(PLACE, [aao.url]) as web:
        pages = Pages(store, web)
        loader = AaoLoader(pages, aao.url, documents)
        assert isinstance(loader, BaseLoader)
        return to_notes(loader.load()), pages.refused


def test_sections_have_the_number_of_their_page(serve_files: Callable[..., Aao], store: FolderStore):
    aao = serve_files()
    notes, refused = load(store, aao, DOCUMENT)
    assert refused == []
    at = f"{aao.url}/{DOCUMENT}#page="
    assert [(note.section, note.reference.removeprefix(at)) for note in notes] == [
        ("Symptoms", "1"), ("Clinical findings", "1"), ("Clinical findings", "2"), ("Management", "2"),
        ("Diagnostic Criteria", "3"),
    ]  # fmt: skip
    assert notes[1].text.endswith("has retinal hemorrhages and microaneurysms on color photographs.")
    assert {(note.source, note.title, note.licence) for note in notes} == {
        ("aao/diabetic-retinopathy-ppp-pdf", "Diabetic retinopathy", LICENCE)
    }


def test_a_document_may_have_a_whole_address_on_a_listed_host(
    serve_files: Callable[..., Aao], store: FolderStore
):
    aao, other = serve_files(), serve_files()
    assert load(store, aao, f"{aao.url}/{DOCUMENT}")[0]
    with pytest.raises(SpecError, match="not listed"):
        load(store, aao, f"{other.url}/{DOCUMENT}")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>Please log in</html>", "not_a_pdf"),
        (b"", "not_a_pdf"),
        (b"%PDF-1.7\n" + b"\x00garbage" * 100, "not_a_pdf"),
        (pdf(GUIDELINE)[:300], "not_a_pdf"),
        (pdf([[], []]), "no_body"),
    ],
    ids=["html", "empty", "garbage", "cut off", "no text"],
)
def test_a_file_that_is_no_pdf_is_refused_and_the_others_are_read(
    serve_files: Callable[..., Aao], store: FolderStore, body: bytes, reason: str
):
    notes, refused = load(
        store, serve_files({"bad": body, DOCUMENT: pdf(GUIDELINE)}), "bad", DOCUMENT, "none"
    )
    assert len(notes) == 5
    assert [(row.page, row.reason) for row in refused] == [("bad", reason), ("none", "not_found")]


def test_a_pdf_with_a_password_is_refused():
    import io

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(GUIDELINE))))
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    with pytest.raises(Refusal, match="encrypted"):
        open_pdf(out.getvalue())


@pytest.mark.parametrize(
    "line",
    ["SYMPTOMS", "Clinical Findings", "Diagnosis", "Natural History of the Disease", "OCT", "2 Care Process"],
)
def test_headings(line: str):
    assert is_heading(line)


@pytest.mark.parametrize(
    "line",
    [
        "Microaneurysms are red dots.", "microaneurysms", "hemorrhages and", "• Hard Exudates", "12", "A", "",
        "The fundus is examined", "Patients With Diabetes, Hypertension,",
        "Ten Words Are Too Many For A Heading Of Any Text",
    ],
)  # fmt: skip
def test_no_headings(line: str):
    assert not is_heading(line)


def test_what_pages_repeat_at_their_edges_goes_and_the_rest_stays():
    pages = [
        ["Guideline 2024", f"Body {word}.", "Drusen", "Inner line", "Drusen", f"End {word}.", f"Page {n}"]
        for n, word in enumerate("abcd", start=1)
    ]
    assert without_edges(pages) == [
        [f"Body {word}.", "Drusen", "Inner line", "Drusen", f"End {word}."] for word in "abcd"
    ]


def test_two_pages_are_too_few_to_call_anything_repeated():
    assert without_edges([["Drusen", "Text a."], ["Drusen", "Text b."]]) == [
        ["Drusen", "Text a."], ["Drusen", "Text b."],
    ]  # fmt: skip


def test_divided_words_are_joined():
    assert (
        joined(["retinal hemor-", "rhages in non-", "Hispanic people"])
        == "retinal hemorrhages in non- Hispanic people"
    )


@given(st.integers(0, 1200), st.integers(0, 255))
def test_a_damaged_pdf_is_read_or_refused(place: int, value: int):
    data = bytearray(pdf(GUIDELINE))
    data[place % len(data)] = value
    try:
        page_texts(open_pdf(bytes(data)))
    except Refusal as refusal:
        assert refusal.reason in ("not_a_pdf", "no_body", "encrypted")
