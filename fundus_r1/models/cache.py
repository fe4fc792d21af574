"""Keeps what endpoints answered in the store, so that a request is paid for once.

The rule: an answer is found by the fingerprint of all that it depends on, under
``responses/<role>/<2 digits>/<fingerprint>.json``; only what satisfies its schema is kept; what is damaged or
is another's is asked for again. The cache is a convenience: a store that does not answer for a while costs
requests, never an answer. What asks it does not wait for its writes until `flush`.
"""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pydantic import ValidationError

from fundus_r1.errors import StoreError
from fundus_r1.fingerprint import fingerprint
from fundus_r1.models.usage import Usage
from fundus_r1.rows import Response
from fundus_r1.storage.protocol import Store

_THREADS = 8
_LOOKUP_S = 10.0
"""Seconds until a look-up is given up and the endpoint asked."""
_OFF_S = 60.0
"""Seconds without look-ups after one that failed."""


class ResponseCache:
    """The kept answers of one role.

    Args:
        store: where they lie.
        role: ``writer``, ``judge``, ``observer`` or ``free_form``.
        usage: is told of answers that were found (``cached``) and failures of the store (``cache_failed``).
    """

    def __init__(self, store: Store, role: str, usage: Usage):
        self._store = store
        self._role = role
        self._usage = usage
        self._off_until = 0.0
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="response-cache")
        self._lock = threading.Lock()
        self._writes: set[Future[None]] = set()
        self._refused: BaseException | None = None

    def _key(self, request: str) -> str:
        return f"responses/{self._role}/{request[:2]}/{request}.json"

    async def find(self, request: str) -> Response | None:
        """The kept answer to a request; None if there is none.

        Args:
            request: fingerprint of all that the answer depends on.

        Raises:
            StoreError: the store refused for good.
        """
        if time.monotonic() < self._off_until:
            self._usage.add(cache_failed=1)
            return None
        looking = asyncio.get_running_loop().run_in_executor(self._pool, self._store.get, self._key(request))
        try:
            async with asyncio.timeout(_LOOKUP_S):
                data = await looking
        except (StoreError, TimeoutError) as error:
            if isinstance(error, StoreError) and not error.transient:
                raise
            self._off_until = time.monotonic() + _OFF_S
            self._usage.add(cache_failed=1)
            return None
        if data is None:
            return None
        found = _read(data, request, self._role)
        self._usage.add(**({"cached": 1} if found else {"cache_damaged": 1}))
        return found

    def keep(self, request: str, texts: tuple[str, ...], model: str) -> None:
        """Writes an answer in the background."""
        answered = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        fields = {
            "request": request, "role": self._role, "model": model, "texts": texts, "answered": answered
        }  # fmt: skip
        row = Response(**fields, checksum=fingerprint(fields))
        writing = self._pool.submit(self._write, self._key(request), row.model_dump_json().encode())
        with self._lock:
            self._writes.add(writing)
        writing.add_done_callback(self._written)

    def _write(self, key: str, data: bytes) -> None:
        try:
            self._store.put(key, data)
        except StoreError as error:
            if not error.transient:
                raise
            self._usage.add(cache_failed=1)

    def _written(self, writing: Future[None]) -> None:
        error = writing.exception()
        with self._lock:
            self._writes.discard(writing)
            self._refused = self._refused or error

    def flush(self) -> None:
        """Returns when all that was to be kept until now is kept.

        Raises:
            StoreError: the store refused for good.
        """
        with self._lock:
            writes = list(self._writes)
        wait(writes)
        if self._refused is not None:
            raise self._refused

    def close(self) -> None:
        """Writes what is left, and ends its threads."""
        self._pool.shutdown(wait=True)


def _read(data: bytes, request: str, role: str) -> Response | None:
    try:
        row = Response.model_validate_json(data)
    except ValidationError:
        return None
    whole = row.checksum == fingerprint(row.model_dump(exclude={"checksum"}))
    return row if whole and (row.request, row.role) == (request, role) and row.texts else None
