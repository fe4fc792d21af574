"""A connection to an OpenAI-compatible endpoint: many requests at once, errors that can be read.

The rule: requests run at once up to the endpoint's concurrency, answers come back in the order of
the requests, and the first request that fails for good ends them all. What a second try may cure
(no connection, a time-out, 408, 409, 429, 5xx) is tried again before it counts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from fundus_r1.errors import ModelError
from fundus_r1.spec.placement import Endpoint

if TYPE_CHECKING:
    from openai import AsyncOpenAI

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

RETRIES = 5
"""Waits about 0.5, 1, 2, 4, 8 s, or as long as the endpoint says."""
_SHOWN = 300
"""Characters of an endpoint's own message that an error repeats."""


class Connection:
    """Where and with which key requests are sent. Holds nothing open between calls.

    Args:
        endpoint: address, key, time-out and concurrency.
        retries: further tries of a request after a transient failure.

    Raises:
        ModelError: the variable that should hold the key is empty.
    """

    def __init__(self, endpoint: Endpoint, *, retries: int = RETRIES):
        self.endpoint = endpoint
        self.retries = retries
        self._key = _key(endpoint)

    def ask_all(self, ask: Callable[[AsyncOpenAI, I], Awaitable[O]], items: Sequence[I]) -> list[O]:
        """``ask(client, item)`` for each item; not to be called where an event loop runs.

        Raises:
            ModelError: an item got no answer; says what the endpoint said, and never the key.
        """
        return asyncio.run(self._ask_all(ask, items)) if items else []

    async def _ask_all(self, ask: Callable[[AsyncOpenAI, I], Awaitable[O]], items: Sequence[I]) -> list[O]:
        import openai

        free = asyncio.Semaphore(self.endpoint.concurrency)

        async def one(client: AsyncOpenAI, item: I) -> O:
            async with free:
                return await ask(client, item)

        # A client belongs to one event loop, so each call has its own.
        async with openai.AsyncOpenAI(
            base_url=self.endpoint.url,
            api_key=self._key or "none",
            timeout=self.endpoint.timeout_s,
            max_retries=self.retries,
        ) as client:
            tasks = [asyncio.create_task(one(client, item)) for item in items]
            try:
                return await asyncio.gather(*tasks)
            except openai.APITimeoutError as error:
                raise self.error(
                    f"The endpoint did not answer within {self.endpoint.timeout_s:g} s",
                    "raise the endpoint's timeout_s or lower its concurrency",
                    transient=True,
                ) from error
            except openai.APIConnectionError as error:
                raise self.error(
                    f"The endpoint cannot be reached: {error.__cause__ or error}",
                    "check the address (it ends in /v1) and that the server runs",
                    transient=True,
                ) from error
            except openai.APIStatusError as error:
                # The cause would show the request's headers to whoever prints the chain.
                raise self._refused(error.status_code, error.message) from None
            except (openai.OpenAIError, ValueError) as error:
                raise self.error(
                    f"The endpoint's answer cannot be read: {error}",
                    "check that the address ends in /v1 and speaks OpenAI's API",
                ) from error
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _refused(self, status: int, message: str) -> ModelError:
        what = f"The endpoint refused with status {status}: {message}"
        if status in (401, 403):
            return self.error(what, "put a valid key into the variable that api_key_env names")
        if status == 404:
            return self.error(what, "check the address (it ends in /v1) and the model's id")
        if status in (408, 409, 429) or status >= 500:
            return self.error(what, "try again later, or lower the endpoint's concurrency", transient=True)
        return self.error(what, "check that the model takes such a request, and one of this length")

    def error(self, what: str, hint: str, *, transient: bool = False) -> ModelError:
        """A `ModelError` about this endpoint, without the key even where the endpoint repeats it."""
        said = what.replace(self._key, "***") if self._key else what
        return ModelError(said[:_SHOWN], where=self.endpoint.url, hint=hint, transient=transient)


def _key(endpoint: Endpoint) -> str | None:
    if endpoint.api_key_env is None:
        return None
    key = os.environ.get(endpoint.api_key_env)
    if not key:
        raise ModelError(
            f"The variable {endpoint.api_key_env} holds no key",
            where=endpoint.url,
            hint=f"set {endpoint.api_key_env}, or leave api_key_env out for a server without keys",
        )
    return key
