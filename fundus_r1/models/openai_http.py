"""A text model behind an OpenAI-compatible endpoint.

Where a request has a JSON schema, the endpoint is told of it (structured output), the answer is
validated all the same, and a wrong one is sent back once with what is wrong with it. What is then
still wrong is handed on as it is: the stage knows whether it can do without.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from fundus_r1.models.connection import RETRIES, Connection
from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Message = dict[str, str]

_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)
_REPAIR = (
    "That is no valid answer: {problem}. Answer again with nothing but one JSON value that satisfies "
    "this JSON schema: {schema}"
)


class OpenAIChat:
    """Asks an endpoint.

    Args:
        chat: the model's id, its temperature and the length of its answers.
        endpoint: where it is.
        role: ``writer`` or ``judge``, for errors.
        retries: further tries of a request after a transient failure.

    Raises:
        ModelError: the variable that should hold the key is empty.
    """

    def __init__(self, chat: Chat, endpoint: Endpoint, *, role: str = "writer", retries: int = RETRIES):
        self.chat = chat
        self.role = role
        self._connection = Connection(endpoint, retries=retries)
        self._structured = True

    def complete(self, requests: list[ChatRequest]) -> list[ChatAnswer]:
        """Answers in the order of the requests; not to be called where an event loop runs.

        Raises:
            ModelError: the endpoint cannot be reached, refused, or gave something that is no
                answer. An answer against its schema, after one repair, is no error here.
        """
        return self._connection.ask_all(self._answer, requests)

    async def _answer(self, client: AsyncOpenAI, request: ChatRequest) -> ChatAnswer:
        messages = [{"role": role, "content": text} for role, text in request.messages]
        first = await self._say(client, messages, request)
        if request.schema is None:
            return first
        text = bare_json(first.text)
        problem = violation(text, request.schema)
        if problem is None:
            return ChatAnswer(text, first.model)
        ask_again = _REPAIR.format(problem=problem, schema=json.dumps(request.schema))
        messages += [{"role": "assistant", "content": first.text}, {"role": "user", "content": ask_again}]
        second = await self._say(client, messages, request)
        return ChatAnswer(bare_json(second.text), second.model)

    async def _say(self, client: AsyncOpenAI, messages: list[Message], request: ChatRequest) -> ChatAnswer:
        import openai

        if request.schema is not None and self._structured:
            try:
                return await self._send(client, messages, _response_format(request))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                # Not every server knows structured output; the answer is validated in any case.
                if not re.search("response_format|json_schema", error.message):
                    raise
                self._structured = False
        return await self._send(client, messages, {})

    async def _send(self, client: AsyncOpenAI, messages: list[Message], more: dict[str, Any]) -> ChatAnswer:
        typed: Any = messages
        completion = await client.chat.completions.create(
            model=self.chat.model,
            messages=typed,
            temperature=self.chat.temperature,
            max_tokens=self.chat.max_tokens,
            **more,
        )
        choices = getattr(completion, "choices", None)
        if not choices:
            raise self._connection.error(
                f"What the {self.role}'s endpoint sent is no chat completion",
                "check that the address ends in /v1 and speaks OpenAI's API",
            )
        return ChatAnswer(choices[0].message.content or "", completion.model or self.chat.model)


def _response_format(request: ChatRequest) -> dict[str, Any]:
    form = {"name": request.task, "schema": request.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def bare_json(text: str) -> str:
    """An answer without the reasoning before it and the code fence around it."""
    text = _THINKING.sub("", text).strip()
    fenced = _FENCE.match(text)
    return fenced[1].strip() if fenced else text


def violation(text: str, schema: dict[str, Any]) -> str | None:
    """What is wrong with a text by its JSON schema, in one sentence; None if nothing is."""
    import jsonschema

    try:
        jsonschema.validate(json.loads(text), schema)
    except json.JSONDecodeError as error:
        return f"it is no JSON ({error})"
    except jsonschema.ValidationError as error:
        return f"at {error.json_path}: {error.message}"
    return None
