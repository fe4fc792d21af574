"""Follows a run on a server: one line for each change of a step's state, until the run has ended.

Following changes nothing: whoever stops it leaves the run as it is. An outage of the server is waited out
for a while, since a run takes days.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fundus_r1.errors import ClusterError
from fundus_r1.local.kubeflow import RunState, Step

POLL_S = 10.0
"""Seconds between two looks."""
PATIENCE_S = 900.0
"""Seconds without any answer after which following is given up."""
_WAITING = "PENDING"


def follow(
    look: Callable[[], RunState],
    say: Callable[[str], None],
    *,
    poll_s: float = POLL_S,
    patience_s: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> RunState:
    """Looks at a run until it has ended; how it did.

    Args:
        look: how the run stands now.
        say: takes one line.
        poll_s: seconds between two looks.
        patience_s: seconds that the server may be away.
        sleep: waits so many seconds.

    Raises:
        ClusterError: the server refuses, or is away for too long; the run goes on all the same.
    """
    known: dict[str, Step] = {}
    away_s = 0.0
    while True:
        try:
            state = look()
        except ClusterError as error:
            if not error.transient or away_s >= patience_s:
                raise
            if not away_s:
                say(f"the server is away, which is waited out: {error.what}")
            away_s += poll_s
            sleep(poll_s)
            continue
        if away_s:
            say("the server answers again")
        away_s = 0.0
        for step in state.steps:
            before = known.get(step.key)
            if (before is None and step.state == _WAITING) or before == step:
                continue
            known[step.key] = step
            say(told(step))
        if state.ended:
            return state
        sleep(poll_s)


def told(step: Step) -> str:
    """A step's state, as a line."""
    return f"{step.name:<22} {step.state.lower()}" + (f": {step.error}" if step.error else "")
