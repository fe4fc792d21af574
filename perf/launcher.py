"""What a launcher of a job with many pods takes: memory, requests when idle, and how fast it lets go.

    python perf/launcher.py [--pods 500] [--idle 60] [--terms 10]

The API server is the one of the tests, on loopback and without TLS, in this process; the launcher is
``fundus-r1 launch`` in one of its own. All pods run and their logs are followed. With ``--logs none`` no
log can be read, as on an API server without kubelets.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from cluster.scripted import JOB, Process, child, pod_labels
from kube_server import KubeServer

from fundus_r1.cluster.child import PODS, PYTORCHJOB

_MIB = 1 << 20
# What a real pod has and the launcher does not need: volumes, environment, who set which field.
_BULK = {f"field-{number}": "x" * 60 for number in range(100)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--terms", type=int, default=10)
    parser.add_argument("--logs", choices=("follow", "none"), default="follow")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fr1-perf-") as folder:
        followed(Path(folder), asked.pods, asked.idle, logs=asked.logs == "follow")
        terminated(Path(folder), asked.terms)


def followed(folder: Path, pods: int, idle_s: float, *, logs: bool) -> None:
    """Memory and requests of one launcher."""
    with KubeServer() as kube:
        for number in range(pods):
            name = f"{JOB}-worker-{number}"
            kube.pod(name, pod_labels(index=number), "Running")
            kube.edit(PODS, name, {"metadata": {"annotations": _BULK}})
            kube.say(name, *(f"line {line} of pod {number}" for line in range(20)))
        if not logs:
            kube.fail("GET", "/log$", 500, times=10**9)
        with Process(kube, folder, child()) as launcher:
            measured(kube, launcher, pods, idle_s, logs=logs)


def measured(kube: KubeServer, launcher: Process, pods: int, idle_s: float, *, logs: bool) -> None:
    """What is to be known of a launcher that follows all pods."""
    kube.wait_for("GET", "/log$", pods, timeout_s=120)
    time.sleep(10)
    before, started = len(kube.requests), time.monotonic()
    time.sleep(idle_s)
    rate = (len(kube.requests) - before) / (time.monotonic() - started)
    process = psutil.Process(launcher.pid)
    memory = process.memory_full_info()
    peak = next(
        line for line in Path(f"/proc/{launcher.pid}/status").read_text().splitlines() if "VmHWM" in line
    )
    print(f"{pods} pods, logs {'followed' if logs else 'refused'}:")
    print(
        f"  resident {memory.rss / _MIB:.0f} MiB, proportional {memory.pss / _MIB:.0f} MiB, "
        f"peak {int(peak.split()[1]) / 1024:.0f} MiB, {process.num_threads()} threads"
    )
    print(f"  idle: {rate:.2f} requests/s over {idle_s:g} s")
    shown = launcher.log.read_text().count("of pod")
    print(f"  lines shown: {shown} of {20 * pods if logs else 0}")
    sent = launcher.signal(signal.SIGTERM)
    deleted = kube.wait_for("DELETE", JOB)[0].at
    print(f"  SIGTERM to DELETE: {1000 * (deleted - sent):.0f} ms, exit code {launcher.ended()}")


def terminated(folder: Path, times: int) -> None:
    """From SIGTERM to the DELETE, of launchers of a job with a pod."""
    waits, ends = [], []
    for _ in range(times):
        with KubeServer() as kube, Process(kube, folder, child()) as launcher:
            kube.wait_for("GET", "pytorchjobs$", 3, timeout_s=30)
            kube.pod(f"{JOB}-master-0", pod_labels(), "Running")
            time.sleep(0.5)
            sent = launcher.signal(signal.SIGTERM)
            waits.append(1000 * (kube.wait_for("DELETE", JOB)[0].at - sent))
            launcher.ended()
            ends.append(1000 * (time.monotonic() - sent))
            assert kube.names(PYTORCHJOB) == []
    if waits:
        print(
            f"SIGTERM to DELETE, {times} times: median {statistics.median(waits):.0f} ms, "
            f"longest {max(waits):.0f} ms; to the end of the process: longest {max(ends):.0f} ms"
        )


if __name__ == "__main__":
    os.environ.pop("KUBERNETES_SERVICE_HOST", None)
    main()
