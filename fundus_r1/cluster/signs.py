"""What the last lines of a pod's log say about why it failed: a table of signs, read from the top.

A pod that only lost its peers says so in many words, and so does NCCL in all pods at once. So each sign
carries a `Blame`: how far it tells of a fault of this very pod. Our own error text, which is made to be
read, is quoted wherever there is one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from fundus_r1.errors import EXIT_TRANSIENT
from fundus_r1.training.grpo_watch import bare


class Blame(IntEnum):
    """How much a fault explains; of several, the least is the culprit's."""

    CLOCK = 0
    """The job's time was over, and all its pods were ended for it."""
    OWN = 1
    """The pod failed by itself, and it is known by what."""
    AROUND = 2
    """Something around the pods: a quota, a queue, a pod that finds no room, Ray's head."""
    CRASH = 3
    """The pod failed, nothing tells by what."""
    SHARED = 4
    """What all pods of a group meet when one of them, or the network between them, fails."""
    PEER = 5
    """The pod lost another pod."""
    ENDED = 6
    """The pod was told to end."""
    NOTHING = 7
    """Nothing is known."""


@dataclass(frozen=True)
class Reading:
    """What a log, or a pod, or an event says."""

    kind: str
    """Short name of the kind of failure."""
    said: str
    """What happened, going on after the name of a pod or of a stage."""
    hint: str
    """What to do; ``<stage>`` stands for the stage's name."""
    transient: bool
    """Whether another try may help."""
    blame: Blame


@dataclass(frozen=True)
class OwnError:
    """The text of a `FundusError`, as the command prints it."""

    what: str
    where: str
    hint: str


@dataclass(frozen=True)
class _Sign:
    kind: str
    pattern: re.Pattern[str]
    said: str
    hint: str
    transient: bool
    blame: Blame


_MEMORY_HINT = (
    "lower micro_batch_size in the stage's placement, turn gradient_checkpointing on, or share the model "
    "out further (deepspeed: zero3, more processes)"
)
_SIGNS = (
    _Sign(
        "CUDA out of memory",
        re.compile(r"CUDA out of memory|CUDA error: out of memory|torch\.(cuda\.)?OutOfMemoryError"),
        "ran out of GPU memory",
        _MEMORY_HINT,
        False,
        Blame.OWN,
    ),
    _Sign(
        "OOMKilled",
        re.compile(r"node running low on memory|ray\.exceptions\.OutOfMemoryError"),
        "used more memory than it has, and Ray killed a process",
        "raise placement.cluster.<stage>.resources.memory (shared_memory counts as memory)",
        False,
        Blame.OWN,
    ),
    _Sign(
        "shared memory full",
        re.compile(r"insufficient shared memory|Bus error|No space left.*/dev/shm|/dev/shm.*No space"),
        "has too little shared memory",
        "raise placement.cluster.<stage>.resources.shared_memory (it counts as memory)",
        False,
        Blame.OWN,
    ),
    _Sign(
        "disk full",
        re.compile(r"No space left on device|Disk quota exceeded"),
        "has no disk left",
        "raise placement.cluster.<stage>.resources.scratch, or look at the shared claim's size",
        False,
        Blame.OWN,
    ),
    _Sign(
        "GPU fault",
        re.compile(r"uncorrectable.*ECC|fallen off the bus|GPU is lost|no CUDA-capable device|NVRM: Xid"),
        "met a fault of its GPU",
        "have the node looked at (nvidia-smi, dcgm) and kept out; another try may get a sound one",
        True,
        Blame.OWN,
    ),
    _Sign(
        "store unreachable",
        re.compile(r"The S3 store cannot be reached"),
        "could not reach the store",
        "look whether the store runs, and whether network policies let the pods reach it",
        True,
        Blame.OWN,
    ),
    _Sign(
        "NCCL",
        re.compile(r"ibv_\w+.*(fail|error|[Cc]annot)|NET/IB.*(error|fail)|libibverbs.*(fail|[Ww]arn)"),
        "could not use InfiniBand or RDMA",
        "ask for the adapter in extra_resources (such as rdma/hca), let pods lock memory, or turn it off: "
        "placement.cluster.<stage>.env NCCL_IB_DISABLE=1",
        False,
        Blame.SHARED,
    ),
    _Sign(
        "NCCL",
        re.compile(r"unhandled system error|ncclSystemError|no socket interface found|unhandled cuda error"),
        "could not set up NCCL",
        "name the network in placement.cluster.<stage>.env (NCCL_SOCKET_IFNAME), look at shared_memory, "
        "and set NCCL_DEBUG=INFO for its own words",
        False,
        Blame.SHARED,
    ),
    _Sign(
        "NCCL",
        re.compile(r"Watchdog caught collective|ProcessGroupNCCL.*time[d ]?-?out|NCCL.*time ?out"),
        "waited in vain for a collective operation of NCCL",
        "look at the other pods' last lines and at the network between the nodes",
        True,
        Blame.SHARED,
    ),
    _Sign(
        "rendezvous",
        re.compile(r"Rendezvous\w*Error|clients joined|DistStoreError|waiting for clients"),
        "waited in vain for the other pods of its group",
        "look whether all pods found a node, and whether network policies let them reach each other",
        True,
        Blame.SHARED,
    ),
    _Sign(
        "peer lost",
        re.compile(
            r"Connection reset by peer|Connection closed by (remote )?peer|ncclRemoteError|recvBytes"
            r"|remote process exited|Broken pipe|Socket closed|ActorDiedError|RayActorError|NodeDiedError"
            r"|ActorUnavailableError|ObjectLostError"
        ),
        "lost the connection to another pod",
        "look at the pods that ended before it, and at their nodes",
        True,
        Blame.PEER,
    ),
)  # fmt: skip

_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z ?")
_RANK = re.compile(r"^\[(?:default|rank)?\d+\]:? ?")
_OWN = re.compile(r"^fundus-r1: (?!stopped;)(.+)")
_WHERE, _TO_DO = re.compile(r"^  where: (.*)"), re.compile(r"^  to do: (.*)")
_EXCEPTION = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b)(?:\(.*?\))?(?:: .*)?$")
_WRAPPER = re.compile(r"ChildFailedError|CalledProcessError|RayTaskError|ended with exit code \d+$")
_SHOWN = 300


def clean(line: str) -> str:
    """A line without the time, the rank and the colours that others put around what was said."""
    return _RANK.sub("", bare(_TIME.sub("", line.rstrip())))


def own_error(lines: Sequence[str]) -> OwnError | None:
    """The last error in the words of `fundus_r1.errors`; lines are clean."""
    starts = [number for number, line in enumerate(lines) if _OWN.match(line)]
    if not starts:
        return None
    found = {"what": lines[starts[-1]].removeprefix("fundus-r1: "), "where": "", "hint": ""}
    for line in lines[starts[-1] + 1 :]:
        for field, pattern in (("where", _WHERE), ("hint", _TO_DO)):
            if match := pattern.match(line):
                found[field] = match[1]
    return OwnError(**found)


def read_lines(tail: Sequence[str], exit_code: int | None) -> Reading | None:
    """What the last lines of a log say of the failure, or None if they say nothing.

    Args:
        tail: as the cluster gives them, with or without the time in front.
        exit_code: 75 is our own word for what another try may cure.
    """
    lines = [clean(line) for line in tail]
    told = own_error(lines)
    quoted = told if told is not None and _speaks_of_itself(told.what) else None
    for sign in _SIGNS:
        if sign.blame is not Blame.OWN:
            continue
        if line := _last(sign, lines):
            return _of(sign, quoted, line, exit_code)
    if quoted is not None:
        return Reading(
            "own error",
            f"failed: {quoted.what.rstrip('.')}",
            quoted.hint or "look at what it names",
            exit_code == EXIT_TRANSIENT,
            Blame.OWN,
        )
    exceptions = [line for line in lines if _EXCEPTION.match(line) and _speaks_of_itself(line)]
    if exceptions:
        return Reading(
            "Python exception",
            f"ended with {exceptions[-1][:_SHOWN].rstrip('.')}",
            "the traceback in its last lines says where",
            exit_code == EXIT_TRANSIENT,
            Blame.OWN,
        )
    for sign in _SIGNS:
        if line := _last(sign, lines):
            return _of(sign, None, line, exit_code)
    if told is not None:
        what, hint = told.what.rstrip("."), told.hint or "look at its whole log in the store"
        return Reading("own error", f"failed: {what}", hint, exit_code == EXIT_TRANSIENT, Blame.CRASH)
    return None


def _speaks_of_itself(text: str) -> bool:
    """Whether an error is no mere wrapper, and none that others have caused."""
    return not _WRAPPER.search(text) and not any(
        sign.pattern.search(text) for sign in _SIGNS if sign.blame is not Blame.OWN
    )


def _last(sign: _Sign, lines: Sequence[str]) -> str | None:
    return next((line for line in reversed(lines) if sign.pattern.search(line)), None)


def _of(sign: _Sign, told: OwnError | None, line: str, exit_code: int | None) -> Reading:
    said = told.what if told else line.strip()[:_SHOWN]
    hint = told.hint if told and told.hint else sign.hint
    transient = sign.transient or exit_code == EXIT_TRANSIENT
    return Reading(sign.kind, f"{sign.said}: {said.rstrip('.')}", hint, transient, sign.blame)
