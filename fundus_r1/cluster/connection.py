"""The connection to an API server: requests with credentials, sent again where that may help.

Requests that were throttled (429), met a server's error (5xx) or lost their connection are sent again with
growing pauses for `patience_s`. Every other answer than 2xx is a `RefusalError`, which `client` turns into
what its caller understands.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import urllib3

from fundus_r1.cluster.child import MANAGER, Resource
from fundus_r1.errors import ClusterError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

READ_S = 30.0
"""Seconds without a byte after which an answer counts as lost."""
_CONNECT_S = 5.0
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.25, 8.0
# Each log that is followed holds a connection; a smaller pool would close those that come back.
_CONNECTIONS = 1024
_HINT = "is KUBECONFIG right, and does the API server run?"


class RefusalError(Exception):
    """An answer other than 2xx.

    Args:
        status: HTTP's number.
        told: Kubernetes' own words, or what the answer holds instead.
        wait: seconds that the server wants to be left alone, as text.
    """

    def __init__(self, status: int, told: dict[str, Any], wait: str | None = None):
        self.status = status
        self.kubernetes = bool(told.get("reason"))
        """Whether Kubernetes says it of an object; not so where it does not know the kind."""
        self.message = str(told.get("message", ""))
        self.wait_s = float(wait) if wait and wait.isdigit() else None
        super().__init__(self.message)

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status == 429 or self.status >= 500


class Connection:
    """Requests to one API server; threads may share it.

    Args:
        configuration: address and credentials, as the Kubernetes client has loaded them.
        patience_s: seconds for which what can be repeated is repeated.
    """

    def __init__(self, configuration: Configuration, patience_s: float):
        from kubernetes.client.rest import RESTClientObject

        configuration.retries = False
        self.configuration = configuration
        self.host: str = configuration.host
        self._patience_s = patience_s
        self._http = RESTClientObject(configuration, maxsize=_CONNECTIONS).pool_manager

    def send(
        self, method: str, path: str, query: dict[str, str] | None = None, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The answer's JSON.

        Raises:
            RefusalError: it is no success.
            ClusterError: the server cannot be reached.
        """
        found: dict[str, Any] = json.loads(
            self._patiently(method, path, query or {}, body, READ_S, False).data
        )
        return found

    def stream(self, path: str, query: dict[str, str], read_s: float) -> Iterator[bytes]:
        """Lines of an answer that comes bit by bit; see `lines`."""
        return lines(self._patiently("GET", path, query, None, read_s, True))

    def stream_once(self, path: str, query: dict[str, str], read_s: float | None) -> Iterator[bytes]:
        """The same, asked for once only."""
        try:
            return lines(self._once("GET", path, query, None, read_s, True))
        except urllib3.exceptions.HTTPError as error:
            raise self._lost(error) from error

    def _patiently(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: dict[str, Any] | None,
        read_s: float,
        streamed: bool,
    ) -> urllib3.BaseHTTPResponse:
        until = time.monotonic() + self._patience_s
        pause_s = _BACKOFF_S
        while True:
            rest_s = pause_s * random.uniform(0.5, 1)
            try:
                return self._once(method, path, query, body, read_s, streamed)
            except RefusalError as refusal:
                rest_s = rest_s if refusal.wait_s is None else refusal.wait_s
                if not refusal.passes or time.monotonic() + rest_s > until:
                    raise
            except urllib3.exceptions.HTTPError as error:
                if time.monotonic() + rest_s > until:
                    raise self._lost(error) from error
            time.sleep(rest_s)
            pause_s = min(2 * pause_s, _LONGEST_BACKOFF_S)

    def _once(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: dict[str, Any] | None,
        read_s: float | None,
        streamed: bool,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json, */*", "User-Agent": MANAGER}
        # Asked for each time, since the token of a pod is renewed now and then.
        for auth in self.configuration.auth_settings().values():
            headers[auth["key"]] = auth["value"]
        if body is not None:
            headers["Content-Type"] = f"application/{'merge-patch+' if method == 'PATCH' else ''}json"
        asked = urlencode({key: value for key, value in query.items() if value})
        answer: urllib3.BaseHTTPResponse = self._http.request(
            method,
            f"{self.host}{path}" + (f"?{asked}" if asked else ""),
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_s),
            preload_content=not streamed,
        )
        if 200 <= answer.status < 300:
            return answer
        try:
            told = json.loads(answer.data)
        except ValueError:
            told = {"message": answer.data.decode(errors="replace").strip()[:300]}
        raise RefusalError(answer.status, told, answer.headers.get("Retry-After"))

    def _lost(self, error: urllib3.exceptions.HTTPError) -> ClusterError:
        return ClusterError(
            f"The Kubernetes API server cannot be reached: {error}",
            where=self.host,
            hint=_HINT,
            transient=True,
        )


def lines(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Whole lines as they come; the last may have no end, unless the connection was lost in it."""
    rest = b""
    try:
        for chunk in answer.stream(1 << 16, decode_content=False):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line for line in whole if line)
        if rest:
            yield rest
    except urllib3.exceptions.HTTPError:
        return
    finally:
        answer.close()
        answer.release_conn()


def explained(refusal: RefusalError, verb: str, resource: Resource, subject: str, place: str) -> ClusterError:
    """A refusal for people.

    Args:
        refusal: the answer.
        verb: as a Role's rule names it.
        resource: the kind.
        subject: name of the object, or ``<pod>/log``; empty for all.
        place: namespace and server.
    """
    kind = f"{resource.plural}/log" if subject.endswith("/log") else resource.plural
    where = f"{resource.plural}/{subject} {place}" if subject else f"{resource.plural} {place}"
    if refusal.status == 401:
        return ClusterError(
            f"The API server does not accept these credentials to {verb} {kind}",
            where=where,
            hint="renew the kubeconfig's token, or give the pod a service account",
        )
    if refusal.status == 403 and "exceeded quota" in refusal.message:
        return ClusterError(
            f"The namespace's quota leaves no room: {refusal.message}",
            where=where,
            hint="ask for less in placement.cluster, or have the ResourceQuota raised",
        )
    if refusal.status == 403:
        rule = f'apiGroups: ["{resource.group}"], resources: ["{kind}"], verbs: ["{verb}"]'
        return ClusterError(
            f"These credentials may not {verb} {kind}: {refusal.message}",
            where=where,
            hint=f"a Role bound to them must have the rule {{{rule}}}",
        )
    if refusal.status == 404 and not refusal.kubernetes:
        return ClusterError(
            f"The cluster does not know the kind {resource.kind} of {resource.api_version}",
            where=where,
            hint="have its operator installed (fundus-r1 preflight lists what is needed)",
        )
    return ClusterError(
        f"Kubernetes refused to {verb} {kind}: {refusal.message} (HTTP {refusal.status})",
        where=where,
        transient=refusal.passes,
    )
