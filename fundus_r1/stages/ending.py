"""How runs ended: one small object a run under ``runs/`` in the store."""

from __future__ import annotations

import datetime
import json

from fundus_r1.progress import emit
from fundus_r1.spec import Placement
from fundus_r1.storage import open_store


def note_ending(run: str, fingerprints: str, placement: str, *, state: str, error: str) -> None:
    """Writes ``runs/<time>-<run>.json``.

    Args:
        run: the run's name.
        fingerprints: JSON of stage -> fingerprint.
        placement: JSON of the placement.
        state: the pipeline's word for it, ``SUCCEEDED`` or ``FAILED``.
        error: the pipeline's message.
    """
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    note = {"run": run, "state": state, "error": error, "stages": json.loads(fingerprints)}
    store = open_store(Placement.model_validate_json(placement).store)
    store.put(f"runs/{now}-{run}.json", json.dumps(note, indent=1, sort_keys=True).encode())
    emit("finish", "note", state=state)
