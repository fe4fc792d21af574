"""What a science leaves open that only the outside knows: commits, digests of data and of pages.

A run with an open pin can be made, but not made again: the model or the data of that name may be
others by then. A paper run therefore pins all of them. Only what a run uses is asked for, so one
that evaluates alone needs no pages, no observer and no training data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fundus_r1.spec.base import UNPINNED
from fundus_r1.spec.models import HubModel, ServedModel, VisionRef
from fundus_r1.spec.placement import Placement
from fundus_r1.spec.science import Science

Kind = Literal["model", "pages", "data", "prompt", "image"]


@dataclass(frozen=True)
class Pin:
    """One value of a spec that is open."""

    path: str
    """Of the value, ``science.models.student.revision``."""
    kind: Kind
    what: str
    """What it would pin, in words."""
    hint: str
    """How to pin it."""


def by_digest(image: str) -> bool:
    """Whether an image is named by what it is; a tag may name another tomorrow."""
    return "@sha256:" in image


def unpinned(science: Science) -> list[Pin]:
    """All open pins of what a run uses, in reading order; none if the run can be made again."""
    return [*_models(science), *_prompts(science), *_data(science), *_pages(science)]


def unpinned_weights(science: Science, placement: Placement) -> list[Pin]:
    """The open pins of models that the run would load itself, instead of asking an endpoint."""
    loaded = {f"science.{role}.revision" for role in hub_weights(science, placement)}
    return [pin for pin in _models(science) if pin.path in loaded]


def hub_weights(science: Science, placement: Placement) -> dict[str, HubModel]:
    """The published models that a run would load itself: field below ``science`` -> model."""
    answered = {
        f"models.{role}"
        for role in ("observer", "free_form")
        if getattr(placement.endpoints, role) is not None
    }
    return {
        role: ref
        for role, ref in _roles(science).items()
        if isinstance(ref, HubModel) and role not in answered
    }


def loading_stages(science: Science, placement: Placement) -> tuple[str, ...]:
    """The stages before and after the training that load a vision-language model themselves.

    Stage 9 asks the student, whom no endpoint serves.
    """
    loading, roles = [], _roles(science)
    for stage, role in (("findings", "observer"), ("traces", "free_form")):
        ref = roles.get(f"models.{role}")
        served = getattr(placement.endpoints, role) is not None or isinstance(ref, ServedModel)
        if ref is not None and not served:
            loading.append(stage)
    return (*loading, "evaluate")


def _covered(science: Science) -> bool:
    """Whether there are labels of which knowledge is retrieved."""
    return bool(science.knowledge.datasets or science.index.datasets)


def _roles(science: Science) -> dict[str, VisionRef | None]:
    """The models that a run uses."""
    roles: dict[str, VisionRef | None] = {"models.student": science.models.student}
    if science.index.datasets:
        roles["models.observer"] = science.models.observer
        if science.traces.baseline or science.traces.mode == "free":
            roles["models.free_form"] = science.models.free_form
    if _covered(science):
        roles["knowledge.embedder"] = science.knowledge.embedder
    return roles


def _models(science: Science) -> list[Pin]:
    return [
        Pin(
            path=f"science.{role}.revision",
            kind="model",
            what=f"the commit of {ref.name} (it says {ref.revision!r})",
            hint=f"fundus-r1 pin looks it up; or copy its 40 digits from "
            f"https://huggingface.co/{ref.name}/commits",
        )
        for role, ref in _roles(science).items()
        if isinstance(ref, HubModel) and not ref.is_pinned
    ]


def _prompts(science: Science) -> list[Pin]:
    return [
        Pin(
            path=f"science.prompts.{name}",
            kind="prompt",
            what=f"the text of the prompt {name}",
            hint="fundus-r1 pin writes the hash of the text that is installed",
        )
        for name, digest in science.prompts.items()
        if digest == UNPINNED
    ]


def _data(science: Science) -> list[Pin]:
    """Drawn data are known by their seed; what lies beside them is pinned where the spec asks for it."""
    manifests = science.index.manifests
    demanded = science.index.synthetic is None
    return [
        Pin(
            path=f"science.index.manifests.{name}",
            kind="data",
            what=f"the data of {name}",
            hint="fundus-r1 pin --data FOLDER computes it from the folder that holds them",
        )
        for name in (*science.index.datasets, *science.index.benchmarks)
        if (manifests.get(name, UNPINNED) if demanded else manifests.get(name)) == UNPINNED
    ]


def _pages(science: Science) -> list[Pin]:
    online = [name for name in science.knowledge.sources if name != "notes"]
    if not online or not _covered(science) or science.knowledge.pinned_snapshot is not None:
        return []
    return [
        Pin(
            path="science.knowledge.snapshot",
            kind="pages",
            what=f"the pages of {', '.join(online)}",
            hint="run the stage once (fundus-r1 stage knowledge); then fundus-r1 pin takes its pages",
        )
    ]
