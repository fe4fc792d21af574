"""What an OpenAI-compatible endpoint's failure means: whether a second try may cure it, and what to do.

Transient is what the same request may survive a moment later: no connection, a time-out, a connection
that broke, an answer that is cut or empty, and the statuses 408, 409, 429 and 5xx. All else is permanent,
because asking again would only be the same mistake again.
"""

from __future__ import annotations

import datetime
import email.utils
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fundus_r1.errors import ModelError

if TYPE_CHECKING:
    import httpx

_BUSY = frozenset({429, 503, 529})
_PASSING = frozenset({408, 409, 425, 429})
_OWN = frozenset({400, 413, 422})
_PLAIN_HINT = "check that the address ends in /v1 and speaks OpenAI's API"


@dataclass(frozen=True)
class Failure:
    """One try that got no answer."""

    kind: str
    """Short name, counted as ``met_<kind>``: a status, ``timeout``, ``connect``, ``reset``, ``broken``,
    ``empty`` or ``no_completion``."""
    said: str
    """What happened, in one sentence."""
    hint: str
    """What to do about it, if it stays."""
    transient: bool
    own: bool = False
    """The request itself is refused, for its length or for what it says; others may be answered."""
    busy: bool = False
    """The endpoint is there and has too much to do: fewer requests at once are the cure."""
    wait_s: float | None = None
    """Seconds that the endpoint asks to be left alone."""
    param: str = ""
    """The field of the request that the endpoint names as the reason."""


class RefusedRequestError(ModelError):
    """One request got no answer for a reason of its own; the endpoint may well answer others."""


class UnusableAnswer(Exception):  # noqa: N818 - it carries the failure that it is
    """An answer arrived, and is none."""

    def __init__(self, failure: Failure):
        super().__init__(failure.said)
        self.failure = failure


def read_failure(error: Exception, timeout_s: float) -> Failure:
    """The failure that an exception of one try stands for.

    Args:
        error: `UnusableAnswer`, `TimeoutError`, or an ``httpx.HTTPError`` or ``httpx.InvalidURL``.
        timeout_s: of one try, for the message.
    """
    import httpx

    if isinstance(error, UnusableAnswer):
        return error.failure
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return Failure(
            "timeout",
            f"The endpoint did not answer within {timeout_s:g} s",
            "raise the endpoint's timeout_s or lower its concurrency",
            transient=True,
            busy=True,
        )
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        said = f"The endpoint's address is none: {error}"
        return Failure("no_completion", said, "write it as http(s)://host:port/v1", transient=False)
    if isinstance(error, httpx.ConnectError):
        said = f"The endpoint cannot be reached: {error}"
        return Failure("connect", said, "check the address and that the server runs", transient=True)
    return Failure(
        "reset",
        f"The endpoint's connection broke: {str(error) or type(error).__name__}",
        "see what the server's log says at this time",
        transient=True,
    )


def checked(response: httpx.Response) -> bytes:
    """The body of an answer with a good status.

    Raises:
        UnusableAnswer: the endpoint refused.
    """
    if response.status_code == 200:
        return response.content
    said, param = response.text.strip() or response.reason_phrase, ""
    try:
        told = response.json()
    except ValueError:
        told = None
    if isinstance(told, dict):
        # OpenAI's form, and that of servers which put the fields at the top.
        error = told["error"] if isinstance(told.get("error"), dict) else told
        said = error["message"] if isinstance(error.get("message"), str) else said
        param = str(error.get("param") or "")
    raise UnusableAnswer(replace(refused(response.status_code, said, response.headers), param=param))


def refused(status: int, message: str, headers: Mapping[str, str]) -> Failure:
    """The failure that an HTTP status stands for.

    Args:
        status: of the answer.
        message: the endpoint's own words.
        headers: of the answer; ``Retry-After`` is read, as seconds, milliseconds or a date.
    """
    said = f"The endpoint refused with status {status}: {message}"
    if status in _PASSING or status >= 500:
        hint = "try again later, or lower the endpoint's concurrency"
        busy = status in _BUSY
        return Failure(str(status), said, hint, transient=True, busy=busy, wait_s=retry_after(headers))
    hint = "check that the model takes such a request, and one of this length"
    if status < 400:
        hint = "write the address that the endpoint really has: the key is not sent after a redirection"
    if status in (401, 403):
        hint = "put a valid key into the variable that api_key_env names"
    if status == 404:
        hint = "check the address (it ends in /v1) and the model's id"
    return Failure(str(status), said, hint, transient=False, own=status in _OWN)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the headers ask to wait; None where they say nothing that can be read."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / scale
        except ValueError:
            try:
                until = email.utils.parsedate_to_datetime(value)
            except ValueError:
                continue
            if until.tzinfo is None:
                until = until.replace(tzinfo=datetime.UTC)
            seconds = (until - datetime.datetime.now(datetime.UTC)).total_seconds()
        if 0 <= seconds < 1e9:
            return seconds
    return None


def _no_completion(what: str) -> Failure:
    said = f"The endpoint's answer is no chat completion: {what}"
    return Failure("no_completion", said, _PLAIN_HINT, transient=False)


def completion(data: bytes) -> dict[str, Any]:
    """A chat completion with at least one choice.

    Raises:
        UnusableAnswer: it is cut, empty or something else.
    """
    try:
        value = json.loads(data)
    except ValueError as error:
        if data.lstrip()[:1] in (b"", b"{"):
            said = f"The endpoint's answer is cut after {len(data)} bytes: {error}"
            hint = "see what the server's log, or that of a proxy before it, says at this time"
            raise UnusableAnswer(Failure("broken", said, hint, transient=True)) from error
        raise UnusableAnswer(_no_completion(repr(data[:60]))) from error
    if not isinstance(value, dict):
        raise UnusableAnswer(_no_completion(f"it is a {type(value).__name__}"))
    choices = value.get("choices")
    # Some gateways send their errors, and those of the model behind them, with status 200.
    told = value.get("error")
    if not choices and isinstance(told, dict) and isinstance(told.get("code"), int):
        raise UnusableAnswer(refused(told["code"], str(told.get("message")), {}))
    if choices == [] or ("choices" in value and choices is None):
        said = "The endpoint sent a chat completion without a choice"
        raise UnusableAnswer(Failure("empty", said, _PLAIN_HINT, transient=True))
    if not isinstance(choices, list) or not all(_is_choice(choice) for choice in choices):
        raise UnusableAnswer(_no_completion(f"it has the fields {', '.join(sorted(value)) or 'none'}"))
    return value


def model_names(data: bytes) -> list[str]:
    """The ids in a list of models.

    Raises:
        UnusableAnswer: it is no such list.
    """
    try:
        return [str(model["id"]) for model in json.loads(data)["data"]]
    except (ValueError, TypeError, KeyError) as error:
        said = f"The endpoint's answer is no list of models: {data[:60]!r}"
        raise UnusableAnswer(Failure("no_completion", said, _PLAIN_HINT, transient=False)) from error


def _is_choice(choice: Any) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("message"), dict)
