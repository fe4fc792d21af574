"""The launcher's protocol: one job for one output, whoever asks for it and however often.

The job's name follows from the output. A job of this output that has not ended is adopted, also one that
another run or a killed launcher has made; one that has ended without its output is left alone, and a next
attempt is made. Then the job is followed to its end: its queue, its progress and its pods' lines are shown,
a sign of life is left on it, SIGTERM deletes it (`cluster.hold`). A job that ends in any other way than with
its output fails its step, with a diagnosis.
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fundus_r1.cluster.child import FINGERPRINT, SEEN, STAGE, Child, child_name
from fundus_r1.cluster.client import Cluster, Exists
from fundus_r1.cluster.diagnose import Diagnosis, diagnose
from fundus_r1.cluster.evidence import Around
from fundus_r1.cluster.follow import Followed
from fundus_r1.cluster.hold import Hold, now
from fundus_r1.cluster.logs import Logs
from fundus_r1.cluster.manifests import named
from fundus_r1.cluster.owners import Owner, join, leave
from fundus_r1.cluster.state import Phase, State, word_of_job
from fundus_r1.cluster.verdict import Ending, Verdict, Watchman
from fundus_r1.errors import ClusterError, StageError
from fundus_r1.fingerprint import SHORT
from fundus_r1.spec.cluster import Clocks
from fundus_r1.storage.protocol import Store

_TRIES = 10
_GLANCE_S, _LOOK_S = 0.2, 1.0
_TELL_S, _CHANGED_S = 60.0, 2.0
# The job's end and its pods' come over different connections.
_SETTLE_S = 1.0


class JobError(ClusterError):
    """A job failed.

    Args:
        diagnosis: why.
        stage: the job was of.
        name: the job's.
        where: its kind, name and namespace.
    """

    def __init__(self, diagnosis: Diagnosis, stage: str, name: str, where: str):
        super().__init__(diagnosis.message, where=where, hint=diagnosis.hint, transient=diagnosis.transient)
        self.stage, self.name = stage, name
        self.markdown = diagnosis.markdown
        """The whole story."""


@dataclass(frozen=True)
class Terms:
    """How a job is launched and followed."""

    owner: Owner | None = None
    """The run's Workflow; None outside of Kubeflow Pipelines."""
    clocks: Clocks = field(default_factory=Clocks)
    """How long the job may wait and run."""
    heartbeat_s: float = 60.0
    """Seconds between two signs of life."""
    made: Callable[[], bool] | None = None
    """Whether the output is there; None takes the job's own word for it."""
    store: Store | None = None
    """Where logs are kept, under ``jobs/<name>/logs``."""


def launch(cluster: Cluster, child: Child, terms: Terms) -> str:
    """Sees to it that a job's output is made: by a job that is there, or by a new one.

    Returns:
        The job's name.

    Raises:
        JobError: the job failed; says why, and whether another try may help.
        StageError: the job says that it succeeded, and there is no output.
        ClusterError: the API server refuses, or is away for too long.
        SystemExit: SIGTERM or SIGINT came; the job is deleted, or left to the other runs that own it.
    """
    with Hold(cluster, child.resource, terms.owner, terms.heartbeat_s) as hold:
        job, adopted = _begin(cluster, child, terms, hold)
        name = str(job["metadata"]["name"])
        with (
            tempfile.TemporaryDirectory(prefix="fr1-logs-", ignore_cleanup_errors=True) as folder,
            Followed(cluster, child.resource, job) as followed,
        ):
            hold.job = lambda: followed.job
            logs = Logs(cluster, Path(folder), terms.store, f"jobs/{name}/logs", adopted=adopted)
            try:
                verdict = _follow(cluster, child, followed, logs, Watchman(child.resource, terms.clocks))
                _end(cluster, child, terms, name, followed, logs, verdict)
            finally:
                logs.closed.set()
        return name


def _begin(cluster: Cluster, child: Child, terms: Terms, hold: Hold) -> tuple[dict[str, Any], bool]:
    """The job to follow, and whether it was there before."""
    for _ in range(_TRIES):
        found = _attempts(cluster, child)
        hold.name = child_name(child.stage, child.fingerprint, max(found, default=1))
        job = found[max(found)] if found else None
        if job is not None and _serves(child, terms, job):
            _check(child, job)
            job = join(cluster, child.resource, job, terms.owner)
            if job is not None:
                _say(f"{child.resource.kind} {hold.name} is there already: adopted")
                return job, True
            continue
        attempt = max(found, default=0) + 1
        manifest = named(child, attempt)
        meta = manifest["metadata"]
        hold.name = meta["name"]
        meta["annotations"] = {**(meta.get("annotations") or {}), SEEN: now()}
        if terms.owner is not None:
            meta["ownerReferences"] = [terms.owner.reference()]
        try:
            job = cluster.create(child.resource, manifest)
        except Exists:
            continue  # by another launcher, or by a first try whose answer was lost: adopt it
        _say(f"{child.resource.kind} {hold.name} was made" + (f" (attempt {attempt})" if attempt > 1 else ""))
        return job, False
    raise ClusterError(
        f"The job could neither be made nor adopted in {_TRIES} tries, since it came and went",
        where=f"{child.resource.plural}/{child.name}",
        transient=True,
    )


def _attempts(cluster: Cluster, child: Child) -> dict[int, dict[str, Any]]:
    """Number -> job, of all attempts that are there."""
    labels = f"{STAGE}={child.stage},{FINGERPRINT}={child.fingerprint[:SHORT]}"
    jobs = {job["metadata"]["name"]: job for job in cluster.list(child.resource, labels=labels)[0]}
    first = jobs.get(child.name) or cluster.get(child.resource, child.name)
    found = {} if first is None else {1: first}
    for name, job in jobs.items():
        number = name.removeprefix(f"{child.name}-a")
        if number.isdigit():
            found[int(number)] = job
    return found


def _serves(child: Child, terms: Terms, job: dict[str, Any]) -> bool:
    """Whether a job can still make the output, or has; without a store its word is all there is."""
    ended = word_of_job(child.resource, job)
    if ended is None:
        return not job["metadata"].get("deletionTimestamp")
    return terms.made is None and ended.phase is Phase.SUCCEEDED


def _check(child: Child, job: dict[str, Any]) -> None:
    """Refuses a job that only has the name."""
    meta = job["metadata"]
    whole = (meta.get("annotations") or {}).get(FINGERPRINT)
    short = (meta.get("labels") or {}).get(FINGERPRINT)
    if (whole or short) not in (child.fingerprint, child.fingerprint[:SHORT]):
        raise ClusterError(
            "There is a job of this name that makes another output",
            where=f"{child.resource.plural}/{meta['name']}",
            hint=f"delete it; its annotation {FINGERPRINT} is not {child.fingerprint}",
        )


def _follow(cluster: Cluster, child: Child, followed: Followed, logs: Logs, watchman: Watchman) -> Verdict:
    around = Around(cluster)
    teller = _Teller()
    while True:
        job, pods = followed.job, followed.pods()
        logs.update(pods)
        waits = job is not None and watchman.state.phase is Phase.QUEUED
        workload, events = around.look(job, pods) if waits and job is not None else (None, [])
        verdict = watchman.look(
            job, pods, datetime.datetime.now(datetime.UTC), workload=workload, events=events
        )
        teller.tell(watchman.state, len(pods))
        if verdict is not None:
            return verdict
        followed.wait(_LOOK_S)
        time.sleep(_GLANCE_S)  # many pods change at once: one look at all of them


class _Teller:
    """Says how far a job is: when that changes, and what it waits for at most once a minute."""

    def __init__(self) -> None:
        self._told: State | None = None
        self._at = 0.0

    def tell(self, state: State, pods: int) -> None:
        at = time.monotonic()
        if self._told is not None and state.phase is self._told.phase:
            rest_s = _TELL_S if state.reason == self._told.reason else _CHANGED_S
            if state.phase is not Phase.QUEUED or at - self._at < rest_s:
                return
        self._told, self._at = state, at
        if state.phase is Phase.QUEUED:
            _say(f"waits for room: {state.reason}")
        elif state.phase is Phase.RUNNING:
            _say(f"runs, with {pods} pod{'' if pods == 1 else 's'}")
        else:
            _say(f"{state.phase}{': ' if state.reason else ''}{state.reason}")


def _end(
    cluster: Cluster,
    child: Child,
    terms: Terms,
    name: str,
    followed: Followed,
    logs: Logs,
    verdict: Verdict,
) -> None:
    time.sleep(_SETTLE_S)
    job, pods = followed.job, followed.pods()
    if job is not None and word_of_job(child.resource, job) is None:
        # It would go on, or stay for ever, with nobody to follow it.
        _say(f"{name} {leave(cluster, child.resource, job, terms.owner)}")
    logs.update(followed.pods())
    logs.finish()
    where = f"{child.resource.plural}/{name} in the namespace {cluster.namespace}"
    made = terms.made is not None and terms.made()
    if verdict.ending is Ending.SUCCEEDED and terms.made is not None and not made:
        raise StageError(
            "The job says that it succeeded, but it wrote no record",
            where=where,
            hint="look at its pods' logs: did they get the store that this step has?",
        )
    if verdict.ending is Ending.SUCCEEDED or (verdict.ending is Ending.GONE and made):
        return
    pods = list({pod["metadata"]["uid"]: pod for pod in (*followed.lost, *pods)}.values())
    events = Around(cluster).gather(job, pods)
    found = diagnose(child.stage, job or {}, pods, events, logs.tails())
    if verdict.ending in _HINTS:
        found = dataclasses.replace(
            found,
            message=f"{child.stage}: the job {verdict.reason}",
            hint=_HINTS[verdict.ending].format(stage=child.stage),
            transient=verdict.transient,
        )
    raise JobError(found, child.stage, name, where)


_HINTS = {
    Ending.WAITED: "raise placement.cluster.{stage}.clocks.queue_s, or ask for less",
    Ending.OVERRAN: "raise placement.cluster.{stage}.clocks.run_s; training goes on from the last checkpoint",
    Ending.GONE: "find out who deleted it; another try makes it again and goes on from the last checkpoint",
}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
