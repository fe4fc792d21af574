"""What S3Store makes of servers that refuse, fail, break off or are not there."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fundus_r1.errors import MachineError, SpecError, StoreError
from fundus_r1.storage import s3 as s3_module
from fundus_r1.storage.protocol import Conflict
from fundus_r1.storage.s3 import (
    ACCESS_KEY_ENV,
    SECRET_KEY_ENV,
    Credentials,
    S3Store,
    credentials_from_environment,
)
from fundus_r1.storage.server import LocalS3

KEYS = Credentials("the-access-key", "the-very-secret-key")
LISTING = b"""<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"""


def refusal(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>said so</Message></Error>'.encode()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_BACKOFF_S", 0.01)
    monkeypatch.setattr(s3_module, "_OPENING_S", 0.3)
    monkeypatch.setattr(s3_module, "_PATIENCE_S", 0.3)


@dataclass
class Script:
    """A server that answers as a test tells it; listing an empty bucket works by itself."""

    url: str = ""
    answers: dict[str, Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def script() -> Iterator[Script]:
    told = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.asked.append((self.command, self.path))
            list_request = self.command == "GET" and "list-type=2" in self.path
            kind = "LIST" if list_request else self.command
            if kind in told.answers:
                status, body = told.answers[kind](self)
            else:
                status, body = (200, LISTING) if list_request else (404, refusal("NoSuchKey"))
            if status:
                self.send_response(status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()


# ---- opening ---------------------------------------------------------------------------


def test_the_bucket_is_made_if_it_is_not_there(server: LocalS3) -> None:
    keys = Credentials(server.access_key, server.secret_key)
    S3Store(server.endpoint, "fresh-bucket", keys).put("k", b"1")
    assert S3Store(server.endpoint, "fresh-bucket", keys).get("k") == b"1"


def test_a_bucket_that_may_not_be_made_is_told(script: Script) -> None:
    script.answers["LIST"] = lambda _: (404, refusal("NoSuchBucket"))
    script.answers["PUT"] = lambda _: (403, refusal("AccessDenied"))
    with pytest.raises(StoreError, match="no bucket mine, and these credentials may not make one"):
        S3Store(script.url, "mine", KEYS)


def test_two_that_make_the_bucket_at_once_both_go_on(script: Script) -> None:
    script.answers["LIST"] = lambda _: (404, refusal("NoSuchBucket"))
    script.answers["PUT"] = lambda _: (409, refusal("BucketAlreadyOwnedByYou"))
    S3Store(script.url, "mine", KEYS)


def test_prefixes_keep_stores_apart(open_s3: Callable[[str], S3Store]) -> None:
    one, two, inner = open_s3("apart/one/"), open_s3("/apart/two"), open_s3("apart/one/inner")
    one.put("k", b"1")
    two.put("k", b"2")
    inner.put("k", b"3")
    assert (one.get("k"), two.get("k"), one.get("inner/k")) == (b"1", b"2", b"3")
    assert list(two.list("")) == ["k"]
    assert one.uri == "s3://fundus-r1/apart/one"


@pytest.mark.parametrize(
    "endpoint", ["localhost:8333", "ftp://host", "http://", "http://host/path", "s3://bucket", "host"]
)
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(SpecError, match="http\\(s\\)://host:port") as caught:
        S3Store(endpoint, "bucket", KEYS)
    assert caught.value.where == "placement.store.endpoint"


def test_credentials_in_the_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(SpecError, match="holds credentials") as caught:
        S3Store("http://me:hunter2@host:1", "bucket", KEYS)
    assert "hunter2" not in str(caught.value)


def test_a_bucket_name_that_is_none_is_told(script: Script) -> None:
    with pytest.raises(StoreError, match="bucket name"):
        S3Store(script.url, "No Bucket!", KEYS)


# ---- credentials -----------------------------------------------------------------------


def test_wrong_credentials_are_told_in_a_sentence_without_them(server: LocalS3) -> None:
    with pytest.raises(StoreError, match="does not know this access key") as caught:
        S3Store(server.endpoint, "fundus-r1", KEYS)
    assert not caught.value.transient
    assert ACCESS_KEY_ENV in caught.value.hint
    wrong = Credentials(server.access_key, "the-very-secret-key")
    with pytest.raises(StoreError, match="secret key does not belong to the access key") as caught:
        S3Store(server.endpoint, "fundus-r1", wrong)
    assert "the-very-secret-key" not in str(caught.value) + repr(wrong)


@pytest.mark.parametrize("given_", [(), (ACCESS_KEY_ENV,), (SECRET_KEY_ENV,)])
def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, given_: tuple[str, ...]) -> None:
    for name in (ACCESS_KEY_ENV, SECRET_KEY_ENV):
        monkeypatch.delenv(name, raising=False)
    for name in given_:
        monkeypatch.setenv(name, "hunter2")
    with pytest.raises(StoreError, match="no credentials") as caught:
        credentials_from_environment()
    assert set(re.findall(r"\w+_KEY", caught.value.where)) == {ACCESS_KEY_ENV, SECRET_KEY_ENV} - set(given_)
    assert "hunter2" not in str(caught.value)


# ---- failures --------------------------------------------------------------------------


def test_nobody_at_the_address_is_told_and_transient() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(StoreError, match="nothing answers at this address") as caught:
            S3Store(endpoint, "bucket", KEYS)
    assert caught.value.transient
    assert endpoint in caught.value.where


def test_silence_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_READ_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(StoreError, match="does not answer in time") as caught,
    ):
        S3Store(f"http://127.0.0.1:{silent.getsockname()[1]}", "bucket", KEYS)
    assert caught.value.transient


def test_a_server_that_is_none_of_s3_is_told(script: Script) -> None:
    def page(handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        handler.send_response(404)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", "6")
        handler.end_headers()
        handler.wfile.write(b"<html>")
        return 0, b""

    script.answers["LIST"] = page
    with pytest.raises(StoreError, match="none of S3") as caught:
        S3Store(script.url, "bucket", KEYS)
    assert not caught.value.transient


def test_a_passing_failure_is_tried_again(script: Script) -> None:
    store = S3Store(script.url, "bucket", KEYS)
    script.answers["GET"] = lambda _: (
        (503, refusal("SlowDown")) if len(script.asked) < 4 else (200, b"content")
    )
    assert store.get("k") == b"content"


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (503, "SlowDown", True),
        (500, "InternalError", True),
        (403, "AccessDenied", False),
        (400, "Odd", False),
    ],
)
def test_a_lasting_failure_says_where_and_whether_it_may_pass(
    script: Script, status: int, code: str, transient: bool
) -> None:
    store = S3Store(script.url, "bucket", KEYS, prefix="p")
    script.answers["GET"] = script.answers["PUT"] = lambda _: (status, refusal(code))
    for act in (
        lambda: store.get("a/k"),
        lambda: store.put("a/k", b"x"),
        lambda: store.put("a/k", b"x", if_absent=True),
    ):
        script.asked.clear()
        with pytest.raises(StoreError) as caught:
            act()
        assert caught.value.transient is transient
        assert caught.value.where == f"{script.url}, bucket bucket, key p/a/k"
        assert 1 <= len(script.asked) <= 12
        assert len(script.asked) > 1 or not transient


@pytest.mark.parametrize(
    ("status", "code"), [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict")]
)
def test_refused_conditions_are_conflicts(script: Script, status: int, code: str) -> None:
    store = S3Store(script.url, "bucket", KEYS)
    script.answers["PUT"] = lambda _: (status, refusal(code))
    with pytest.raises(Conflict):
        store.put("k", b"", if_absent=True)
    with pytest.raises(Conflict):
        store.put("k", b"", if_match="0")
    with pytest.raises(StoreError):
        store.put("k", b"")


def test_a_bucket_that_vanished_is_no_missing_object(script: Script) -> None:
    store = S3Store(script.url, "bucket", KEYS)
    script.answers["GET"] = script.answers["PUT"] = lambda _: (404, refusal("NoSuchBucket"))
    with pytest.raises(StoreError, match="NoSuchBucket"):
        store.get("k")
    with pytest.raises(StoreError, match="NoSuchBucket"):
        store.put("k", b"", if_absent=True)


@pytest.mark.parametrize("key", ["back\\slash", "n" * 1025])
def test_keys_that_servers_disagree_about_are_refused(open_s3: Callable[[str], S3Store], key: str) -> None:
    with pytest.raises(StoreError):
        open_s3("keys").put(key, b"")


# ---- downloads -------------------------------------------------------------------------


class Shelf:
    """One object, whose connection breaks after each `piece` bytes."""

    def __init__(self, script: Script, data: bytes, piece: int):
        self.data, self.piece = data, piece
        self.ranges: list[str | None] = []
        script.answers["GET"] = self.get
        script.answers["HEAD"] = self.head

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'

    def head(self, handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        handler.send_response(200)
        handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(self.data)))
        handler.end_headers()
        return 0, b""

    def get(self, handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        if handler.headers.get("If-Match") not in (None, self.etag):
            return 412, refusal("PreconditionFailed")
        start = int(re.findall(r"\d+", asked or "0")[0])
        rest = self.data[start:]
        handler.send_response(206)
        handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        handler.wfile.write(rest[: self.piece])
        handler.close_connection = True
        return 0, b""


def test_a_download_goes_on_where_the_connection_broke(script: Script, tmp_path: Path) -> None:
    data = os.urandom(7 << 20)
    shelf = Shelf(script, data, piece=1 << 20)
    S3Store(script.url, "bucket", KEYS).download("k", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == data
    assert len(shelf.ranges) == 7  # more breaks than tries: each brought something


def test_a_download_that_brings_nothing_is_given_up(script: Script, tmp_path: Path) -> None:
    Shelf(script, os.urandom(3 << 20), piece=0)
    with pytest.raises(StoreError) as caught:
        S3Store(script.url, "bucket", KEYS).download("k", tmp_path / "file")
    assert caught.value.transient
    assert list(tmp_path.iterdir()) == []


def test_a_download_never_joins_two_objects(script: Script, tmp_path: Path) -> None:
    shelf = Shelf(script, b"1" * (2 << 20), piece=1 << 20)
    get = shelf.get

    def replaced(handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        answer = get(handler)
        shelf.data = b"2" * (2 << 20)
        return answer

    script.answers["GET"] = replaced
    with pytest.raises(StoreError, match="PreconditionFailed"):
        S3Store(script.url, "bucket", KEYS).download("k", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_breaks_off_is_never_taken_for_the_object(script: Script) -> None:
    Shelf(script, b"1" * 1000, piece=500)
    with pytest.raises(StoreError) as caught:
        S3Store(script.url, "bucket", KEYS).get("k")
    assert caught.value.transient


def test_a_file_that_cannot_be_written_is_told(open_s3: Callable[[str], S3Store], tmp_path: Path) -> None:
    store = open_s3("downloads")
    store.put("k", b"1")
    with pytest.raises(MachineError, match="cannot be written"):
        store.download("k", tmp_path / "no such folder" / "file")
