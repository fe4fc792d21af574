"""One HTTP request at a time for any thread, cut off hard at its deadline and at its size.

httpx's own time-outs count from byte to byte, so a host that sends one byte now and then would
hold a request for hours. The exchange therefore runs in an event loop of its own thread, where it
can be cancelled wherever it stands.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fundus_r1 import __version__
from fundus_r1.errors import SpecError
from fundus_r1.retrieval.addresses import Again
from fundus_r1.retrieval.politeness import AGENT

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Reply:
    """What one host said to one request."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes
    cut: bool
    """Whether the body goes on beyond the bytes that were wanted."""


_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")
"""Loggers that name addresses and headers."""


class HideSecrets(logging.Filter):
    """Keeps secrets out of what the HTTP library logs."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        for secret in self.secrets:
            if secret in message:
                message = message.replace(secret, "***")
                record.msg, record.args = message, None
        return True


class Transport:
    """A pool of connections; nothing is opened before the first request.

    Args:
        timeout_s: seconds without a byte until a request counts as lost.
        contact: e-mail address that hosts are told.
    """

    def __init__(self, timeout_s: float, contact: str | None):
        told = f" (mailto:{contact})" if contact else ""
        self._headers = {"User-Agent": f"{AGENT}/{__version__}{told}"}
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: httpx.AsyncClient | None = None
        self._hide = HideSecrets()

    def send(self, url: str, secrets: Mapping[str, str], max_bytes: int, seconds: float) -> Reply:
        """GETs one address, following no redirect.

        Args:
            url: the address, without secrets.
            secrets: further parameters, which no log and no error shows.
            max_bytes: what is read of the body, at most.
            seconds: until the whole exchange is given up.

        Raises:
            Again: there was no whole answer.
        """
        loop = self._started()
        self._hide.secrets.update(secrets.values())
        work = self._send(url, dict(secrets), max_bytes, seconds)
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    def close(self) -> None:
        """Closes all connections."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or self._client is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._client.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._hide)

    def _started(self) -> asyncio.AbstractEventLoop:
        import httpx

        with self._lock:
            if self._loop is None:
                for name in _LOGGERS:
                    logging.getLogger(name).addFilter(self._hide)
                self._client = httpx.AsyncClient(
                    headers=self._headers, timeout=self._timeout_s, follow_redirects=False
                )
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="retrieval", daemon=True)
                self._thread.start()
            return self._loop

    async def _send(self, url: str, secrets: dict[str, str], max_bytes: int, seconds: float) -> Reply:
        import httpx

        assert self._client is not None
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise SpecError(f"This is no address that can be fetched: {error}", where=url) from None
        if secrets:
            address = address.copy_merge_params(secrets)
        try:
            async with asyncio.timeout(seconds), self._client.stream("GET", address) as response:
                body, cut = await _read(response, max_bytes)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, headers, body, cut)
        except TimeoutError:
            raise Again("no whole answer within the deadline") from None
        except httpx.TimeoutException:
            raise Again(f"nothing came for {self._timeout_s:g} s") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            # The cause holds the request, whose address may hold a secret.
            raise Again(f"{type(error).__name__}: {error}".rstrip(": ")) from None


async def _read(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    """The decoded body up to `max_bytes`, and whether there is more."""
    stated = response.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > max_bytes and response.status_code == 200:
        return b"", True
    body = bytearray()
    async for chunk in response.aiter_bytes(65_536):
        body += chunk
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False
