"""Small JSON objects in a store, each read into its own type."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fundus_r1.errors import StoreError
from fundus_r1.storage.protocol import Store

M = TypeVar("M", bound=BaseModel)


def read_document(store: Store, key: str, kind: type[M], *, name: str, mend: str) -> M | None:
    """The object, or None if there is none.

    Args:
        store: where it lies.
        key: its key.
        kind: what it holds.
        name: what it is, for people: "A record".
        mend: what to do once one that cannot be read is deleted: "run again".

    Raises:
        StoreError: it is there, and is not of that kind.
    """
    data = store.get(key)
    if data is None:
        return None
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"{name} cannot be read: {error.errors()[0]['msg']}",
            where=f"{store.uri}/{key}",
            hint=f"it was written by another version of this program; delete it and {mend}",
        ) from error
