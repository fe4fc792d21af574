"""What a stage is: a name, what it reads, and a function from a `Context` to its counts.

A stage's fingerprint is the hash of its slice of the science, its `revision`, its prompts'
hashes, and the fingerprints of the stages before it. So all ten are known before any runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from fundus_r1.fingerprint import fingerprint
from fundus_r1.prompts import prompt_hash
from fundus_r1.spec import Placement, Science, Spec
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.protocol import Store

S = TypeVar("S", bound=Spec)

Counts = dict[str, int | float | str | None]


@dataclass
class Result:
    """What `Stage.run` returns for the record."""

    counts: Counts
    models: dict[str, str] = field(default_factory=dict)
    """Role -> id of the model that answered."""


@dataclass
class Context(Generic[S]):
    """All that a running stage may touch."""

    science: S
    """The stage's own slice."""
    placement: Placement
    store: Store
    output: OutputWriter
    inputs: dict[str, StageOutput]
    """The outputs of the stages named in `Stage.after`."""

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A local folder that is gone afterwards."""
        prefix = f"fr1-{self.output.stage}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self.placement.cache) as name:
            yield Path(name)


@dataclass(frozen=True)
class FanOut(Generic[S]):
    """How a stage is spread over workers before `Stage.run` merges what they did."""

    missing: Callable[[Context[S]], list[int]]
    """Numbers of the parts that are not there yet; empty when no worker is needed."""
    work: Callable[[Context[S], int], None]
    """Runs as worker `n` until all parts are there."""


@dataclass(frozen=True)
class Stage(Generic[S]):
    """One of the ten stages."""

    name: str
    summary: str
    """One sentence for people."""
    revision: int
    """Raised by hand when the code computes something else from the same science."""
    after: tuple[str, ...]
    """Stages whose outputs it reads."""
    slice_type: type[S]
    select: Callable[[Science], S]
    """The slice of the science that it reads."""
    run: Callable[[Context[S]], Result | None]
    """None where another machine of the same group closes the output."""
    prompts: tuple[str, ...] = ()
    """Names of the prompts that its output depends on."""
    fan_out: FanOut[S] | None = None

    def prompt_hashes(self) -> dict[str, str]:
        return {name: prompt_hash(name) for name in self.prompts}

    def fingerprint(self, science_slice: S, inputs: dict[str, str]) -> str:
        """The fingerprint of the output.

        Args:
            science_slice: the stage's slice.
            inputs: stage -> fingerprint, for each stage in `after`.
        """
        return fingerprint(
            {
                "stage": self.name,
                "revision": self.revision,
                "science": _without_places(as_json(science_slice)),
                "prompts": self.prompt_hashes(),
                "inputs": {name: inputs[name] for name in self.after},
            }
        )


def _without_places(science: Any) -> Any:
    """A slice without the paths of what is known by its digest, such as a `FolderModel`."""
    if isinstance(science, dict):
        placed = {"path"} if "digest" in science else set()
        return {key: _without_places(value) for key, value in science.items() if key not in placed}
    if isinstance(science, list):
        return [_without_places(value) for value in science]
    return science


def as_json(science_slice: Spec) -> dict[str, Any]:
    """A slice as it is fingerprinted and recorded."""
    return science_slice.model_dump(mode="json")
