"""Starts the processes of a distributed training on this machine, and says why they failed.

torchrun, or Ray Train, ends the whole group when one process dies, and `processes.run_child` ends
the launcher and all below it when we die. Of a failed group people see one error: that of the process
which failed first by itself, not of those that then missed it. Each process leaves word in a file
(`reporting`); of one that was killed, the launcher's summary and the exit code tell.

In a pod of a PyTorchJob or a TrainJob the group is larger than this machine: Kubeflow says so by
``PET_NNODES`` and its like, which torchrun reads by itself. One such pod runs on each machine, all
with the same command.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fundus_r1 import processes
from fundus_r1.errors import FundusError, SpecError, StageError
from fundus_r1.spec.base import Spec
from fundus_r1.spec.placement import SftPlace
from fundus_r1.training.short_folder import short_folder

LOG = "processes.log"
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SUMMARY = re.compile(r"rank\s*: (\d+) \(local_rank: \d+\)\s+exitcode\s*: (-\d+) \(pid")
_TOLD_LINES = 8
KILLED = (
    "SIGKILL mostly means that memory ran out: lower placement.sft.micro_batch_size or "
    "placement.sft.processes; the next try goes on from the last checkpoint"
)
"""What to do about a process that was killed."""


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
        leave(
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
        leave(folder, Failure(rank=rank(), time=time.time(), what=told, where="\n".join(lines)))
        raise


def leave(folder: Path, failure: Failure) -> None:
    """Leaves word of a process's end."""
    (folder / f"failure-{failure.rank}.json").write_text(failure.model_dump_json(), encoding="utf-8")


def node() -> int:
    """Number of this process's machine in the group; 0 if there is but one."""
    return int(os.environ.get("GROUP_RANK", "0"))


def local_rank() -> int:
    """Number of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def nodes(environ: Mapping[str, str] = os.environ) -> int:
    """Machines in the group, as the environment of a PyTorchJob or TrainJob says.

    Raises:
        SpecError: their number is not fixed. It may change between tries, but not within one.
    """
    least, _, most = environ.get("PET_NNODES", "1").partition(":")
    if not least.isdigit() or int(least) < 1 or most not in ("", least):
        raise SpecError(
            f"The number of machines is {environ['PET_NNODES']!r}, which is no fixed number",
            where="PET_NNODES",
            hint="give the job a fixed number of replicas, without an elastic policy",
        )
    return int(least)


def size(place: SftPlace, environ: Mapping[str, str] = os.environ) -> int:
    """Processes in the group that `run` makes, on all its machines.

    Raises:
        SpecError: the number of machines is not fixed, or there are others than the spec asks for.
    """
    found = nodes(environ) if place.launcher == "torchrun" else 1
    if place.nodes not in (1, found):
        raise SpecError(
            f"SFT is to run on {place.nodes} machines, but its group has {found}",
            where="placement.sft.nodes",
            hint="set it to 1, or run the stage as a job on a cluster (placement.cluster)",
        )
    if place.launcher == "torchrun":
        return found * _on_each(place, environ)
    return place.processes if place.launcher == "ray" else 1


def _on_each(place: SftPlace, environ: Mapping[str, str]) -> int:
    given = environ.get("PET_NPROC_PER_NODE", "")
    return int(given) if given.isdigit() else place.processes


def run(module: str, argument: Path, place: SftPlace, folder: Path) -> None:
    """Runs ``<module>.main(<argument>)`` in each process of the group; all are gone afterwards.

    Args:
        module: what they run, as ``python -m <module> <argument>`` or, by Ray, through its function
            ``main``; it must use `reporting` with the same folder.
        argument: its only argument.
        place: launcher and number of processes.
        folder: for their log and their words.

    Raises:
        SpecError: the number of machines is not fixed.
        StageError: one of them failed; says which, and why.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _RANK_VARIABLES}
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    if place.launcher == "ray":
        code = _by_ray(module, argument, place, folder, environment)
    else:
        argv, more = _command(["-m", module, str(argument)], place)
        code = processes.run_child(argv, env=environment | more, log=folder / LOG, on_line=_relay)
    if code != 0:
        raise _explain(code, place, folder)


def _command(worker: list[str], place: SftPlace) -> tuple[list[str], dict[str, str]]:
    """The command that starts the group, and what its environment is to hold beside the usual."""
    if place.launcher == "process":
        # One process would otherwise take all GPUs, and share its batch out among them.
        device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        return [sys.executable, *worker], {"CUDA_VISIBLE_DEVICES": device}
    options = [f"--nproc-per-node={_on_each(place, os.environ)}"]
    more = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    if nodes() == 1:
        options += ["--standalone", "--nnodes=1", "--local-addr=127.0.0.1"]
    else:
        # torchrun takes the rest from PET_*; an older PyTorchJob tells the meeting point without it.
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if name in os.environ:
                more[f"PET_{name}"] = os.environ.get(f"PET_{name}", os.environ[name])
    return [sys.executable, "-m", "torch.distributed.run", *options, *worker], more


def _by_ray(module: str, argument: Path, place: SftPlace, folder: Path, environment: dict[str, str]) -> int:
    with short_folder() as short:
        argv = [sys.executable, "-m", "fundus_r1.training.ray_group"]
        argv += [module, str(argument), str(place.processes), str(folder), str(short)]
        more = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "RAY_ADDRESS": os.environ.get("RAY_ADDRESS", "local"),
            "RAY_DEDUP_LOGS": "0",
            "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
            "RAY_TRAIN_METRICS_ENABLED": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            # What is left of a failed group ends with Ray; it need not take leave of each other first.
            "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "1",
            "TMPDIR": str(short),
        }
        if more["RAY_ADDRESS"] == "local":
            # Ray would keep its token in the home folder, which may be read-only, and share it.
            more["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        return processes.run_child(argv, env=environment | more, log=folder / LOG, on_line=_relay)


def _relay(line: str) -> None:
    # Ray Train's actor of this name says every second that it misses Ray's dashboard.
    if "PlacementGroupCleaner" not in line:
        print(line, file=sys.stderr, flush=True)


def _explain(code: int, place: SftPlace, folder: Path) -> StageError:
    count = size(place)
    log = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    killed = [(int(number), -int(status)) for number, status in _SUMMARY.findall(log)]
    if place.launcher == "process" and code > 128:
        killed = [(0, code - 128)]
    for number, signum in killed:
        if signum != signal.SIGTERM:
            return StageError(
                f"Process {number} of {count} was ended by {signal.Signals(signum).name}",
                where=f"rank {number}",
                hint=KILLED,
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
