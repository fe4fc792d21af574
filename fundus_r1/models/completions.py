"""Chat completions of one model at one endpoint, for texts and for images.

Servers differ in what they take. Where one refuses structured output, or several answers to one request, it
is asked without from then on: answers are validated and counted in any case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fundus_r1.models.answers import is_foreign
from fundus_r1.models.connection import Connection
from fundus_r1.models.failures import Failure, UnusableAnswer, checked, completion
from fundus_r1.models.turn import Turn

if TYPE_CHECKING:
    import httpx

Body = dict[str, Any]

_UNKNOWN_FORMAT = re.compile("response_format|json_schema|guided|structured")
_UNKNOWN_N = re.compile(r"[`'\"]n[`'\"]|\bn\s*(?:>|=|must|should|is|has|larger|greater)")


@dataclass(frozen=True)
class Said:
    """What one request got."""

    texts: tuple[str, ...]
    """At least one."""
    model: str
    """Id of the model that answered."""


class Completions:
    """Sends chat completions and keeps the accounts.

    Args:
        connection: to the endpoint.
        model: the id to ask for.
    """

    def __init__(self, connection: Connection, model: str):
        self.model = model
        self._connection = connection
        self._structured = True
        self._several = True

    async def create(self, turn: Turn, body: Body, schema: dict[str, Any] | None, name: str) -> Said:
        """One request, tried again as `models.connection` says.

        Args:
            turn: whose deadline holds.
            body: all but the model and the form of the answer; not changed.
            schema: JSON schema of the answer; None for free text.
            name: of the schema, for the endpoint.

        Raises:
            ModelError: it got no answer.
        """
        form = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}

        async def post(client: httpx.AsyncClient) -> dict[str, Any]:
            while True:
                sent = {"model": self.model, **body}
                if schema is not None and self._structured:
                    sent["response_format"] = form
                if not self._several:
                    sent.pop("n", None)
                try:
                    response = await client.post("/chat/completions", json=sent)
                    return completion(checked(response))
                except UnusableAnswer as answer:
                    if not self._does_without(answer.failure, sent):
                        raise

        value = await turn.send(post)
        texts = tuple(_text(choice["message"]) for choice in value["choices"])
        self._account(value, texts)
        model = value.get("model")
        return Said(texts, model if isinstance(model, str) and model else self.model)

    def _does_without(self, failure: Failure, sent: Body) -> bool:
        """Whether the endpoint refused a field that can be left out; it is from now on."""
        if failure.kind not in ("400", "422"):
            return False
        if "response_format" in sent and _UNKNOWN_FORMAT.search(failure.said):
            self._structured = False
            return True
        if sent.get("n", 1) > 1 and (failure.param == "n" or _UNKNOWN_N.search(failure.said)):
            self._several = False
            return True
        return False

    def _account(self, value: dict[str, Any], texts: tuple[str, ...]) -> None:
        spent = value.get("usage")
        tokens = spent if isinstance(spent, dict) else {}
        self._connection.usage.add(
            sent=1,
            empty=sum(not text.strip() for text in texts),
            foreign=sum(is_foreign(text) for text in texts),
            **{
                name: tokens[name]
                for name in ("prompt_tokens", "completion_tokens")
                if isinstance(tokens.get(name), int)
            },
        )


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""
