from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.plots.highlight import pieces

PHRASES = [finding.name for finding in FINDINGS.values()] + [
    "no ",
    "There is no ",
    ", ",
    ". ",
    " and ",
    "𝄞",
    "\u2028",
]


def kinds(text: str, present: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(piece.kind, piece.finding) for piece in pieces(text, present) if piece.kind != "plain"]


def test_a_stated_finding_is_present_or_unseen_by_the_findings_of_the_image() -> None:
    text = "Microaneurysms and hard exudates are seen. There is no neovascularization."
    assert kinds(text, ("microaneurysm",)) == [
        ("present", "microaneurysm"),
        ("unseen", "hard_exudate"),
        ("denied", "neovascularization"),
    ]


def test_a_denied_finding_is_denied_even_if_the_image_has_it() -> None:
    assert kinds("There is no drusen.", ("drusen",)) == [("denied", "drusen")]


@given(st.lists(st.one_of(st.sampled_from(PHRASES), st.text(max_size=8))).map("".join))
def test_the_pieces_joined_are_the_text(text: str) -> None:
    found = pieces(text, ("microaneurysm", "drusen"))
    assert "".join(piece.text for piece in found) == text
    assert all(piece.text for piece in found)
    assert all(bool(piece.finding) == (piece.kind != "plain") for piece in found)
