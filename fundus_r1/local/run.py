"""One command, one run: checks the output folder, starts a store, runs the pipeline, ends all.

The pipeline runs in a child process, whose whole tree is ended with it: after success, failure,
Ctrl-C, and when this process itself is killed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fundus_r1 import processes
from fundus_r1.errors import FundusError, MachineError, SpecError, StageError
from fundus_r1.local.display import Display
from fundus_r1.progress import EVENTS_FILE
from fundus_r1.spec import RunSpec, dump_spec
from fundus_r1.stages import STAGES
from fundus_r1.stages.job import fingerprints
from fundus_r1.stages.plan import Planned, plan
from fundus_r1.stages.resolve import demand_weights, resolve
from fundus_r1.storage import open_store
from fundus_r1.storage.output import StageOutput, file_sha256, find_record

REPORT = "report.html"
GALLERY = "gallery"
SPEC = "spec.yaml"
"""The run's resolved spec, without the address of a server that lives no longer than the run."""
PLACED = "placed.yaml"
ACCESS_KEY = "FUNDUS_R1_S3_ACCESS_KEY"
SECRET_KEY = "FUNDUS_R1_S3_SECRET_KEY"


@dataclass(frozen=True)
class Ended:
    """How a local run ended well."""

    report: Path
    hits: tuple[str, ...]
    ran: tuple[str, ...]


def with_data(spec: RunSpec, data: list[Path]) -> RunSpec:
    """The spec with further data folders, as absolute paths."""
    if not data:
        return spec
    for folder in data:
        if not folder.is_dir():
            raise SpecError(
                "The data folder does not exist" if not folder.exists() else "The data path is no folder",
                where=str(folder),
                hint="give a folder that holds a dataset or a benchmark in its official layout",
            )
    roots = (*spec.placement.data, *(str(folder.resolve()) for folder in data))
    return spec.model_copy(update={"placement": spec.placement.model_copy(update={"data": roots})})


def prepare_folder(out: Path, min_free_gib: float) -> None:
    """Makes the output folder, or says why it cannot hold a run.

    Raises:
        MachineError: it cannot be made or written, or its disk is nearly full.
    """
    probe = out / ".writable"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"fundus-r1")
        probe.unlink()
    except OSError as error:
        raise MachineError(
            f"The output folder cannot be written: {error.strerror}",
            where=str(out),
            hint="choose another one: --out FOLDER (make demo OUT=FOLDER)",
        ) from error
    free = shutil.disk_usage(out).free / 2**30
    if free < min_free_gib:
        raise MachineError(
            f"The disk of the output folder has {free:.1f} GiB free, a run needs {min_free_gib:g} GiB",
            where=str(out),
            hint="free some disk, choose another folder with --out, or lower placement.min_free_gib",
        )


@contextmanager
def open_place(spec: RunSpec, out: Path) -> Iterator[RunSpec]:
    """The spec with a store that answers: the one it names, or a server for the time of the run."""
    place = spec.placement.store
    if place.is_placed:
        yield spec
        return
    if place.kind == "folder":
        yield _with_store(spec, place.model_copy(update={"path": str((out / "store").resolve())}))
        return
    from fundus_r1.storage.server import LocalS3

    with LocalS3(out / "store", port=place.port) as server:
        os.environ[ACCESS_KEY], os.environ[SECRET_KEY] = server.access_key, server.secret_key
        yield _with_store(spec, place.model_copy(update={"endpoint": server.endpoint}))


def _with_store(spec: RunSpec, place: object) -> RunSpec:
    return spec.model_copy(update={"placement": spec.placement.model_copy(update={"store": place})})


def plan_here(spec: RunSpec, out: Path) -> list[Planned]:
    """What a run in this folder would do."""
    prepare_folder(out, min_free_gib=0)
    with open_place(resolve(spec), out) as placed:
        return plan(placed, open_store(placed.placement.store))


def run_here(spec: RunSpec, out: Path, console: Console) -> Ended:
    """Runs the whole pipeline and leaves its report, gallery, spec, compiled pipeline and log in `out`.

    Raises:
        FundusError: the run could not be started, or a stage failed.
    """
    out = out.resolve()
    prepare_folder(out, spec.placement.min_free_gib)
    demand_weights(spec)
    spec = resolve(spec)
    (out / SPEC).write_text(dump_spec(spec), encoding="utf-8")
    with open_place(spec, out) as placed:
        (out / PLACED).write_text(dump_spec(placed), encoding="utf-8")
        console.print(
            f"Fundus-R1 run [bold]{spec.name}[/]: setup {spec.science.setup}, "
            f"outputs in {out}, details in {out / 'run.log'}",
            highlight=False,
            soft_wrap=True,
        )
        display = _run_child(out, console)
        store = open_store(placed.placement.store)
        record = find_record(store, "report", fingerprints(spec.science)["report"])
        if record is None:
            raise StageError("The pipeline ended without a report", where=str(out / "run.log"))
        written = StageOutput(store, record)
        written.download_file(REPORT, out / REPORT)
        bring_folder(written, GALLERY, out / GALLERY)
    return Ended(out / REPORT, tuple(_once(display.hits)), tuple(_once(display.ran)))


def bring_folder(output: StageOutput, name: str, folder: Path) -> int:
    """Makes a local folder hold exactly the files ``<name>/...`` of an output; how many were brought.

    A file that is there with the right content is not brought again, and one that another run left
    is removed.
    """
    files = {file.removeprefix(f"{name}/"): file for file in output.names(f"{name}/")}
    for old in [path for path in folder.rglob("*") if path.is_file()]:
        file = files.get(old.relative_to(folder).as_posix())
        if file is None:
            old.unlink()
        elif file_sha256(old) == output.record.files[file].sha256:
            del files[old.relative_to(folder).as_posix()]
    for place, file in files.items():
        output.download_file(file, folder / place)
    return len(files)


def _once(stages: list[str]) -> list[str]:
    return [name for name in STAGES if name in stages]


def _run_child(out: Path, console: Console) -> Display:
    events, log = out / "events.jsonl", out / "run.log"
    events.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "fundus_r1.local.pipelines"]
    argv += [str(out / PLACED), str(out / "pipeline.yaml"), str(out / "kfp")]
    env = {**os.environ, EVENTS_FILE: str(events), processes.SUPERVISOR: str(os.getpid())}
    with Display(events, console) as display:
        code = processes.run_child(argv, env=env, log=log)
    (out / PLACED).unlink()
    # Kubeflow's own copies of the step artifacts; the outputs are in the store.
    shutil.rmtree(out / "kfp", ignore_errors=True)
    if code != 0:
        raise _failure(display, code, log)
    return display


def _failure(display: Display, code: int, log: Path) -> FundusError:
    again = "the same command goes on from what was done"
    if display.failures:
        stage, error = display.failures[0]
        return StageError(f"The stage {stage} failed: {error}", where=str(log), hint=again)
    tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.exists() else []
    return StageError(
        f"The pipeline ended with exit code {code}: {' '.join(tail)[-300:]}", where=str(log), hint=again
    )
