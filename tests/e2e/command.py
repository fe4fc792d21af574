"""The command as a user runs it, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from fundus_r1.local.run import open_place
from fundus_r1.spec import load_spec
from fundus_r1.stages import STAGES
from fundus_r1.stages.job import fingerprints
from fundus_r1.storage import open_store
from fundus_r1.storage.output import StageOutput, find_record

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "pipelines/specs/tiny.yaml"
SMALL = [
    "--set=science.index.synthetic.patients=6",
    "--set=science.index.synthetic.masked=18",
    "--set=science.index.synthetic.benchmark=4",
    "--set=science.trainset.limit=8",
    "--set=science.sft.epochs=4",
    "--set=science.evaluate.limit=12",
]
"""The laptop run, made smaller so that the tests stay short."""
COMMAND = Path(sys.executable).parent / "fundus-r1"


def start(*arguments: object) -> subprocess.Popen[str]:
    """Starts ``fundus-r1`` as the head of a session of its own."""
    return subprocess.Popen(
        [str(COMMAND), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def call(*arguments: object, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Runs ``fundus-r1`` to its end."""
    process = start(*arguments)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def processes_about(folder: Path) -> list[str]:
    """Command lines of living processes that name a folder or were started for it."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            about = str(folder) in line or str(folder) in process.environ().get("FUNDUS_R1_EVENTS", "")
            if about and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(line)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for {what}")
        time.sleep(0.1)


@contextmanager
def outputs(out: Path) -> Iterator[dict[str, StageOutput]]:
    """What a run left in its store."""
    spec = load_spec(out / "spec.yaml")
    with open_place(spec, out) as placed:
        store = open_store(placed.placement.store)
        known = fingerprints(spec.science)
        records = {name: find_record(store, name, known[name]) for name in STAGES}
        yield {name: StageOutput(store, record) for name, record in records.items() if record}
