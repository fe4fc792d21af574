from __future__ import annotations

import pytest

from fundus_r1.prompts.material import read_check


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('{"accepted": true, "problems": []}', []),
        ('{"accepted": false, "problems": ["a", "b"]}', ["a", "b"]),
        ('{"accepted": false, "problems": []}', ["rejected without a reason"]),
        ('{"accepted": true, "problems": ["but a"]}', ["but a"]),
        ('{"accepted": "yes", "problems": []}', None),
        ('{"accepted": true}', None),
        ("accepted", None),
        ("[]", None),
    ],
)
def test_a_check_accepts_only_if_it_says_so_and_names_no_problem(
    text: str, problems: list[str] | None
) -> None:
    assert read_check(text) == problems
