"""When a launcher has seen enough of its job. No I/O, and the time is an argument.

Two clocks: a job that waits for room is not late, whatever the other clock says, and its time of running
begins when its pods run. A job that has ended by its own status has ended. Where its operator says nothing,
the pods' word is taken after a while; and a pod that cannot start, for a reason that no waiting cures, does
not wait for room.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fundus_r1.cluster.child import Resource
from fundus_r1.cluster.faults import of_pod
from fundus_r1.cluster.state import Phase, State, cannot_start, moment, read_state, word_of_pods
from fundus_r1.cluster.surroundings import of_event
from fundus_r1.spec.cluster import Clocks

ENDED_S = 10.0
"""Seconds that an operator is given to say how its job ended, once no pod is left that could go on."""
SILENT_S = 60.0
"""The same where pods wait beside those that failed: the operator may be starting them again."""
STUCK_S = 30.0
"""Seconds that a pod may be unable to start for a reason that does not pass; kubelets try twice in them."""
PASSING_S = 300.0
"""The same for a reason that may pass, such as a registry that does not answer."""


class Ending(StrEnum):
    """How a job came to its end, for its launcher."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STUCK = "cannot start"
    WAITED = "waited too long"
    OVERRAN = "ran too long"
    GONE = "was deleted"


@dataclass(frozen=True)
class Verdict:
    """How it ended, and what is known of it at once."""

    ending: Ending
    reason: str = ""
    transient: bool = False


class Watchman:
    """Looks at one job again and again.

    Args:
        resource: the kind of job.
        clocks: of its stage.
    """

    def __init__(self, resource: Resource, clocks: Clocks):
        self.resource = resource
        self.clocks = clocks
        self.state = State(Phase.QUEUED)
        """As last seen."""
        self._since: dict[str, datetime.datetime] = {}
        self._ran = False

    def look(
        self,
        job: dict[str, Any] | None,
        pods: Sequence[dict[str, Any]],
        now: datetime.datetime,
        *,
        workload: dict[str, Any] | None = None,
        events: Sequence[dict[str, Any]] = (),
    ) -> Verdict | None:
        """The verdict, or None while the job goes on.

        Args:
            job: as it is now; None if it is gone.
            pods: those that are there.
            now: the time, with its zone.
            workload: Kueue's view of it.
            events: about the job, where it has no pods.
        """
        if job is None:
            return Verdict(Ending.GONE, "was deleted while it was followed", transient=True)
        self.state = read_state(self.resource, job, pods, workload)
        if self.state.phase.over:
            return Verdict(Ending(self.state.phase.value), self.state.reason)
        return self._silent(pods, now) or self._stuck(pods, events, now) or self._late(job, now)

    def _lasting(self, what: str, holds: bool, now: datetime.datetime) -> float | None:
        """Seconds for which something has held, None if it does not."""
        if not holds:
            self._since.pop(what, None)
            return None
        return (now - self._since.setdefault(what, now)).total_seconds()

    def _silent(self, pods: Sequence[dict[str, Any]], now: datetime.datetime) -> Verdict | None:
        word = word_of_pods(pods)
        patience_s = SILENT_S if self.state.phase is Phase.QUEUED else ENDED_S
        for ending in (Phase.SUCCEEDED, Phase.FAILED):
            lasting = self._lasting(f"pods {ending}", word is ending, now)
            if lasting is not None and lasting >= patience_s:
                return Verdict(Ending(ending.value), "its pods ended, and its operator says nothing")
        return None

    def _stuck(
        self, pods: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]], now: datetime.datetime
    ) -> Verdict | None:
        readings = [found for pod in pods if cannot_start(pod) and (found := of_pod(pod, (), ()))]
        if not pods:
            refusals = [found for event in events if (found := of_event(event))]
            readings += [found for found in refusals if found.kind == "refused"]
        for passes, patience_s in ((False, STUCK_S), (True, PASSING_S)):
            held = [found for found in readings if found.transient == passes]
            lasting = self._lasting(f"stuck {passes}", bool(held), now)
            if lasting is not None and lasting >= patience_s:
                return Verdict(Ending.STUCK, held[0].said, held[0].transient)
        return None

    def _late(self, job: dict[str, Any], now: datetime.datetime) -> Verdict | None:
        running = self.state.phase is Phase.RUNNING
        if not running and not self._ran:
            # The job's own age: a launcher that starts again goes on counting.
            self._since.setdefault("queued", moment(job["metadata"].get("creationTimestamp")) or now)
        self._ran = self._ran or running
        waited = self._lasting("queued", not running, now)
        ran = self._lasting("running", running, now)
        if running and self.state.since is not None:
            ran = (now - self.state.since).total_seconds()
        queue_s, run_s = self.clocks.queue_s, self.clocks.run_s
        if waited is not None and queue_s is not None and waited > queue_s:
            said = f"found no room in {queue_s:g} s, as long as it may wait: {self.state.reason}"
            return Verdict(Ending.WAITED, said, transient=True)
        if ran is not None and run_s is not None and ran > run_s:
            return Verdict(Ending.OVERRAN, f"ran for more than {run_s:g} s, as long as it may")
        return None
