from __future__ import annotations

import threading

import pytest

from fundus_r1.errors import ModelError
from fundus_r1.rewards.missing import SOON, MissingVerdicts


def test_up_to_the_share_a_step_may_go_on() -> None:
    account = MissingVerdicts(0.1)
    for place in range(400):
        account.count(1, asked=1, missing=int(place % 10 == 9))
    account.count(2, asked=1, missing=0)


def test_one_more_ends_it_and_the_message_says_what_was_seen() -> None:
    account = MissingVerdicts(0.1)
    account.count(7, asked=200, missing=20, reason="cut off")
    with pytest.raises(ModelError) as caught:
        account.count(7, asked=1, missing=1, reason="The endpoint does not answer")
    told = str(caught.value)
    assert "21 of 201 verdicts that step 7 asked" in told and "The endpoint does not answer" in told
    assert "bad_share" in told and caught.value.transient


def test_a_few_failures_at_the_beginning_of_a_large_step_end_nothing() -> None:
    account = MissingVerdicts(0.1)
    account.count(1, asked=6, missing=6)
    account.count(1, asked=58, missing=0)
    account.count(2, asked=1, missing=0)


def test_every_step_is_counted_by_itself() -> None:
    account = MissingVerdicts(0.1)
    for step in range(1, 50):
        account.count(step, asked=8, missing=6)


def test_a_judge_that_is_down_is_told_soon() -> None:
    account = MissingVerdicts(0.25)
    for _ in range(SOON // 4):
        account.count(None, asked=1, missing=1)
    with pytest.raises(ModelError, match="verdicts that a step asked"):
        account.count(None, asked=1, missing=1)


def test_a_share_of_one_ends_nothing_and_a_share_of_none_ends_at_once() -> None:
    MissingVerdicts(1.0).count(1, asked=1000, missing=1000)
    with pytest.raises(ModelError):
        MissingVerdicts(0.0).count(1, asked=1000, missing=1)


def test_threads_lose_no_count() -> None:
    account = MissingVerdicts(0.5)

    def half() -> None:
        for place in range(2000):
            account.count(1, asked=1, missing=place % 2)

    threads = [threading.Thread(target=half) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(ModelError, match="4001 of 8001 verdicts"):
        account.count(1, asked=1, missing=1)
