"""The law of fingerprints."""

from __future__ import annotations

import enum
import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fundus_r1.fingerprint import canonical, changes, fingerprint, sha256

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


class Colour(enum.StrEnum):
    RED = "red"


class Inner(BaseModel):
    rate: float


class Outer(BaseModel):
    name: str
    inner: Inner
    steps: tuple[int, ...]


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(item) for key, item in reversed(value.items())}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert fingerprint(reordered(value)) == fingerprint(value)


@given(VALUES)
def test_canonical_is_json_of_the_same_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(VALUES, VALUES)
def test_one_fingerprint_exactly_for_one_canonical_json(one: Any, two: Any) -> None:
    assert (fingerprint(one) == fingerprint(two)) is (canonical(one) == canonical(two))


@given(st.lists(SCALARS, min_size=2, max_size=4))
def test_the_order_of_a_list_matters(values: list[Any]) -> None:
    if canonical(values) != canonical(values[::-1]):
        assert fingerprint(values) != fingerprint(values[::-1])
    assert fingerprint(tuple(values)) == fingerprint(values)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_so_that_they_are_read_back_exactly(value: float) -> None:
    read = json.loads(canonical(value))
    assert math.copysign(1, read) == math.copysign(1, value) and read == value
    assert canonical(read) == canonical(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [1, v], lambda v: {"a": {"b": v}}])
def test_what_is_no_finite_number_is_refused(value: float, wrap: Any) -> None:
    with pytest.raises(TypeError, match="only finite numbers"):
        fingerprint(wrap(value))


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), Path("a"), range(3), 1j, lambda: None])
def test_a_value_without_a_stable_encoding_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^sft\.optimizer\[1\] is a"):
        fingerprint({"sft": {"optimizer": [1, value]}})


@pytest.mark.parametrize("key", [1, 1.5, None, ("a",)])
def test_keys_must_be_text(key: Any) -> None:
    with pytest.raises(TypeError, match="keys must be text"):
        fingerprint({"a": {key: 1}})


def test_values_that_python_calls_equal_keep_apart() -> None:
    values = [1, 1.0, True, "1", [1], {"1": 1}, None, 0, False, "", [], {}, 0.0, -0.0]
    assert len({fingerprint(value) for value in values}) == len(values)


def test_models_and_enums_are_what_they_hold() -> None:
    model = Outer(name="x", inner=Inner(rate=1e-06), steps=(1, 2))
    assert canonical(model) == b'{"inner":{"rate":1e-06},"name":"x","steps":[1,2]}'
    assert fingerprint(Colour.RED) == fingerprint("red")
    assert fingerprint({Colour.RED: 1}) == fingerprint({"red": 1})


def test_the_encoding_is_the_one_that_is_promised() -> None:
    value = {"b": [1, 0.1, 1e-06, 1e22, True, None], "a": "眼底 é"}
    assert canonical(value) == '{"a":"眼底 é","b":[1,0.1,1e-06,1e+22,true,null]}'.encode()
    assert fingerprint(value) == hashlib.sha256(canonical(value)).hexdigest()
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_another_process_with_another_hash_seed_agrees() -> None:
    value = {"z": 0.1 + 0.2, "a": ["é", {"y": 1, "x": 2}]}
    code = f"from fundus_r1.fingerprint import fingerprint; print(fingerprint({value!r}))"
    for seed in ("0", "4242"):
        env = {"PYTHONHASHSEED": seed, "PATH": ""}
        argv = [sys.executable, "-c", code]
        out = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
        assert out.stdout.strip() == fingerprint(value)


@given(VALUES, VALUES)
def test_differences_are_told_exactly_where_fingerprints_differ(old: Any, new: Any) -> None:
    assert bool(changes(old, new)) is (fingerprint(old) != fingerprint(new))
    assert changes(old, old) == []


def test_differences_read_as_sentences() -> None:
    old = {"a": {"b": 1, "gone": True}, "same": "x"}
    new = {"a": {"b": 2}, "same": "x", "fresh": [1]}
    assert [str(change) for change in changes({"n": 1}, {"n": 1.0})] == ["n: 1 -> 1.0"]
    assert [str(change) for change in changes(1, 2)] == ["value: 1 -> 2"]
    assert [str(change) for change in changes(old, new)] == [
        "a.b: 1 -> 2",
        "a.gone: true -> (absent)",
        "fresh: (absent) -> [1]",
    ]
