"""Counts verdicts that a judge was asked for and did not give; too many of them end the training.

A missing verdict is worth a neutral value (`rewards.process`). Few of them do no harm; many, and the
reward is noise. The rule: in no step may more than a set share be missing. A step that goes on is held
against at least `SOON` verdicts, so that a few failures at its beginning end nothing, and a judge that is
down ends the run after ``SOON * share`` of them; a step that has ended is held against what it asked
(`training.grpo_steps`).
"""

from __future__ import annotations

import threading

from fundus_r1.errors import ModelError

SOON = 64
"""Verdicts that a step is taken to ask for, at least, while it goes on."""


class MissingVerdicts:
    """The account of one run; any number of threads may count.

    Args:
        bad_share: of the verdicts of a step that may be missing, 0..1.
    """

    def __init__(self, bad_share: float):
        self._bad_share = bad_share
        self._lock = threading.Lock()
        self._step: int | None = None
        self._asked = self._missing = 0
        self._reason = ""

    def count(self, step: int | None, *, asked: int, missing: int, reason: str | None = None) -> None:
        """Adds what one rollout asked for.

        Args:
            step: of the training; None where nobody says, which is a step of its own.
            asked: verdicts asked for.
            missing: of these, without an answer.
            reason: why the last of them is missing.

        Raises:
            ModelError: too many are missing.
        """
        with self._lock:
            if step != self._step:
                self._step, self._asked, self._missing = step, 0, 0
            self._asked += asked
            self._missing += missing
            self._reason = reason or self._reason
            self._hold()

    def _hold(self) -> None:
        if self._missing <= self._bad_share * max(self._asked, SOON):
            return
        step = "a step" if self._step is None else f"step {self._step}"
        raise ModelError(
            f"{self._missing} of {self._asked} verdicts that {step} asked the judge for are missing; with so "
            f"many, the process reward would be noise. The last: {self._reason or 'no reason is known'}",
            where="the judge (science.models.judge, placement.endpoints.judge)",
            hint="see that the judge answers, with JSON; if so many failures are to be borne, raise "
            "science.grpo.bad_share. Training goes on from the last checkpoint",
            transient=True,
        )
