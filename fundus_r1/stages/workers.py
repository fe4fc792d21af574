"""What the workers of stage 3 leave behind about themselves: parts, images, time, tokens.

Each attempt of a worker keeps one small object in the store and writes it anew whenever a part is
behind it. A killed worker leaves what was true when its last part began. All attempts count in
what the observer took, those whose work was done again too: their tokens were paid for.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from fundus_r1.errors import StoreError
from fundus_r1.rows import WorkerRun
from fundus_r1.storage.lines import line_of
from fundus_r1.storage.protocol import Store

_FOLDER = "workers"


class WorkerLog:
    """Keeps the object of one attempt of one worker.

    Args:
        store: where it lies.
        prefix: ``<stage>/<fingerprint>`` of the output.
        worker: number of the worker.
    """

    def __init__(self, store: Store, prefix: str, worker: int):
        self._store = store
        self._worker = worker
        self._attempt = uuid.uuid4().hex
        self._key = f"{prefix}/{_FOLDER}/{worker}-{self._attempt}.json"
        self._started = time.monotonic()
        self._parts = self._images = 0

    def begin(self) -> None:
        """The clock starts."""
        self._started = time.monotonic()

    def done(self, images: int, usage: Mapping[str, int]) -> None:
        """One more part is computed.

        Args:
            images: in it.
            usage: of the observer, since it was opened.
        """
        self._parts += 1
        self._images += images
        seconds = time.monotonic() - self._started
        run = WorkerRun(
            worker=self._worker,
            attempt=self._attempt,
            parts=self._parts,
            images=self._images,
            seconds=round(seconds, 3),
            images_per_s=round(self._images / max(seconds, 1e-6), 3),
            usage=dict(usage),
        )
        self._store.put(self._key, line_of(run))


def worker_runs(store: Store, prefix: str) -> list[WorkerRun]:
    """All attempts that left a trace, by worker.

    Raises:
        StoreError: one cannot be read.
    """
    runs = []
    for key in store.list(f"{prefix}/{_FOLDER}/"):
        data = store.get(key)
        if data is None:
            continue
        try:
            runs.append(WorkerRun.model_validate_json(data))
        except ValidationError as error:
            raise StoreError(
                "What a worker left about itself cannot be read",
                where=f"{store.uri}/{key}",
                hint="delete this object; only the account of this worker is lost",
            ) from error
    return sorted(runs, key=lambda run: (run.worker, run.attempt))


def usage_of(runs: Iterable[WorkerRun]) -> dict[str, int]:
    """What asking the observer took in all attempts together, sorted by name."""
    total: Counter[str] = Counter()
    for run in runs:
        total.update(run.usage)
    return dict(sorted(total.items()))
