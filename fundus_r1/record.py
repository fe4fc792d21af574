"""What a stage wrote: one ``record.json`` beside the outputs.

The record is written last. A stage has an output exactly if its record is there, so a killed
stage leaves none, and what it left behind is overwritten by the next try.
"""

from __future__ import annotations

import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from fundus_r1 import __version__
from fundus_r1.fingerprint import SHORT

SCHEMA_VERSION = 1


class FileRef(BaseModel):
    """One object of an output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """Below ``<stage>/<fingerprint>/``."""
    sha256: str
    size: int
    rows: int | None = None
    """Rows in it, where it holds rows."""


class Record(BaseModel):
    """The provenance of a stage's output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    stage: str
    fingerprint: str
    revision: int
    """The stage's `REVISION`, raised by hand when its code computes something else."""
    science: dict[str, Any]
    """The slice of the spec that the stage read."""
    prompts: dict[str, str]
    """Prompt name -> SHA-256 of its text."""
    inputs: dict[str, str]
    """Stage -> fingerprint of the output that was read."""
    files: dict[str, FileRef]
    """Name -> object."""
    counts: dict[str, int | float | str | None]
    """What the stage wants to be known by: rows, shares, scores."""
    models: dict[str, str] = {}
    """Role -> id of the model that answered."""
    started: datetime.datetime
    finished: datetime.datetime
    program: str = f"fundus-r1 {__version__}"

    @property
    def prefix(self) -> str:
        """Where the output lies in the store."""
        return output_prefix(self.stage, self.fingerprint)

    @property
    def short(self) -> str:
        """The first digits of the fingerprint, for people."""
        return self.fingerprint[:SHORT]

    @property
    def seconds(self) -> float:
        return (self.finished - self.started).total_seconds()


def output_prefix(stage: str, fingerprint: str) -> str:
    """``<stage>/<fingerprint>``, the place of an output in a store."""
    return f"{stage}/{fingerprint}"
