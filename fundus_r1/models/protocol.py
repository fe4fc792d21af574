"""The one protocol of all text models: a list of requests in, a list of answers out.

A request carries both what a language model needs (messages, a JSON schema) and what the
``rules`` model needs (the task's name and its structured inputs), so that a stage is written
once and does not know which of them answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from fundus_r1.models.usage import Usage


@dataclass(frozen=True)
class ChatRequest:
    """One question to a text model."""

    task: str
    """``knowledge``, ``trace``, ``check``, ``judge_findings`` or ``judge_knowledge``."""
    messages: tuple[tuple[str, str], ...]
    """(role, text) pairs."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What the prompt was made from, for the ``rules`` model."""
    schema: dict[str, Any] | None = None
    """JSON schema of the answer; None for free text."""


@dataclass(frozen=True)
class ChatAnswer:
    """What a text model said."""

    text: str
    model: str
    """Id of the model that answered."""


class ChatModel(Protocol):
    """Answers requests. Implementations: `models.rules`, `models.openai_http`."""

    usage: Usage
    """What asking it took so far."""

    def complete(self, requests: list[ChatRequest]) -> list[ChatAnswer]:
        """Answers in the order of the requests.

        Raises:
            ModelError: a request got no usable answer.
        """
        ...


@dataclass(frozen=True)
class VisionRequest:
    """One question about one image, asked `n` times."""

    image: bytes
    """PNG or JPEG."""
    prompt: str
    n: int
    max_tokens: int
    temperature: float
    seed: int
    schema: dict[str, Any] | None = None
    """JSON schema that the answer is constrained to."""


@dataclass(frozen=True)
class VisionAnswer:
    """The `n` texts for one `VisionRequest`."""

    texts: tuple[str, ...]
    model: str


class VisionModel(Protocol):
    """Answers questions about images. Implementations: `models.vllm_engine`, `models.openai_vision`."""

    usage: Usage
    """What asking it took so far."""

    def generate(self, requests: Iterable[VisionRequest]) -> Iterator[VisionAnswer]:
        """Answers in the order of the requests; the same requests get the same answers.

        Requests are taken from the iterable as room for them comes free, so a long stream of images
        is never in memory at once.

        Raises:
            ModelError: a request got no usable answer.
        """
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...
