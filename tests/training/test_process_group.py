"""A failed group says which process failed, and why; nothing of it is left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from fundus_r1.errors import SpecError, StageError
from fundus_r1.spec.placement import SftPlace
from fundus_r1.training import process_group

pytestmark = pytest.mark.engines

# Each process notes its pid; then rank 1 (or the only one) does what the test says, while the
# others wait as they would in a collective operation.
WORKER = """
import json, os, signal, sys, time
from pathlib import Path
from fundus_r1.errors import DataError
from fundus_r1.training.process_group import rank, reporting, world_size

def main(folder):
    (folder / f"pid-{rank()}").write_text(str(os.getpid()))
    while len(list(folder.glob("pid-*"))) < world_size():
        time.sleep(0.01)
    with reporting(folder):
        if rank() == world_size() - 1:
            ACT
        time.sleep(SLEEP)

if __name__ == "__main__":
    main(Path(sys.argv[1]))
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of modules, for the module ``worker``."""
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    (tmp_path / "work").mkdir()
    return tmp_path


def _run(folder: Path, act: str, place: SftPlace, sleep: int = 60) -> None:
    text = textwrap.dedent(WORKER).replace("ACT", act).replace("SLEEP", str(sleep))
    (folder / "worker.py").write_text(text)
    process_group.run("worker", folder / "work", place, folder / "work")


def _left(folder: Path) -> list[int]:
    pids = [int(path.read_text()) for path in (folder / "work").glob("pid-*")]
    assert pids
    return [pid for pid in pids if psutil.pid_exists(pid)]


FORESEEN = (
    'raise DataError("The image is broken", where="idrid/7", hint="mend it")',
    "The image is broken",
    "rank {rank}, idrid/7",
    False,
)
UNFORESEEN = (
    "1 / 0",
    "Process {rank} of {count} failed: ZeroDivisionError: division by zero",
    "1 / 0",
    False,
)
KILLED = (
    "os.kill(os.getpid(), signal.SIGKILL)",
    "Process {rank} of {count} was ended by SIGKILL",
    "rank {rank}",
    True,
)


@pytest.mark.parametrize(
    ("launcher", "act", "what", "where", "transient"),
    [
        *[("torchrun", *case) for case in (FORESEEN, UNFORESEEN, KILLED)],
        *[("process", *case) for case in (FORESEEN, UNFORESEEN, KILLED)],
        *[("ray", *case) for case in (FORESEEN, KILLED)],
    ],
)
def test_the_culprit_is_named(
    worker: Path, launcher: str, act: str, what: str, where: str, transient: bool
) -> None:
    count = 1 if launcher == "process" else 2
    place = SftPlace.model_validate({"launcher": launcher, "processes": 2})
    with pytest.raises(StageError) as caught:
        _run(worker, act, place, sleep=3 if launcher == "ray" else 60)
    names = {"rank": count - 1, "count": count}
    told = what.format(**names)
    if launcher == "ray":
        # Ray does not say by which signal.
        told = told.replace("by SIGKILL", "from outside")
    assert caught.value.what == told
    assert where.format(**names) in caught.value.where
    assert caught.value.transient is transient
    assert _left(worker) == []


def test_a_success_is_silent_and_its_output_is_relayed(
    worker: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _run(worker, 'print("hello from the last")', SftPlace(processes=2), sleep=0)
    assert "hello from the last" in capfd.readouterr().err
    assert "hello from the last" in (worker / "work" / process_group.LOG).read_text()


def test_one_process_knows_nothing_of_a_group_around_it(
    worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a pod whose launcher has set these for itself."""
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "elsewhere"}.items():
        monkeypatch.setenv(name, value)
    act = '(folder / "env").write_text(json.dumps([rank(), world_size(), os.environ.get("MASTER_ADDR")]))'
    _run(worker, act, SftPlace(launcher="process"), sleep=0)
    assert json.loads((worker / "work" / "env").read_text()) == [0, 1, None]


def test_of_several_errors_the_one_of_our_own_counts(tmp_path: Path) -> None:
    """The others mostly come from the lost connection, and may be written earlier."""
    words = [
        process_group.Failure(rank=0, time=1.0, what="RuntimeError: Connection closed by peer"),
        process_group.Failure(rank=1, time=2.0, what="The loss is nan", foreseen=True),
    ]
    for word in words:
        (tmp_path / f"failure-{word.rank}.json").write_text(word.model_dump_json())
    (tmp_path / process_group.LOG).write_text("")
    error = process_group._explain(1, SftPlace(processes=2), tmp_path)
    assert (error.what, error.where) == ("The loss is nan", "rank 1")


POD = """
import json, sys
from pathlib import Path
from torch import distributed
from fundus_r1.training.process_group import local_rank, node, rank, world_size

distributed.init_process_group("gloo")
distributed.barrier()
place = [rank(), world_size(), node(), local_rank()]
Path(sys.argv[1], f"group-{rank()}").write_text(json.dumps(place))
"""


def _pod(number: int, count: int, port: int) -> dict[str, str]:
    """What Kubeflow sets in a pod of a PyTorchJob."""
    return {
        "PET_NNODES": str(count),
        "PET_NODE_RANK": str(number),
        "PET_NPROC_PER_NODE": "1",
        "PET_MASTER_ADDR": "127.0.0.1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "RANK": str(number),
    }


def test_the_pods_of_a_job_make_one_group(worker: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (worker / "worker.py").write_text(textwrap.dedent(POD))
    program = "import sys; from pathlib import Path; from fundus_r1.spec.placement import SftPlace; "
    program += "from fundus_r1.training import process_group; folder = Path(sys.argv[1]); "
    program += 'process_group.run("worker", folder, SftPlace(), folder)'
    pods = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(worker / "work")],
            env={**os.environ, **_pod(number, 2, port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for pod in pods:
        told = pod.communicate(timeout=60)[1]
        assert pod.returncode == 0, told
    found = [json.loads((worker / "work" / f"group-{number}").read_text()) for number in range(2)]
    assert found == [[0, 2, 0, 0], [1, 2, 1, 0]]


@pytest.mark.parametrize(
    ("pet", "size"),
    [
        ({}, 8),
        ({"PET_NNODES": "1"}, 8),
        ({"PET_NNODES": "3"}, 24),
        ({"PET_NNODES": "2:2", "PET_NPROC_PER_NODE": "4"}, 8),
        ({"PET_NNODES": "2", "PET_NPROC_PER_NODE": "auto"}, 16),
    ],
)
def test_the_group_is_as_large_as_kubeflow_says(pet: dict[str, str], size: int) -> None:
    assert process_group.size(SftPlace(processes=8), pet) == size
    assert process_group.size(SftPlace(processes=8, launcher="ray"), pet) == 8
    assert process_group.size(SftPlace(processes=8, launcher="process"), pet) == 1


@pytest.mark.parametrize("nodes", ["1:4", "all", "0"])
def test_a_group_of_no_fixed_size_is_refused(nodes: str) -> None:
    with pytest.raises(SpecError, match="no fixed number"):
        process_group.nodes({"PET_NNODES": nodes})


@pytest.mark.parametrize(
    ("place", "pet"),
    [
        (SftPlace(nodes=2), {}),
        (SftPlace(nodes=2), {"PET_NNODES": "3"}),
        (SftPlace(nodes=2, launcher="ray"), {"PET_NNODES": "2"}),
    ],
)
def test_a_group_of_other_machines_than_the_spec_asks_for_is_refused(
    place: SftPlace, pet: dict[str, str]
) -> None:
    assert process_group.size(SftPlace(nodes=2, processes=4), {"PET_NNODES": "2"}) == 8
    with pytest.raises(SpecError, match="SFT is to run on 2 machines") as caught:
        process_group.size(place, pet)
    assert caught.value.where == "placement.sft.nodes"
