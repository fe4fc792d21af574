"""The whole pipeline in one command: it ends well, is never done twice, and survives what kills it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from browser import Browser
from command import SMALL, TINY, call, outputs, processes_about, start, wait_until

from fundus_r1.stages import STAGES

pytestmark = [pytest.mark.e2e, pytest.mark.engines]

OUTSIDE = re.compile(
    r"""(?:src|href)\s*=\s*["'](?!data:|#|gallery/index\.html")|url\((?!data:)|@import|<script"""
)


def test_the_demo_leaves_a_report_that_asks_nobody_for_anything(demo: Path) -> None:
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert not OUTSIDE.search(page)
    assert "tiny and random" in page
    assert "not a medical device" in page
    assert page.count("data:image/") >= 6


def test_the_demo_leaves_nothing_running(demo: Path) -> None:
    assert processes_about(demo) == []


def test_the_demo_has_all_outputs_and_its_masked_images_gave_traces(demo: Path) -> None:
    with outputs(demo) as found:
        assert set(found) == set(STAGES)
        funnel = found["quality"].read_json("funnel.json")
        assert funnel["by_source"]["pixel"]["accepted"] >= 16
        assert funnel["accepted"] < funnel["traces"], "a random observer's findings must not all pass"
        rewards = [json.loads(line) for line in found["grpo"].read_bytes("rewards.jsonl").splitlines()]
        for step in rewards:
            assert step["score"] == pytest.approx(step["answer"] + step["format"] + step["process"], abs=1e-4)
        scores = found["evaluate"].read_bytes("scores.jsonl").decode()
        assert {"base", "sft", "grpo"} <= {json.loads(line)["model"] for line in scores.splitlines()}


def test_no_secret_is_left_in_the_outputs(demo: Path) -> None:
    texts = [path.read_text(errors="replace") for path in demo.iterdir() if path.is_file()]
    assert texts
    # A server's keys have twenty characters at least; names of secrets and of their entries are no secrets.
    assert not any(
        re.search(r"(?:secret|access).?key['\"]?\s*[:=]\s*['\"]?[\w-]{20}", text, re.IGNORECASE)
        for text in texts
    )


def test_the_same_again_is_ten_hits_and_fast(demo: Path) -> None:
    started = time.monotonic()
    done = call("run", "--spec", TINY, *SMALL, "--out", demo)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 of 10 stages were in the store" in done.stdout
    assert time.monotonic() - started < 60


def test_the_plan_says_what_a_change_would_run_and_why(demo: Path) -> None:
    done = call("plan", "--spec", TINY, *SMALL, "--set", "science.grpo.epochs=3", "--out", demo, timeout=120)
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:] if line and line[0] != " "}
    assert [name for name in STAGES if " hit " in rows[name]] == list(STAGES[: STAGES.index("grpo")])
    assert "epochs: 2 -> 3" in rows["grpo"]
    assert "grpo is another" in rows["evaluate"]


def _kill_worker(out: Path, process: subprocess.Popen[str]) -> None:
    child = next(
        step
        for step in psutil.Process(process.pid).children(recursive=True)
        if "ephemeral_component" in " ".join(step.cmdline()) and "sh" not in step.name()
    )
    os.kill(child.pid, signal.SIGKILL)


def _ready(process: subprocess.Popen[str], observing: Callable[[], bool]) -> bool:
    return observing() or process.poll() is not None


@pytest.mark.long
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_rows(demo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # Setup A trains nothing; all rows before the training are those of the demo.
    command = ("run", "--spec", TINY, *SMALL, "--set", "science.setup=A", "--out", out)
    events = out / "events.jsonl"

    def observing() -> bool:
        return events.exists() and any(
            '"findings"' in line and '"progress"' in line for line in events.read_text().splitlines()
        )

    kills = {
        "a stage is killed": lambda process: _kill_worker(out, process),
        "Ctrl-C": lambda process: process.send_signal(signal.SIGINT),
        "the command is killed": lambda process: process.kill(),
    }
    for name, kill in kills.items():
        process = start(*command)
        ready = partial(_ready, process, observing)
        wait_until(ready, 240, f"findings ({name})")
        if process.poll() is None:
            kill(process)
        told = "".join(process.communicate(timeout=120))
        assert process.returncode != 0, f"{name}: {told}"
        assert "Traceback" not in told, name
        wait_until(lambda: processes_about(out) == [], 30, f"the end of all processes after: {name}")

    done = call(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    with outputs(demo) as first, outputs(out) as second:
        for stage, file in [
            ("index", "samples.jsonl"),
            ("findings", "findings.jsonl"),
            ("traces", "traces.jsonl"),
            ("quality", "verdicts.jsonl"),
        ]:
            assert first[stage].record.fingerprint == second[stage].record.fingerprint
            assert first[stage].read_bytes(file) == second[stage].read_bytes(file), file


def test_the_report_opens_in_a_browser_without_an_error(demo: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        browser.open((demo / "report.html").as_uri())
        assert "Assumed values" in browser.run("document.body.textContent")
        assert browser.errors == []
        assert browser.requests == [(demo / "report.html").as_uri()]
        browser.run("document.querySelector('a[href=\"gallery/index.html\"]').click()")
        browser.wait("document.querySelectorAll('.trace-card').length > 0")
        assert browser.errors == []
