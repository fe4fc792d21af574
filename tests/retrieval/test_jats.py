"""JATS: sections, licences, and files that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.retrieval.addresses import Refusal
from fundus_r1.retrieval.jats import DEEPEST, NOT_STATED, parse_article

FRONT = (
    '<front><article-meta><article-id pub-id-type="pmcid">PMC42</article-id><title-group>'
    "<article-title>Drusen <italic>on OCT</italic></article-title></title-group>{permissions}"
    "</article-meta></front>"
)
LINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
ALI = 'xmlns:ali="http://www.niso.org/schemas/ali/1.0/"'


def article(body: str = "<sec><title>Signs</title><p>Drusen.</p></sec>", permissions: str = "") -> bytes:
    front = FRONT.format(permissions=permissions)
    return f"<article {LINK} {ALI}>{front}<body>{body}</body></article>".encode()


def reason(data: bytes) -> str:
    with pytest.raises(Refusal) as raised:
        parse_article(data)
    return raised.value.reason


def test_nested_sections_keep_their_headings():
    found = parse_article(
        article(
            "<p>Lead.</p><sec><title>Results</title><p>One <xref ref-type='bibr'>12</xref>.</p>"
            "<sec><title>OCT <bold>imaging</bold></title><p>Two<sup>a</sup> [<xref ref-type='bibr'>3</xref>,"
            "<xref ref-type='bibr'>4</xref>].</p><list><list-item><p>dots</p></list-item></list></sec></sec>"
        )
    )
    assert (found.pmcid, found.title) == ("PMC42", "Drusen on OCT")
    assert [(part.path, part.text) for part in found.parts] == [
        ("Introduction", "Lead."),
        ("Results", "One ."),
        ("Results > OCT imaging", "Twoa.\ndots"),
    ]


def test_tables_formulas_and_figures_are_no_text():
    found = parse_article(
        article(
            "<sec><title>Signs</title><p>Seen.<table-wrap><td>99</td></table-wrap></p><fig><caption><p>Fig.</p>"
            "</caption></fig><disp-formula><tex-math>x^2</tex-math></disp-formula></sec>"
        )
    )
    assert [part.text for part in found.parts] == ["Seen."]


@pytest.mark.parametrize(
    ("permissions", "licence"),
    [
        ("", NOT_STATED),
        ('<permissions><license xlink:href="https://cc.example/by/4.0/"/></permissions>', "https://cc.example/by/4.0/"),
        (
            "<permissions><license><ali:license_ref>https://cc.example/by/</ali:license_ref></license></permissions>",
            "https://cc.example/by/",
        ),
        (
            '<permissions><license><license-p>See <ext-link xlink:href="https://cc.example/nc/">this</ext-link>.'
            "</license-p></license></permissions>",
            "https://cc.example/nc/",
        ),
        ('<permissions><license license-type="open-access"/></permissions>', "open-access"),
        ("<permissions><license><license-p>All rights.</license-p></license></permissions>", "All rights."),
    ],
)  # fmt: skip
def test_the_licence_is_the_articles_own(permissions: str, licence: str):
    assert parse_article(article(permissions=permissions)).licence == licence


def test_an_article_without_full_text_is_refused():
    assert reason(article("")) == "no_body"
    assert reason(f"<article>{FRONT.format(permissions='')}</article>".encode()) == "no_body"
    assert reason(b"<pmc-articleset><Reply error='not open'/></pmc-articleset>") == "no_body"


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4", b"<html><p>busy", article()[:-20], b"\xff\xfe<", b"{}"])
def test_what_is_no_xml_is_refused(data: bytes):
    assert reason(data) == "not_xml"


def test_a_billion_laughs_are_not_laughed():
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<!DOCTYPE article [<!ENTITY l0 "ha">{laughs}]>'.encode() + article("<sec><p>&l9;</p></sec>")
    assert reason(bomb) == "not_xml"


def test_no_file_of_this_machine_is_read_into_an_article():
    entity = b'<!DOCTYPE article [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + article(
        "<sec><p>&x;</p></sec>"
    )
    assert reason(entity) == "not_xml"


def test_the_public_doctype_of_jats_is_no_harm():
    doctype = b'<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96)//EN" "JATS-archivearticle1.dtd">'
    assert parse_article(b'<?xml version="1.0"?>\n' + doctype + article()).parts


def test_a_tower_of_elements_is_refused_and_not_climbed():
    tower = "<sec>" * (DEEPEST * 50) + "<p>x</p>" + "</sec>" * (DEEPEST * 50)
    assert reason(article(tower)) == "not_xml"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_article_or_refused(data: bytes):
    assert reason(data) in ("not_xml", "no_body")


@given(st.lists(st.text(st.characters(exclude_categories=["C"], exclude_characters="<>&[]"), min_size=1)))
def test_no_word_of_a_body_is_lost(texts: list[str]):
    texts = [text for text in texts if text.split()]
    body = "".join(f"<sec><title>T</title><p>{text}</p></sec>" for text in texts)
    if texts:
        assert [part.text.split() for part in parse_article(article(body)).parts] == [
            text.split() for text in texts
        ]
