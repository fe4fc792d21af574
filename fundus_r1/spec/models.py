"""The models of a run: the observer, the writer, the judge and the student (paper, Sec. 3, 4.1)."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from fundus_r1.spec.base import UNPINNED, Assumed, Spec

_COMMIT = re.compile(r"[0-9a-f]{40}")


class TinyModel(Spec):
    """A Qwen2.5-VL of a few million parameters, made from a seed; it has learnt nothing."""

    kind: Literal["tiny"] = "tiny"
    """Marks the tiny model."""
    seed: int = 0
    """Of the initial weights."""
    hidden: int = Field(default=128, multiple_of=32)
    """Width of the language model; heads have 32 dimensions, which vLLM's CPU attention needs."""
    layers: int = 4
    """Layers of the language model and of the vision tower."""


class HubModel(Spec):
    """A published model, by name and exact revision."""

    kind: Literal["hub"] = "hub"
    """Marks a published model."""
    name: str
    """Repository on the Hugging Face hub."""
    revision: str = UNPINNED
    """Commit hash, or ``unpinned`` where it could not be looked up."""

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit; under a branch or a tag the weights may change."""
        return _COMMIT.fullmatch(self.revision) is not None


class FolderModel(Spec):
    """A model folder in the Hugging Face layout, known by the digest of its files."""

    kind: Literal["folder"] = "folder"
    """Marks a model folder."""
    path: str
    """The folder; its place is not fingerprinted, its digest is."""
    digest: str | None = None
    """SHA-256 over the folder's file list; filled in when the spec is resolved."""


class ServedModel(Spec):
    """A model that is known only by the id under which an endpoint serves it."""

    kind: Literal["served"] = "served"
    """Marks a served model; `placement.endpoints` says where."""
    name: str
    """The id to ask for; the id that answered is recorded."""


ModelRef = Annotated[TinyModel | HubModel | FolderModel, Field(discriminator="kind")]
"""A model whose weights can be had."""
VisionRef = Annotated[TinyModel | HubModel | FolderModel | ServedModel, Field(discriminator="kind")]
"""A model that looks at images: its weights can be had, or an endpoint serves it."""


class Chat(Spec):
    """A text model behind the one protocol of `fundus_r1.models`."""

    engine: Literal["rules", "openai"] = "rules"
    """``rules`` needs no model; ``openai`` asks an OpenAI-compatible endpoint (see placement)."""
    model: str = "rules"
    """Model id to ask for; the id that answered is recorded."""
    temperature: Annotated[float, Assumed("not published; 0 makes the writer repeatable")] = 0.0
    """Sampling temperature."""
    max_tokens: Annotated[int, Assumed("not published; room for a trace of some sentences")] = 1024
    """Tokens of an answer at most."""


class Models(Spec):
    """The model roles: the observer looks, the writer writes and checks, the judge grades."""

    observer: VisionRef = HubModel(name="Qwen/Qwen2.5-VL-32B-Instruct")
    """phi of Sec. 3.2.2."""
    free_form: VisionRef = ServedModel(name="qwen3-vl-plus")
    """Writes free-form traces from image, question and answer: the baseline of Tab. 3 and Tab. 6."""
    writer: Chat = Chat(engine="openai", model="qwen3-max")
    """psi of Sec. 3.2: extracts knowledge, composes traces and checks them."""
    judge: Annotated[Chat, Assumed("Sec. 3.3 says LLM-as-judge; we take the writer's model")] = Chat(
        engine="openai", model="qwen3-max"
    )
    """Grades a rollout's trace in GRPO (Eq. 4)."""
    student: ModelRef = HubModel(name="Qwen/Qwen2.5-VL-3B-Instruct")
    """The model that is trained (Sec. 4.1)."""
