from __future__ import annotations

import datetime
import email.utils

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.models.failures import UnusableAnswer, completion, refused, retry_after


@given(st.integers(0, 100_000))
def test_retry_after_is_read_in_all_its_forms(seconds: int) -> None:
    assert retry_after(httpx.Headers({"Retry-After": str(seconds)})) == seconds
    assert retry_after(httpx.Headers({"Retry-After-Ms": str(seconds)})) == seconds / 1000
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds + 5)
    read = retry_after(httpx.Headers({"Retry-After": email.utils.format_datetime(until, usegmt=True)}))
    assert read is not None and seconds <= read <= seconds + 5


@given(st.text(max_size=20))
def test_any_retry_after_is_a_time_to_wait_or_none(value: str) -> None:
    read = retry_after({"retry-after": value})
    assert read is None or 0 <= read < 1e9


@pytest.mark.parametrize("value", ["soon", "-3", "nan", "inf", "Wed, 99 Foo 2026", ""])
def test_a_retry_after_that_says_nothing_is_none(value: str) -> None:
    assert retry_after({"retry-after": value}) is None


def test_only_what_may_pass_is_transient() -> None:
    passing = {status for status in range(400, 600) if refused(status, "", {}).transient}
    assert passing == {408, 409, 425, 429, *range(500, 600)}
    assert {status for status in range(400, 600) if refused(status, "", {}).busy} == {429, 503, 529}


@given(st.binary(max_size=80))
def test_what_is_no_completion_never_becomes_one(data: bytes) -> None:
    with pytest.raises(UnusableAnswer):
        completion(data)


@pytest.mark.parametrize("cut", [0, 1, 20, 60])
def test_a_completion_that_is_cut_may_be_whole_the_next_time(cut: int) -> None:
    whole = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}]}'
    assert completion(whole)["choices"]
    with pytest.raises(UnusableAnswer) as raised:
        completion(whole[:cut])
    assert raised.value.failure.transient
