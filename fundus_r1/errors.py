"""Errors that speak to a person: what went wrong, where, and what to do about it.

``transient`` marks what a second try may cure; the command then exits with 75
(``EX_TEMPFAIL`` in sysexits.h), which a pipeline's retry policy can act on.
"""

from __future__ import annotations

EXIT_PERMANENT = 1
EXIT_TRANSIENT = 75


class FundusError(Exception):
    """Something the user can understand and usually mend.

    Args:
        what: one sentence on what went wrong.
        where: the dataset, file, row, field or service concerned.
        hint: what to do about it.
        transient: whether trying again may help.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "", transient: bool = False):
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.transient = transient

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.hint:
            lines.append(f"  to do: {self.hint}")
        return "\n".join(lines)

    @property
    def exit_code(self) -> int:
        return EXIT_TRANSIENT if self.transient else EXIT_PERMANENT


class SpecError(FundusError):
    """The run's specification cannot be used."""


class DataError(FundusError):
    """A dataset, a benchmark or one of their files cannot be used."""


class StoreError(FundusError):
    """The object store refused, lost or damaged something."""


class ModelError(FundusError):
    """A language model, local or remote, did not do its work."""


class StageError(FundusError):
    """A stage could not run, or ended without its output."""


class MachineError(FundusError):
    """The machine lacks something: disk, memory, a port, a program."""


class ClusterError(FundusError):
    """Kubeflow Pipelines refused something, or could not be reached."""
