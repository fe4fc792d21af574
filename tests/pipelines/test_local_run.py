"""The pipeline under kfp.local: it begins, fails where it must, and its exit handler closes the record."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from fundus_r1.spec import RunSpec, dump_spec, load_spec
from fundus_r1.stages import STAGES, get_stage
from fundus_r1.stages.job import fingerprints
from fundus_r1.stages.runs import RunRecord, all_runs
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "report": {"report.html": b"<h1>the report</h1>", "gallery.html": b"<h1>the gallery</h1>"},
    "evaluate": {
        "finding_quality.jsonl": b'{"method": "ours", "finding": "drusen", "images": 4, "positives": 1, '
        b'"sensitivity": 1.0, "specificity": 1.0, "s2": 1.0}\n'
    },
}
"""Stage -> what its step shows of its output."""


def run(spec: RunSpec, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the pipeline as `fundus-r1 run` does, in a child process."""
    (folder / "spec.yaml").write_text(dump_spec(spec), encoding="utf-8")
    command = [sys.executable, "-m", "fundus_r1.local.pipelines"]
    command += [str(folder / name) for name in ("spec.yaml", "pipeline.yaml", "kfp")]
    env = {**os.environ, "NO_COLOR": "1", "FUNDUS_R1_EVENTS": str(folder / "events.jsonl")}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def spec(folder: Path, *sets: str) -> RunSpec:
    # Neither data nor any to be drawn: the stage index fails within a second.
    nothing = ["science.index.datasets=[]", "science.index.benchmarks=[]", "science.index.synthetic=null"]
    store = f"placement.store={{kind: folder, path: {folder / 'store'}}}"
    return load_spec(ROOT / "pipelines/specs/tiny.yaml", [*nothing, store, *sets])


def record(folder: Path) -> RunRecord:
    (found,) = all_runs(FolderStore(folder / "store"))
    return found


def events(folder: Path) -> str:
    return (folder / "events.jsonl").read_text(encoding="utf-8")


def test_a_run_that_fails_is_closed_with_what_it_was(tmp_path: Path) -> None:
    wanted = spec(tmp_path)
    done = run(wanted, tmp_path)
    assert done.returncode == 1, done.stdout[-2000:]
    found = record(tmp_path)
    assert found.state == "FAILED" and found.ended is not None and found.error
    assert found.fingerprints == fingerprints(wanted.science)
    assert found.spec.science == wanted.science and found.run_id.isdigit()
    (table,) = (tmp_path / "kfp").glob("*/preflight/table")
    assert re.search(r"\| ✓ \| store.* \|", table.read_text(encoding="utf-8"))
    assert '"stage": "index", "kind": "failed"' in events(tmp_path)


def test_a_run_that_would_lack_something_computes_nothing(tmp_path: Path) -> None:
    lacking = spec(tmp_path, f"placement.data=['{tmp_path / 'absent'}']", "science.index.data_digest='0'")
    done = run(lacking, tmp_path)
    assert done.returncode == 1, done.stdout[-2000:]
    assert '"stage": "preflight", "kind": "failed"' in events(tmp_path) and "absent" in events(tmp_path)
    assert '"stage": "mirror"' not in events(tmp_path) and '"stage": "index"' not in events(tmp_path)
    found = record(tmp_path)
    assert found.state == "FAILED" and not found.fingerprints
    # The step that failed shows nothing in Kubeflow; the exit handler does.
    (page,) = (tmp_path / "kfp").glob("*/finish/ending")
    assert re.search(
        r"## Preflight of tiny\n(.*\n)*\| \*\*✗\*\* \| data .*absent", page.read_text(encoding="utf-8")
    )


def fill(store: FolderStore, wanted: RunSpec) -> None:
    """Lays an output of each stage into a store, as an earlier run would have left it."""
    known = fingerprints(wanted.science)
    for stage in STAGES:
        writer = OutputWriter(store, stage, known[stage])
        for name, data in FILES.get(stage, {}).items():
            writer.write_bytes(name, data)
        writer.close(
            revision=get_stage(stage).revision, science={}, prompts={}, inputs={}, models={},
            counts={"rows": 3, "kind": stage}, started=datetime.datetime.now(datetime.UTC),
        )  # fmt: skip


def test_a_run_whose_outputs_are_all_there_ends_well_and_shows_them(tmp_path: Path) -> None:
    wanted = spec(tmp_path)
    fill(FolderStore(tmp_path / "store"), wanted)
    done = run(wanted, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    hits = [json.loads(line)["stage"] for line in events(tmp_path).splitlines() if '"kind": "hit"' in line]
    assert sorted(hits) == sorted(STAGES)
    found = record(tmp_path)
    assert found.state == "SUCCEEDED" and found.images == {} and found.unpinned == ()

    def shown(step: str, name: str) -> str:
        (path,) = (tmp_path / "kfp").glob(f"*/{step}/{name}")
        return path.read_text(encoding="utf-8")

    assert shown("report", "page") == "<h1>the report</h1>"
    assert all("| rows | 3 |" in shown(step, "summary") for step in ("index", "sft", "grpo", "quality"))
    assert "tiny: SUCCEEDED" in shown("finish", "ending")
    told = shown("evaluate", "executor_output.json")
    assert '"rows": 3.0' in told and '"confusionMatrix"' in told and '"present"' in told
    # Nothing was missing, so no worker was started.
    assert not list((tmp_path / "kfp").glob("*/findings-worker"))
