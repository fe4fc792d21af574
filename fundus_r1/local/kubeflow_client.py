"""Kubeflow's own client with what it lacks: a deadline for each request, and errors that say what to do.

Used are its generated methods, since those made for people take no deadline.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from fundus_r1.errors import ClusterError

DEADLINE_S = (10.0, 60.0)
"""Seconds to connect, and to wait for an answer."""


class ExistsError(ClusterError):
    """What was to be made is there."""


class KubeflowClient:
    """The client of one server.

    Args:
        host: its address.
        namespace: of a server that several share.
        token: to be let in.

    Raises:
        ClusterError: it does not answer, or does not let us in.
    """

    def __init__(self, host: str, namespace: str | None, token: str | None):
        self.host = host
        with redirect_stdout(sys.stderr):
            self._client = self._asked(_client, host, namespace, token)

    @property
    def models(self) -> Any:
        """The generated types of what requests carry."""
        return self._client.api_models

    def ask(self, method: str, **arguments: Any) -> Any:
        """The answer to one request, made by a generated method, ``<service>.<method>``.

        Raises:
            ExistsError: what was to be made is there.
            ClusterError: the server refused, or did not answer.
        """
        service, _, name = method.partition(".")
        call = getattr(getattr(self._client, service), name)
        given = {key: value for key, value in arguments.items() if value is not None}
        return self._asked(call, **given, _request_timeout=DEADLINE_S)

    def _asked(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        import kfp_server_api
        import urllib3

        try:
            return call(*arguments, **named)
        except kfp_server_api.ApiException as error:
            raise _refusal(error, self.host) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterError(
                f"Kubeflow Pipelines does not answer: {first_line(str(error) or type(error).__name__)}",
                where=self.host,
                hint="correct --host, or open a way to it: kubectl port-forward svc/ml-pipeline 8888",
                transient=True,
            ) from error


def _client(host: str, namespace: str | None, token: str | None) -> Any:
    from kfp.client import Client

    class Prompt(Client):
        """The client, but for its 25 seconds of trying where it is not let in."""

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            return self._healthz_api.healthz_service_get_healthz(_request_timeout=DEADLINE_S)

    with warnings.catch_warnings():
        # That it does not work with servers before 2.0, at each start.
        warnings.simplefilter("ignore", FutureWarning)
        return Prompt(host=host, existing_token=token, namespace=namespace or "kubeflow")


_REFUSALS = {
    401: (
        "Kubeflow Pipelines does not know who asks",
        "name the variable that holds a valid token: --token-env; tokens end, so it may want a new one",
    ),
    403: (
        "Kubeflow Pipelines does not allow this",
        "ask for the right to make pipelines and runs in the namespace, or give the one that is yours "
        "(--namespace)",
    ),
    404: (
        "Kubeflow Pipelines does not have what was asked for",
        "look at the server's version (2.0 or later) and the address: on a shared Kubeflow it ends in "
        "/pipeline",
    ),
}
"""Status -> what it means here, and what to do."""
_REFUSED = (
    "Kubeflow Pipelines refused",
    "look at the server's version (2.0 or later), your rights and the namespace",
)


def _refusal(error: Any, host: str) -> ClusterError:
    """A server's answer that is no success, in words."""
    status = int(error.status or 0)
    told = _words(error)
    if status == 429 or status >= 500:
        return ClusterError(
            f"Kubeflow Pipelines cannot answer now ({status}): {told}",
            where=host,
            hint="try again; if it stays so, look at the logs of deployment/ml-pipeline",
            transient=True,
        )
    what, hint = _REFUSALS.get(status, _REFUSED)
    kind = ExistsError if status == 409 else ClusterError
    return kind(f"{what} ({status}): {told}", where=host, hint=hint)


def _words(error: Any) -> str:
    """A server's own words, which its services put into different fields."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        tree = json.loads(body)
    except ValueError:
        return first_line(body or str(error.reason))
    fields = ("message", "error_message", "error_details", "error")
    said = [tree[name] for name in fields if isinstance(tree, dict) and isinstance(tree.get(name), str)]
    return first_line(next((text for text in said if text), body))


def first_line(text: str) -> str:
    """Of a message, at most 300 characters."""
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else ""
