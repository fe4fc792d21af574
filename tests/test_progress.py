"""Progress events."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fundus_r1 import progress
from fundus_r1.progress import EVENTS_FILE, Progress, describe, emit


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(EVENTS_FILE, str(tmp_path / "events.jsonl"))
    return tmp_path / "events.jsonl"


def read(events: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]


def test_an_event_is_a_json_line(events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    emit("index", "start", dataset="Ärzte", counts={"samples": 3})
    (event,) = read(events)
    assert event.pop("time")
    assert event == {"stage": "index", "kind": "start", "dataset": "Ärzte", "counts": {"samples": 3}}
    assert capsys.readouterr().err == ""


def test_lines_of_many_writers_stay_whole(events: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: emit("findings", "note", text=str(n) * 2000), range(200)))
    assert len(read(events)) == 200


def test_progress_counts_and_estimates(events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    told = Progress("sft", 10, "steps", worker=1)
    now += 4
    told.advance(2, loss=0.5)
    now += 4
    told.set(4)
    first, second = read(events)
    assert (first["done"], first["total"], first["unit"], first["worker"]) == (2, 10, "steps", 1)
    assert (first["rate"], first["eta_s"], first["loss"]) == (0.5, 16.0, 0.5)
    assert (second["done"], second["eta_s"]) == (4, 12.0)


def test_a_share_that_was_estimated_too_small_grows(events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    told = Progress("findings", 2, "images", worker=0)
    now = 60.0
    told.begin()
    now = 62.0
    told.advance(4)
    (event,) = read(events)
    assert (event["done"], event["total"], event["eta_s"], event["rate"]) == (4, 4, 0.0, 2.0)


def test_without_a_total_there_is_no_estimate(events: Path) -> None:
    Progress("grpo", None, "steps").advance()
    assert read(events)[0]["eta_s"] is None


def test_without_a_listener_plain_lines_come_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(EVENTS_FILE, raising=False)
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    told = Progress("index", 100, "images")
    for _ in range(99):
        now += 1
        told.advance()
    assert len(capsys.readouterr().err.splitlines()) == 9
    told.advance()
    assert "100/100 images" in capsys.readouterr().err
    emit("index", "done", seconds=3)
    assert capsys.readouterr().err == "[index] done seconds=3\n"


def test_a_line_reads_well() -> None:
    line = describe(3, 12, "steps", 0.5, 18.0, "sft", {"loss": 0.123456, "split": "train"})
    assert line == "[sft] 3/12 steps, 0.5/s, 18 s left, loss 0.1235, split train"
    assert describe(3, None, "images", 2.0, None, "index", {}) == "[index] 3 images, 2/s"
