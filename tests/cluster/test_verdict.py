from __future__ import annotations

import datetime
from typing import Any

import pytest

from fundus_r1.cluster.child import PYTORCHJOB
from fundus_r1.cluster.verdict import ENDED_S, PASSING_S, SILENT_S, STUCK_S, Ending, Verdict, Watchman
from fundus_r1.spec.cluster import Clocks

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def job(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "job", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}


def pod(phase: str, state: dict[str, Any] | None = None) -> dict[str, Any]:
    statuses = [{"name": "main", "state": state}] if state else []
    return {
        "metadata": {"name": "pod", "labels": {}},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": phase, "containerStatuses": statuses},
    }


class Watched:
    """A watchman whose time a test sets, in seconds after the job was made."""

    def __init__(self, **clocks: float | None):
        self.watchman = Watchman(PYTORCHJOB, Clocks(**({"queue_s": None, "run_s": None} | clocks)))

    def at(self, second: float, *pods: dict[str, Any], found: dict[str, Any] | None = None) -> Verdict | None:
        now = START + datetime.timedelta(seconds=second)
        return self.watchman.look(found or job(), pods, now)


def ending(verdict: Verdict | None) -> Ending | None:
    return None if verdict is None else verdict.ending


def test_a_job_waits_for_ever_where_its_queue_has_no_clock() -> None:
    watched = Watched(run_s=10)
    assert watched.at(0, pod("Pending")) is None
    assert watched.at(10**8, pod("Pending")) is None


def test_the_wait_is_counted_from_when_the_job_was_made() -> None:
    watched = Watched(queue_s=100)
    assert watched.at(99, pod("Pending")) is None
    verdict = watched.at(101, pod("Pending"))
    assert verdict is not None
    assert (verdict.ending, verdict.transient) == (Ending.WAITED, True)


def test_the_wait_does_not_shorten_the_run() -> None:
    watched = Watched(queue_s=100, run_s=100)
    watched.at(99, pod("Pending"))
    assert watched.at(100, pod("Running")) is None
    assert watched.at(199, pod("Running")) is None
    assert ending(watched.at(201, pod("Running"))) is Ending.OVERRAN


def test_the_run_is_counted_from_when_its_pods_began_also_by_a_later_launcher() -> None:
    running = {"running": {"startedAt": "2026-01-01T00:10:00Z"}}
    assert Watched(run_s=100).at(699, pod("Running", running)) is None
    assert ending(Watched(run_s=100).at(701, pod("Running", running))) is Ending.OVERRAN


def test_a_preempted_job_waits_anew() -> None:
    watched = Watched(queue_s=100)
    watched.at(50, pod("Running"))
    watched.at(1000, pod("Pending"))
    assert watched.at(1099, pod("Pending")) is None
    assert ending(watched.at(1101, pod("Pending"))) is Ending.WAITED


@pytest.mark.parametrize(("kind", "end"), [("Succeeded", Ending.SUCCEEDED), ("Failed", Ending.FAILED)])
def test_the_jobs_own_word_is_final(kind: str, end: Ending) -> None:
    found = job(conditions=[{"type": kind, "status": "True"}])
    assert ending(Watched().at(0, pod("Running"), found=found)) is end


def test_pods_that_ended_are_believed_after_the_operator_had_time_to_speak() -> None:
    watched = Watched()
    assert watched.at(0, pod("Failed")) is None
    assert watched.at(ENDED_S - 1, pod("Failed")) is None
    assert ending(watched.at(ENDED_S, pod("Failed"))) is Ending.FAILED


def test_a_failed_pod_beside_a_new_one_is_the_operators_for_longer() -> None:
    watched = Watched()
    watched.at(0, pod("Failed"), pod("Pending"))
    assert watched.at(ENDED_S, pod("Failed"), pod("Pending")) is None
    assert ending(watched.at(SILENT_S, pod("Failed"), pod("Pending"))) is Ending.FAILED


def test_pods_that_are_started_again_go_on() -> None:
    watched = Watched()
    watched.at(0, pod("Failed"))
    assert watched.at(ENDED_S - 1, pod("Running")) is None
    assert watched.at(ENDED_S + 1, pod("Failed")) is None


@pytest.mark.parametrize(
    ("message", "patience_s"),
    [("manifest for image not found", STUCK_S), ("dial tcp: i/o timeout", PASSING_S)],
)
def test_an_image_that_is_not_there_is_waited_for_shorter_than_a_registry_that_is_away(
    message: str, patience_s: float
) -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": message}}
    watched = Watched()
    assert watched.at(0, pod("Pending", waiting)) is None
    assert watched.at(patience_s - 1, pod("Pending", waiting)) is None
    assert ending(watched.at(patience_s, pod("Pending", waiting))) is Ending.STUCK


def test_a_deleted_job_is_gone() -> None:
    verdict = Watched().watchman.look(None, [], START)
    assert verdict is not None
    assert (verdict.ending, verdict.transient) == (Ending.GONE, True)
