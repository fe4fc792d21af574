"""Following a run: what is told, what is borne, and when it is given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fundus_r1.errors import ClusterError
from fundus_r1.local.follow import follow
from fundus_r1.local.kubeflow import RunState, Step

AWAY = ClusterError("no answer", transient=True)


def looks(*answers: RunState | ClusterError) -> Callable[[], RunState]:
    left = list(answers)

    def look() -> RunState:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    return look


def run(state: str, *steps: tuple[str, str]) -> RunState:
    return RunState(state, tuple(Step(f"{n}-{name}", name, how) for n, (name, how) in enumerate(steps)))


def test_there_is_one_pause_between_two_looks_and_none_after_the_last() -> None:
    waits: list[float] = []
    look = looks(run("RUNNING"), run("RUNNING"), run("SUCCEEDED"))
    assert follow(look, print, poll_s=7.0, sleep=waits.append).state == "SUCCEEDED"
    assert waits == [7.0, 7.0]


def test_steps_of_one_name_are_told_apart() -> None:
    """The workers of `findings` have one name."""
    said: list[str] = []
    first = run("RUNNING", ("worker", "RUNNING"), ("worker", "RUNNING"))
    second = run("SUCCEEDED", ("worker", "SUCCEEDED"), ("worker", "RUNNING"))
    follow(looks(first, second), said.append, sleep=lambda s: None)
    assert [line.split()[1] for line in said] == ["running", "running", "succeeded"]


def test_an_outage_is_told_once_and_waited_out() -> None:
    said: list[str] = []
    look = looks(run("RUNNING"), AWAY, AWAY, AWAY, run("FAILED"))
    assert follow(look, said.append, sleep=lambda s: None).state == "FAILED"
    assert [line.partition(":")[0] for line in said] == [
        "the server is away, which is waited out", "the server answers again",
    ]  # fmt: skip


def test_a_server_that_is_away_for_too_long_is_given_up() -> None:
    waits: list[float] = []
    with pytest.raises(ClusterError) as error:
        follow(looks(run("RUNNING"), AWAY), print, poll_s=10.0, patience_s=60.0, sleep=waits.append)
    assert error.value.transient
    assert sum(waits) == 10.0 + 60.0


def test_a_refusal_is_not_waited_out() -> None:
    waits: list[float] = []
    with pytest.raises(ClusterError, match="who asks"):
        follow(looks(ClusterError("who asks")), print, sleep=waits.append)
    assert waits == []
