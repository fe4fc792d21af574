"""Which models an OpenAI-compatible endpoint serves: one request, which costs nothing."""

from __future__ import annotations

from fundus_r1.errors import ModelError
from fundus_r1.models.connection import key_of
from fundus_r1.models.failures import read_failure
from fundus_r1.spec.placement import Endpoint

_TIMEOUT_S = 10.0
_SHOWN = 200


def served_models(endpoint: Endpoint) -> list[str] | None:
    """The ids of the models that an endpoint says it serves; None where it answers but does not list them.

    Raises:
        ModelError: it does not answer, or refuses the key; or the variable of the key is empty.
    """
    import httpx

    key = key_of(endpoint)
    try:
        answer = httpx.get(
            f"{endpoint.url.rstrip('/')}/models",
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=_TIMEOUT_S,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        failure = read_failure(error, _TIMEOUT_S)
        raise ModelError(
            failure.said, where=endpoint.url, hint=failure.hint, transient=failure.transient
        ) from error
    if answer.status_code in (401, 403):
        raise ModelError(
            f"The endpoint refuses the key (HTTP {answer.status_code})",
            where=endpoint.url,
            hint=f"look at {endpoint.api_key_env}" if endpoint.api_key_env else "name a key: api_key_env",
        )
    if answer.status_code >= 500:
        raise ModelError(
            f"The endpoint fails (HTTP {answer.status_code})",
            where=endpoint.url,
            hint="look at its log",
            transient=True,
        )
    try:
        return [str(model["id"]) for model in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return None
