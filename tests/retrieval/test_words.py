"""Words as ranking compares them."""

from __future__ import annotations

from fundus_r1.retrieval.words import tokens


def test_words_of_every_query_are_left_out_and_plurals_are_one():
    assert tokens("What are the key findings? No DR, the vessels' thickness") == [
        "no",
        "dr",
        "vessel",
        "thickness",
    ]
