"""A vision model behind an OpenAI-compatible endpoint, such as ``vllm serve``.

How requests are sent, tried again and refused is the rule of `models.connection`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from fundus_r1.models.connection import RETRIES, Connection
from fundus_r1.models.protocol import VisionAnswer, VisionRequest
from fundus_r1.spec.placement import Endpoint

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIVision:
    """Asks an endpoint about images.

    Args:
        endpoint: where it is, and how many requests it takes at once.
        model: the id to ask for; None takes the one model that the endpoint serves.
        retries: further tries of a request after a transient failure.

    Raises:
        ModelError: the variable that should hold the key is empty; or no model is named and the
            endpoint does not answer or does not serve exactly one.
    """

    def __init__(self, endpoint: Endpoint, model: str | None = None, *, retries: int = RETRIES):
        self._connection = Connection(endpoint, retries=retries)
        self.model = model or self._only_model()

    def generate(self, requests: list[VisionRequest]) -> list[VisionAnswer]:
        """See `models.protocol.VisionModel`; not to be called where an event loop runs."""
        return self._connection.ask_all(self._ask, requests)

    def close(self) -> None:
        """Holds nothing open between calls."""

    async def _ask(self, client: AsyncOpenAI, request: VisionRequest) -> VisionAnswer:
        more: dict[str, Any] = {}
        if request.schema is not None:
            form = {"name": "answer", "schema": request.schema, "strict": True}
            more["response_format"] = {"type": "json_schema", "json_schema": form}
        completion = await client.chat.completions.create(
            model=self.model,
            messages=[{"role": "user", "content": _content(request)}],
            n=request.n,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            **more,
        )
        choices = getattr(completion, "choices", None) or []
        if len(choices) != request.n:
            raise self._connection.error(
                f"The endpoint gave {len(choices)} answers to a request for {request.n}",
                "check that the address ends in /v1 and that the server takes the field n",
            )
        return VisionAnswer(
            texts=tuple(choice.message.content or "" for choice in choices),
            model=completion.model or self.model,
        )

    def _only_model(self) -> str:
        async def served(client: AsyncOpenAI, _: None) -> list[str]:
            return [model.id async for model in client.models.list()]

        (names,) = self._connection.ask_all(served, [None])
        if len(names) != 1:
            raise self._connection.error(
                f"The endpoint serves {len(names)} models: {', '.join(names) or 'none'}",
                "name the model to ask for",
            )
        return names[0]


def _content(request: VisionRequest) -> Any:
    kind = "png" if request.image.startswith(b"\x89PNG") else "jpeg"
    data = base64.b64encode(request.image).decode()
    return [
        {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}},
        {"type": "text", "text": request.prompt},
    ]
