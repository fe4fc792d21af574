from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster.scripted import eventually, pod_labels
from kube_server import KubeServer

from fundus_r1.cluster import logs as subject
from fundus_r1.cluster.child import PODS
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.logs import TAIL, Logs
from fundus_r1.storage.folder import FolderStore

Make = Callable[..., Logs]


@pytest.fixture
def make(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    for name in ("_TURN_S", "_SHORTEST_S", "RUNNING_S"):
        monkeypatch.setattr(subject, name, 0.05)
    made: list[Logs] = []

    def make(store: FolderStore | None = None, adopted: bool = False) -> Logs:
        folder = tmp_path / f"logs-{len(made)}"
        folder.mkdir()
        made.append(Logs(cluster, folder, store, "jobs/job/logs", adopted=adopted))
        return made[-1]

    yield make
    for logs in made:
        logs.closed.set()


def update(kube: KubeServer, logs: Logs, *names: str) -> None:
    logs.update([found for name in names if (found := kube.read(PODS, name))])


def lines(store: FolderStore, pod: str) -> list[str]:
    data = store.get(f"jobs/job/logs/{pod}.log")
    assert data is not None
    return [line.split(" ", 1)[1] for line in data.decode().splitlines()]


def test_the_lines_of_all_pods_are_shown_with_their_roles(
    kube: KubeServer, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = make()
    kube.pod("a", pod_labels(), "Running")
    kube.pod("b", pod_labels(index=1), "Running")
    kube.pod("c", pod_labels(index=2), "Pending")
    kube.say("a", "one", "two")
    kube.say("b", "eins")
    update(kube, logs, "a", "b", "c")
    eventually(lambda: len(logs.tails().get("a", [])) == 2 and logs.tails()["b"])
    kube.say("a", "three")
    eventually(lambda: len(logs.tails()["a"]) == 3)
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("[master]")] == [
        "[master] one", "[master] two", "[master] three",
    ]  # fmt: skip
    assert "[worker-1] eins" in told
    assert "c" not in logs.tails()


def test_no_line_is_lost_or_double_where_connections_are_cut(
    kube: KubeServer, make: Make, store: FolderStore
) -> None:
    logs = make(store)
    kube.pod("a", pod_labels(), "Running")
    update(kube, logs, "a")
    said = []
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    for number in range(60):
        at += datetime.timedelta(milliseconds=110)
        text = "the same" if number % 3 == 0 else f"line {number}"
        # Two lines of one moment, and one that comes a little late.
        kube.say("a", text, text, at=at)
        kube.say("a", f"late {number}", at=at - datetime.timedelta(milliseconds=30))
        said += [text, text, f"late {number}"]
        if number % 7 == 0:
            kube.drop_streams()
        time.sleep(0.01)
    kube.phase("a", "Succeeded")
    update(kube, logs, "a")
    logs.finish()
    assert lines(store, "a") == said
    assert len(kube.asked("GET", "/a/log")) > 5


def test_a_log_that_cannot_be_read_is_said_once_and_is_no_failure(
    kube: KubeServer, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = make()
    kube.pod("a", pod_labels(), "Running")
    kube.fail("GET", "/a/log", 500, times=3)
    update(kube, logs, "a")
    kube.wait_for("GET", "/a/log", 4)
    kube.say("a", "at last")
    eventually(lambda: logs.tails()["a"] == ["at last"])
    assert capsys.readouterr().err.count("its log cannot be read") == 1


def test_only_the_last_lines_stay_in_memory_and_all_in_the_store(
    kube: KubeServer, make: Make, store: FolderStore
) -> None:
    logs = make(store)
    kube.pod("a", pod_labels(), "Running")
    kube.say("a", *(f"line {number}" for number in range(3 * TAIL)))
    kube.phase("a", "Failed")
    update(kube, logs, "a")
    logs.finish()
    assert logs.tails()["a"] == [f"line {number}" for number in range(2 * TAIL, 3 * TAIL)]
    assert len(lines(store, "a")) == 3 * TAIL


def test_a_second_launcher_goes_on_from_what_the_first_has_kept(
    kube: KubeServer, make: Make, store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    kube.pod("a", pod_labels(), "Running")
    kube.say("a", "one", at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    first = make(store)
    update(kube, first, "a")
    eventually(lambda: first.tails()["a"] == ["one"])
    first.finish()
    kube.said["a"].clear()  # the node has turned its log over
    kube.say("a", "two")
    kube.phase("a", "Succeeded")
    capsys.readouterr()
    second = make(store, adopted=True)
    update(kube, second, "a")
    second.finish()
    assert lines(store, "a") == ["one", "two"]
    assert capsys.readouterr().err == "[master] two\n"


def test_pods_of_one_name_share_a_log(kube: KubeServer, make: Make, store: FolderStore) -> None:
    logs = make(store)
    for text in ("first life", "second life"):
        kube.pod("a", pod_labels(), "Running")
        kube.say("a", text)
        update(kube, logs, "a")
        eventually(lambda text=text: any(text in tail for tail in logs.tails()["a"]))
        kube.phase("a", "Failed")
        update(kube, logs, "a")
        kube.remove(PODS, "a")
        kube.said["a"].clear()
    logs.finish()
    assert lines(store, "a") == ["first life", "second life"]
