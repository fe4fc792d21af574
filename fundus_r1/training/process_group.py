"""Starts the processes of a distributed training on this machine, and says why they failed.

torchrun ends the whole group when one process dies, and `processes.run_child` ends torchrun and
all below it when we die. Of a failed group people see one error: that of the process which
failed first by itself, not of those that then missed it. Each process leaves word in a file
(`reporting`); of one that was killed, torchrun's summary and the exit code tell.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fundus_r1 import processes
from fundus_r1.errors import FundusError, StageError
from fundus_r1.spec.base import Spec
from fundus_r1.spec.placement import SftPlace

LOG = "processes.log"
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SUMMARY = re.compile(r"rank\s*: (\d+) \(local_rank: \d+\)\s+exitcode\s*: (-\d+) \(pid")
_TOLD_LINES = 8


class Failure(Spec):
    """What a process says of its own end."""

    rank: int
    time: float
    what: str
    where: str = ""
    hint: str = ""
    transient: bool = False
    foreseen: bool = False
    """Whether it is one of our own errors, which no other process's end brings about."""


def rank() -> int:
    """Number of this process in its group; 0 if it is alone."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Processes in the group."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def reporting(folder: Path) -> Iterator[None]:
    """Leaves word in `folder` of an error that ends this process."""
    try:
        yield
    except FundusError as error:
        _leave(
            folder,
            Failure(
                rank=rank(),
                time=time.time(),
                what=error.what,
                where=error.where,
                hint=error.hint,
                transient=error.transient,
                foreseen=True,
            ),
        )
        raise
    except BaseException as error:
        lines = traceback.format_exc().rstrip().splitlines()[-_TOLD_LINES:]
        told = f"{type(error).__name__}: {error}"
        _leave(folder, Failure(rank=rank(), time=time.time(), what=told, where="\n".join(lines)))
        raise


def _leave(folder: Path, failure: Failure) -> None:
    (folder / f"failure-{failure.rank}.json").write_text(failure.model_dump_json(), encoding="utf-8")


def run(module: str, argument: Path, place: SftPlace, folder: Path) -> None:
    """Runs ``python -m <module> <argument>`` in each process of the group; all are gone afterwards.

    Args:
        module: what they run; it must use `reporting` with the same folder.
        argument: its only argument.
        place: launcher and number of processes.
        folder: for their log and their words.

    Raises:
        StageError: one of them failed; says which, and why.
    """
    worker = ["-m", module, str(argument)]
    environment = {key: value for key, value in os.environ.items() if key not in _RANK_VARIABLES}
    if place.launcher == "torchrun":
        options = ["--standalone", "--nnodes=1", "--local-addr=127.0.0.1"]
        options.append(f"--nproc-per-node={place.processes}")
        argv = [sys.executable, "-m", "torch.distributed.run", *options, *worker]
        environment.setdefault("OMP_NUM_THREADS", "1")
    else:
        argv = [sys.executable, *worker]
        # One process would otherwise take all GPUs, and share its batch out among them.
        environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    code = processes.run_child(argv, env=environment, log=folder / LOG, on_line=_relay)
    if code != 0:
        raise _explain(code, place, folder)


def _relay(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _explain(code: int, place: SftPlace, folder: Path) -> StageError:
    count = place.processes if place.launcher == "torchrun" else 1
    log = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    killed = [(int(number), -int(status)) for number, status in _SUMMARY.findall(log)]
    if place.launcher == "process" and code > 128:
        killed = [(0, code - 128)]
    for number, signum in killed:
        if signum != signal.SIGTERM:
            return StageError(
                f"Process {number} of {count} was ended by {signal.Signals(signum).name}",
                where=f"rank {number}",
                hint="SIGKILL mostly means that memory ran out: lower placement.sft.micro_batch_size or "
                "placement.sft.processes; the next try goes on from the last checkpoint",
                transient=True,
            )
    left = [Failure.model_validate_json(path.read_bytes()) for path in folder.glob("failure-*.json")]
    if not left:
        lines = "\n".join(log.rstrip().splitlines()[-_TOLD_LINES:])
        return StageError(f"The processes ended with exit code {code}", where=lines)
    first = min(left, key=lambda failure: (not failure.foreseen, failure.time))
    if first.foreseen:
        where = f"rank {first.rank}" + (f", {first.where}" if first.where else "")
        return StageError(first.what, where=where, hint=first.hint, transient=first.transient)
    return StageError(f"Process {first.rank} of {count} failed: {first.what}", where=first.where)
