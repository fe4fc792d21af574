"""A vision model behind an OpenAI-compatible endpoint, such as ``vllm serve``.

How requests are sent, tried again and refused is the rule of `models.connection`. All `n` answers are asked
for in one request; a server that gives fewer is asked for the others one by one, each with a seed of its own.
Answers are handed on as they are, also against their schema: a rollout that cannot be read abstains
(paper, Sec. 3.2.2). Those of a request whose texts all satisfy their schema are kept in the store, if one is
given (`models.cache`).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fundus_r1.fingerprint import fingerprint, sha256
from fundus_r1.models.answers import bare_json, violation
from fundus_r1.models.breaker import Pace
from fundus_r1.models.cache import ResponseCache
from fundus_r1.models.completions import Completions, Said
from fundus_r1.models.connection import PACE, Connection
from fundus_r1.models.failures import RefusedRequestError, checked, model_names
from fundus_r1.models.protocol import VisionAnswer, VisionRequest
from fundus_r1.models.turn import Turn
from fundus_r1.models.usage import Usage
from fundus_r1.spec.placement import Endpoint
from fundus_r1.storage.protocol import Store

if TYPE_CHECKING:
    import httpx

_WHO_S = 10.0
"""Seconds in which the endpoint must say which model it serves."""


class OpenAIVision:
    """Asks an endpoint about images.

    Args:
        endpoint: where it is, and how many requests it takes at once.
        model: the id to ask for; None takes the one model that the endpoint serves.
        role: ``observer`` or ``free_form``: under which answers are kept.
        store: keeps answers, and is asked before the endpoint; None asks the endpoint each time.
        pace: how failed requests are tried again.

    Raises:
        ModelError: the variable that should hold the key is empty; or no model is named and the
            endpoint does not answer or does not serve exactly one.
    """

    def __init__(
        self, endpoint: Endpoint, model: str | None = None, *, role: str = "observer",
        store: Store | None = None, pace: Pace = PACE,
    ):  # fmt: skip
        self.usage = Usage()
        self._connection = Connection(endpoint, self.usage, pace)
        self._cache = ResponseCache(store, role, self.usage) if store is not None else None
        self.model = model or self._only_model()
        self._completions = Completions(self._connection, self.model)

    def generate(self, requests: Iterable[VisionRequest]) -> Iterator[VisionAnswer]:
        """See `models.protocol.VisionModel`.

        A request that is refused by itself (for its length, by a content filter) gets empty texts and is
        counted; where no request has been answered at all, the refusal is raised at the end.
        """
        refusal: RefusedRequestError | None = None
        answered = 0
        try:
            for asked, outcome in self._connection.stream(self._ask, requests):
                if isinstance(outcome, RefusedRequestError):
                    refusal = refusal or outcome
                    self.usage.add(refused=1)
                    yield VisionAnswer(("",) * asked.n, self.model)
                else:
                    answered += 1
                    yield outcome
            if refusal is not None and not answered and not self._connection.answers:
                raise refusal
        finally:
            if self._cache is not None:
                self._cache.flush()

    def close(self) -> None:
        """Ends the connections."""
        self._connection.close()
        if self._cache is not None:
            self._cache.close()

    async def _ask(
        self, turn: Turn, request: VisionRequest
    ) -> tuple[VisionRequest, VisionAnswer | RefusedRequestError]:
        try:
            return request, await self._asked(turn, request)
        except RefusedRequestError as refusal:
            return request, refusal

    async def _asked(self, turn: Turn, request: VisionRequest) -> VisionAnswer:
        key = self._fingerprint(request) if self._cache is not None else ""
        if self._cache is not None and (kept := await self._cache.find(key)) is not None:
            return VisionAnswer(kept.texts, kept.model)
        body = {
            "messages": [{"role": "user", "content": _content(request)}],
            "n": request.n,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        said = await self._say(turn, body, request, request.seed)
        missing = range(len(said.texts), request.n)
        if missing:
            self.usage.add(refilled=len(missing))
            seeds = [int(sha256(f"{request.seed}:{number}".encode())[:7], 16) for number in missing]
            others = await _all(self._say(turn, body | {"n": 1}, request, seed) for seed in seeds)
            said = Said(said.texts + tuple(other.texts[0] for other in others), said.model)
        texts = said.texts[: request.n]
        wrong = 0
        if request.schema is not None:
            wrong = sum(violation(bare_json(text), request.schema) is not None for text in texts)
        self.usage.add(requests=1, invalid=wrong)
        if self._cache is not None and not wrong and all(text.strip() for text in texts):
            self._cache.keep(key, texts, said.model)
        return VisionAnswer(texts, said.model)

    async def _say(self, turn: Turn, body: dict[str, Any], request: VisionRequest, seed: int) -> Said:
        return await self._completions.create(turn, body | {"seed": seed}, request.schema, "answer")

    def _fingerprint(self, request: VisionRequest) -> str:
        fields = {name: value for name, value in vars(request).items() if name != "image"}
        return fingerprint({"kind": "vision", "model": self.model, "image": sha256(request.image), **fields})

    def _only_model(self) -> str:
        async def served(client: httpx.AsyncClient) -> list[str]:
            return model_names(checked(await client.get("/models")))

        async def ask(turn: Turn, _: None) -> list[str]:
            return await turn.send(served)

        (names,) = self._connection.stream(ask, [None], deadline_s=_WHO_S)
        if len(names) != 1:
            raise self._connection.error(
                f"The endpoint serves {len(names)} models: {', '.join(names) or 'none'}",
                "name the model to ask for",
            )
        return names[0]


async def _all(asked: Iterable[Any]) -> list[Said]:
    """All of them at once; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _content(request: VisionRequest) -> Any:
    kind = "png" if request.image.startswith(b"\x89PNG") else "jpeg"
    data = base64.b64encode(request.image).decode()
    return [
        {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}},
        {"type": "text", "text": request.prompt},
    ]
