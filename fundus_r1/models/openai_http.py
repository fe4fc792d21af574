"""A text model behind an OpenAI-compatible endpoint.

Where a request has a JSON schema, the endpoint is told of it (structured output), the answer is
validated all the same, and a wrong one is sent back once with what is wrong with it; an empty one is asked
for once more. What is then still wrong is handed on as it is, and counted: the stage knows whether it can do
without. Answers that satisfy their schema are kept in the store, if one is given (`models.cache`).
"""

from __future__ import annotations

import json
from typing import Any

from fundus_r1.fingerprint import fingerprint
from fundus_r1.models.answers import bare_json, violation
from fundus_r1.models.breaker import Pace
from fundus_r1.models.cache import ResponseCache
from fundus_r1.models.completions import Completions, Said
from fundus_r1.models.connection import PACE, Connection
from fundus_r1.models.failures import RefusedRequestError
from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.models.turn import Turn
from fundus_r1.models.usage import Usage
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from fundus_r1.storage.protocol import Store

Message = dict[str, str]

_REPAIR = (
    "That is no valid answer: {problem}. Answer again with nothing but one JSON value that satisfies "
    "this JSON schema: {schema}"
)


class OpenAIChat:
    """Asks an endpoint. Any number of threads may ask at once; they share its concurrency.

    Args:
        chat: the model's id, its temperature and the length of its answers.
        endpoint: where it is; its `model` is asked for, if it names one.
        role: ``writer`` or ``judge``: under which answers are kept.
        store: keeps answers, and is asked before the endpoint; None asks the endpoint each time.
        pace: how failed requests are tried again.

    Raises:
        ModelError: the variable that should hold the key is empty.
    """

    def __init__(
        self, chat: Chat, endpoint: Endpoint, *, role: str = "writer", store: Store | None = None,
        pace: Pace = PACE,
    ):  # fmt: skip
        self.chat = chat
        self.role = role
        self.usage = Usage()
        self._connection = Connection(endpoint, self.usage, pace)
        self._completions = Completions(self._connection, endpoint.model or chat.model)
        self._cache = ResponseCache(store, role, self.usage) if store is not None else None

    def complete(self, requests: list[ChatRequest]) -> list[ChatAnswer]:
        """Answers in the order of the requests.

        A request that is refused by itself (for its length, by a content filter) gets an empty answer
        and is counted; only where no request has been answered at all, the refusal is an error.

        Raises:
            ModelError: the endpoint cannot be reached, refused, or gave something that is no
                answer. An answer against its schema, after one repair, is no error here.
            StoreError: the store refused for good to keep answers.
        """
        try:
            outcomes = list(self._connection.stream(self._answer, requests))
            refused = [outcome for outcome in outcomes if isinstance(outcome, RefusedRequestError)]
            if refused and len(refused) == len(outcomes) and not self._connection.answers:
                raise refused[0]
            self.usage.add(refused=len(refused))
            nothing = ChatAnswer("", self._completions.model)
            return [nothing if isinstance(outcome, RefusedRequestError) else outcome for outcome in outcomes]
        finally:
            if self._cache is not None:
                self._cache.flush()

    def close(self) -> None:
        """Ends the connections."""
        self._connection.close()
        if self._cache is not None:
            self._cache.close()

    async def _answer(self, turn: Turn, request: ChatRequest) -> ChatAnswer | RefusedRequestError:
        try:
            return await self._asked(turn, request)
        except RefusedRequestError as refusal:
            return refusal

    async def _asked(self, turn: Turn, request: ChatRequest) -> ChatAnswer:
        key = self._fingerprint(request) if self._cache is not None else ""
        if self._cache is not None and (kept := await self._cache.find(key)) is not None:
            return ChatAnswer(kept.texts[0], kept.model)
        messages = [{"role": role, "content": text} for role, text in request.messages]
        said = await self._say(turn, messages, request)
        problem = _problem(said, request)
        if problem is not None:
            self.usage.add(repaired=1)
            if request.schema is not None:
                ask_again = _REPAIR.format(problem=problem, schema=json.dumps(request.schema))
                messages += [
                    {"role": "assistant", "content": said.texts[0]},
                    {"role": "user", "content": ask_again},
                ]
            said = await self._say(turn, messages, request)
            problem = _problem(said, request)
        self.usage.add(requests=1, invalid=int(problem is not None))
        text = _text(said, request)
        if self._cache is not None and problem is None:
            self._cache.keep(key, (text,), said.model)
        return ChatAnswer(text, said.model)

    async def _say(self, turn: Turn, messages: list[Message], request: ChatRequest) -> Said:
        body: dict[str, Any] = {"messages": messages, **self._sampling()}
        return await self._completions.create(turn, body, request.schema, request.task)

    def _sampling(self) -> dict[str, Any]:
        return {"temperature": self.chat.temperature, "max_tokens": self.chat.max_tokens}

    def _fingerprint(self, request: ChatRequest) -> str:
        asked = {"model": self._completions.model, "messages": request.messages, "schema": request.schema}
        return fingerprint({"kind": "chat", **asked, **self._sampling()})


def _text(said: Said, request: ChatRequest) -> str:
    return said.texts[0] if request.schema is None else bare_json(said.texts[0])


def _problem(said: Said, request: ChatRequest) -> str | None:
    text = _text(said, request)
    if request.schema is not None:
        return violation(text, request.schema)
    return None if text.strip() else "it is empty"
