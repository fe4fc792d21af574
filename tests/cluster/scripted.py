"""A launcher in a thread, and the part of operators, kubelets and schedulers, played by a test."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from kube_server import KubeServer

from fundus_r1.cluster.child import (
    FINGERPRINT,
    PYTORCHJOB,
    WORKFLOW,
    Child,
    Resource,
    child_labels,
    child_name,
)
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.launch import Terms, launch
from fundus_r1.cluster.owners import Owner
from fundus_r1.errors import FundusError

FP = "0123456789abcdef" * 4
JOB = child_name("sft", FP)


def child(resource: Resource = PYTORCHJOB, stage: str = "sft", run: str = "run-a") -> Child:
    """A job with no more in it than the protocol looks at."""
    name = child_name(stage, FP)
    manifest = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "labels": child_labels(stage, FP, run, name),
            "annotations": {FINGERPRINT: FP},
        },
        "spec": {},
    }
    return Child(stage=stage, fingerprint=FP, resource=resource, manifest=manifest, run=run)


def pod_labels(name: str = JOB, index: int | None = None) -> dict[str, str]:
    """Labels of a PyTorchJob's pod: of the master, or of a worker."""
    return child_labels("sft", FP, "run-a", name) | {
        "training.kubeflow.org/job-name": name,
        "training.kubeflow.org/replica-type": "master" if index is None else "worker",
        "training.kubeflow.org/replica-index": str(index or 0),
    }


def ends(kind: str, reason: str = "", message: str = "") -> dict[str, Any]:
    """The status of a PyTorchJob or TrainJob with one condition."""
    condition = {"type": kind, "status": "True", "reason": reason, "message": message}
    return {"conditions": [condition]}


def workflow(kube: KubeServer, name: str) -> Owner:
    made = kube.add(WORKFLOW, {"metadata": {"name": name}, "status": {"phase": "Running"}})
    return Owner(name, made["metadata"]["uid"], name)


def eventually(met: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Waits until something is so."""
    until = time.monotonic() + timeout_s
    while not (found := met()):
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)
    return found


def heard(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Waits until a launcher has said something."""
    said = ""

    def met() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return text in said

    eventually(met)


class Launched:
    """A launcher that runs in a thread, where no signal reaches it."""

    def __init__(self, cluster: Cluster, what: Child, terms: Terms | None = None):
        self.name: str | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(cluster, what, terms or Terms()), daemon=True)
        self._thread.start()

    def _run(self, cluster: Cluster, what: Child, terms: Terms) -> None:
        try:
            self.name = launch(cluster, what, terms)
        except (FundusError, AssertionError) as error:
            self.error = error

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def ended(self, timeout_s: float = 20.0) -> str:
        """The job's name.

        Raises:
            What the launcher raised.
        """
        self._thread.join(timeout_s)
        assert self.over, "the launcher goes on"
        if self.error is not None:
            raise self.error
        assert self.name is not None
        return self.name


class Process:
    """A launcher that is a process of its own: ``fundus-r1 launch``."""

    def __init__(self, kube: KubeServer, folder: Path, what: Child, *, shell: bool = False, **env: str):
        manifest = folder / "job.yaml"
        manifest.write_text(yaml.safe_dump(what.manifest), encoding="utf-8")
        command = [sys.executable, "-c", "from fundus_r1.cli import main; main()", "launch", str(manifest)]
        self.log = folder / f"launcher-{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", f"{shlex.join(command)}; exit $?"] if shell else command,
                env={**os.environ, "KUBECONFIG": str(kube.kubeconfig(folder / "kubeconfig")), **env},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> float:
        """Sends a signal to the whole group, as Argo does; when (`time.monotonic`)."""
        at = time.monotonic()
        os.killpg(self._process.pid, number)
        return at

    def ended(self, timeout_s: float = 20.0) -> int:
        """The exit code."""
        return self._process.wait(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
