"""No match without one of the texts: on small expressions, and on each that the guard looks for."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fundus_r1.prompts.guard_literals import needed, occurs
from fundus_r1.prompts.guard_patterns import BLOCKS, SENTENCES, Sought, without_stops


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        ("abc", {("abc",)}),
        ("Abc+d?", {("ab",), ("c",)}),
        (r"\bcats?\b", {("cat",)}),
        ("(?:cat|dog)fish", {("cat", "dog"), ("fish",)}),
        ("(?:cat|dog)?fish", {("fish",)}),
        ("(?:cat|.)fish", {("fish",)}),
        ("gr[ae]y", {("gr",), ("a", "e"), ("y",)}),
        (r"\w+\s*", set()),
    ],
)
def test_what_an_expression_needs(pattern: str, groups: set[tuple[str, ...]]) -> None:
    assert set(needed(re.compile(pattern, re.IGNORECASE))) == groups


@pytest.mark.parametrize("sought", (*BLOCKS, *SENTENCES), ids=lambda each: each.pattern.pattern[:30])
def test_every_match_of_the_guards_expressions_has_what_they_need(sought: Sought) -> None:
    @given(st.from_regex(sought.pattern))
    @settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def holds(text: str) -> None:
        # A dotted capital I, which is two characters in lower case, counts as an i.
        lowered = text.lower().replace("\u0307", "")
        assert occurs(sought.needs, without_stops(lowered) if sought in SENTENCES else lowered)

    holds()
    assert sought.needs
    assert not occurs(sought.needs, "")
