"""Errors that speak to a person."""

from __future__ import annotations

import pytest

from fundus_r1 import errors
from fundus_r1.errors import FundusError


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = errors.DataError("A label is unknown", where="idrid/labels.csv, row 7", hint="correct it")
    assert str(error).splitlines() == [
        "A label is unknown",
        "  where: idrid/labels.csv, row 7",
        "  to do: correct it",
    ]


def test_what_is_not_known_takes_no_line() -> None:
    assert str(errors.StageError("It ended")) == "It ended"


@pytest.mark.parametrize("kind", FundusError.__subclasses__())
def test_each_kind_tells_permanent_from_transient(kind: type[FundusError]) -> None:
    assert (kind("x").exit_code, kind("x", transient=True).exit_code) == (1, 75)
    assert kind("x").args == ("x",)
