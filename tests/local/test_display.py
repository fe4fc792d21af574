"""The display follows events and keeps what the run's last words need."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from fundus_r1.local.display import Display
from fundus_r1.progress import EVENTS_FILE, Progress, emit


def test_a_plain_log_names_hits_runs_and_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS_FILE, str(events))
    out = io.StringIO()
    with Display(events, Console(file=out, width=100)) as display:
        emit("index", "hit", fingerprint="abc", made="2026-01-01")
        progress = Progress("sft", 3, "steps")
        for step in range(3):
            progress.advance(loss=1.0 / (step + 1))
        emit("sft", "done", seconds=1.5, counts={"steps": 3, "note": None})
        emit("grpo", "failed", error="out of prompts")
    assert (display.hits, display.ran) == (["index"], ["sft"])
    assert display.failures == [("grpo", "out of prompts")]
    text = out.getvalue()
    assert "in the store (abc)" in text
    assert text.count("[sft]") == 1, "progress is told now and then, not at each step"
    assert "loss 1" in text
    assert "steps 3" in text
    assert "None" not in text


def test_each_worker_has_its_rate_and_its_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS_FILE, str(events))
    out = io.StringIO()
    with Display(events, Console(file=out, width=100)):
        for worker, rate in ((0, 2.0), (1, 0.5)):
            emit(
                "findings",
                "progress",
                done=4,
                total=12,
                unit="images",
                worker=worker,
                rate=rate,
                eta_s=8 / rate,
            )
    text = out.getvalue()
    assert "[findings worker 0] 4/12 images, 2/s, 4 s left" in text
    assert "[findings worker 1] 4/12 images, 0.5/s, 16 s left" in text


def test_half_a_line_is_waited_for(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    with Display(events, Console(file=io.StringIO())) as display, events.open("a") as file:
        file.write('{"stage": "index", "kind": "hit", ')
        file.flush()
        file.write('"fingerprint": "f", "made": ""}\n')
    assert display.hits == ["index"]
