"""What the Hugging Face hub says of a model, and what its refusals mean to a person.

The hub's client takes its address and key from ``HF_ENDPOINT`` and ``HF_TOKEN``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fundus_r1.errors import ModelError
from fundus_r1.spec.base import UNPINNED
from fundus_r1.spec.models import HubModel

TIMEOUT_S = 30.0
"""Seconds until the hub counts as away."""


def commit_of(ref: HubModel, endpoint: str | None = None) -> str:
    """The commit that a model's revision names now: a branch, a tag, or the newest of all.

    Args:
        ref: the model; a revision that is a commit is looked up too, to see that it is there.
        endpoint: address of the hub; None takes the client's own.

    Raises:
        ModelError: the hub has no such model or revision, refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    revision = None if ref.revision == UNPINNED else ref.revision
    hint = "connect this machine to the hub, and try again"
    with hub_errors(ref, f"The commit of {ref.name} could not be looked up", hint):
        found = HfApi(endpoint=endpoint).model_info(ref.name, revision=revision, timeout=TIMEOUT_S).sha
    if found is None:
        raise ModelError(f"The hub names no commit of {ref.name}", where=ref.name)
    return found


@contextmanager
def hub_errors(ref: HubModel, what: str, hint: str) -> Iterator[None]:
    """Tells a refusal of the hub to a person.

    Args:
        ref: the model that is asked for.
        what: what was not possible.
        hint: what to do if the hub could not be reached.

    Raises:
        ModelError: the hub refused (permanent), or could not be reached (transient).
    """
    import httpx
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise ModelError(
            f"{ref.name} is gated", where=ref.name, hint="accept its terms on the hub and set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        revision = "" if ref.revision == UNPINNED else f" at the revision {ref.revision}"
        raise ModelError(
            f"The hub has no {ref.name}{revision}",
            where=ref.name,
            hint="correct name and revision, or set HF_TOKEN if the model is private",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise ModelError(
            f"{what}: {str(error).splitlines()[0]}", where=ref.name, hint=hint, transient=True
        ) from error
