"""Anything that speaks S3, through the ``minio`` client.

What the store needs of S3 beyond the ordinary are conditional writes (``If-None-Match: *`` and
``If-Match``), which AWS, MinIO, Ceph and SeaweedFS know.

A store that was there is waited for: what is answered by silence or by a server's error is done
again, with growing pauses, for about two minutes and a half. A store that is not there when it is
opened is given up after seconds, since its address is likely to be wrong. So a conditional write
may meet its own work and report a conflict: whoever needs to know looks whether the object is his
(`storage.leases`, `storage.parts`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from fundus_r1.errors import MachineError, SpecError, StoreError
from fundus_r1.storage.protocol import Conflict, Stat

ACCESS_KEY_ENV = "FUNDUS_R1_S3_ACCESS_KEY"
SECRET_KEY_ENV = "FUNDUS_R1_S3_SECRET_KEY"

T = TypeVar("T")

_CONNECT_S, _READ_S = 10.0, 60.0
_OPENING_S, _PATIENCE_S = 3.0, 150.0
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.2, 8.0
_MOST_KEY_BYTES = 1024
_CHUNK = 1 << 20

_CREDENTIALS_HINT = f"check {ACCESS_KEY_ENV} and {SECRET_KEY_ENV}, and what they are allowed to do"
_REFUSALS = {
    "InvalidAccessKeyId": "The S3 store does not know this access key",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key",
    "AccessDenied": "The S3 store does not allow this to these credentials",
    "RequestTimeTooSkewed": "The clocks of this machine and of the S3 store differ too much",
}
_PASSING = {"SlowDown", "RequestTimeout", "OperationAborted", "XMinioServerNotInitialized"}


@dataclass(frozen=True)
class Credentials:
    """An access key and its secret, which is never printed."""

    access_key: str
    secret_key: str = field(repr=False)


def credentials_from_environment() -> Credentials:
    """The credentials of the S3 store.

    Raises:
        StoreError: a variable is not set.
    """
    missing = [name for name in (ACCESS_KEY_ENV, SECRET_KEY_ENV) if not os.environ.get(name)]
    if missing:
        raise StoreError(
            "There are no credentials for the S3 store",
            where=" and ".join(missing),
            hint="set the environment variable" + ("s" if len(missing) > 1 else ""),
        )
    return Credentials(os.environ[ACCESS_KEY_ENV], os.environ[SECRET_KEY_ENV])


class S3Store:
    """A bucket, or a prefix in one. The etag is the server's.

    Args:
        endpoint: ``http(s)://host:port``.
        bucket: is made if it is not there and the credentials allow it.
        credentials: access key and secret.
        prefix: is put before every key.
        region: as the server names it.
        make_bucket: False refuses a bucket that is not there.

    Raises:
        SpecError: the endpoint is no address.
        StoreError: the store cannot be reached or refuses the credentials.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        credentials: Credentials,
        *,
        prefix: str = "",
        region: str = "us-east-1",
        make_bucket: bool = True,
    ):
        self.endpoint = endpoint
        self.bucket = bucket
        self._credentials = credentials
        self._region = region
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.uri = f"s3://{bucket}/{self._prefix}".rstrip("/")
        self._client = _client(endpoint, credentials, region)
        self._patience_s = _OPENING_S
        self._ensure_bucket(make_bucket)
        self._patience_s = _PATIENCE_S

    def elsewhere(self, bucket: str, prefix: str, *, make_bucket: bool = False) -> S3Store:
        """Another place at the same endpoint, with the same credentials."""
        return S3Store(
            self.endpoint,
            bucket,
            self._credentials,
            prefix=prefix,
            region=self._region,
            make_bucket=make_bucket,
        )

    def _ensure_bucket(self, make: bool) -> None:
        # Listing, since the answer to a HEAD has no body that would say why it is refused.
        def probe() -> None:
            found = self._client.list_objects(self.bucket, prefix=f"{self._prefix}.probe/")
            next(iter(found), None)

        try:
            self._patiently("", probe)
            return
        except StoreError as error:
            if _code(error) != "NoSuchBucket":
                raise
            if not make:
                raise StoreError(
                    f"There is no bucket {self.bucket}", where=self.endpoint, hint="correct its name"
                ) from error
        try:
            self._patiently("", lambda: self._client.make_bucket(self.bucket))
        except StoreError as error:
            if _code(error) == "AccessDenied":
                raise StoreError(
                    f"There is no bucket {self.bucket}, and these credentials may not make one",
                    where=self.endpoint,
                    hint="have it made, or name another in placement.store.bucket",
                ) from error
            if _code(error) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def _name(self, key: str) -> str:
        # SeaweedFS takes a backslash for a slash.
        if "\\" in key or any(part in ("", ".", "..") for part in key.split("/")):
            raise StoreError(f"{key!r} is no key of a store", where=self.uri)
        name = self._prefix + key
        if len(name.encode()) > _MOST_KEY_BYTES:
            raise StoreError(f"A key has more than {_MOST_KEY_BYTES} bytes", where=f"{self.uri}: {key}")
        return name

    @contextlib.contextmanager
    def _told(self, key: str = "") -> Iterator[None]:
        """Tells the client's errors in our words."""
        where = f"{self.endpoint}, bucket {self.bucket}" + (f", key {self._prefix}{key}" if key else "")
        try:
            yield
        except S3Error as error:
            raise _refused(error, where) from error
        except (ServerError, InvalidResponseError) as error:
            raise StoreError(
                f"The S3 store gave an answer that is none of S3: {str(error)[:200]}",
                where=where,
                hint="is placement.store.endpoint the S3 address, and not a console or a proxy?",
                transient=isinstance(error, ServerError) and error.status_code >= 500,
            ) from error
        except (MinioException, ValueError) as error:
            raise StoreError(f"The S3 client refused: {error}", where=where) from error
        except urllib3.exceptions.HTTPError as error:
            raise StoreError(
                f"The S3 store cannot be reached: {_reason(error)}",
                where=where,
                hint="check placement.store.endpoint, and that the store is running",
                transient=not isinstance(_innermost(error), urllib3.exceptions.SSLError),
            ) from error

    def _patiently(self, key: str, act: Callable[[], T]) -> T:
        """Does something again while the store fails in a way that may pass.

        Raises:
            StoreError: it failed for good, or for longer than the store is waited for.
        """
        started = time.monotonic()
        pause = _BACKOFF_S
        while True:
            try:
                with self._told(key):
                    return act()
            except StoreError as error:
                waited = time.monotonic() - started
                if not error.transient or waited + pause > self._patience_s:
                    raise
            # Many workers that lost the store at once must not come back at once.
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_BACKOFF_S)

    def _send(self, method: str, key: str, body: bytes | None = None, **conditions: str) -> tuple[bytes, str]:
        """One request about one object; the answer's body and etag.

        `Minio.put_object` drops the headers of a condition and `Minio.get_object` does not read
        the body under the client's retries, so this speaks to the client's layer below them. It
        is the only place that does.
        """
        name = self._name(key)
        headers = conditions | ({} if body is None else {"Content-MD5": _md5(body)})
        answer = self._patiently(
            key,
            # The client adds to the headers it is given.
            lambda: self._client._execute(method, self.bucket, name, body=body, headers=dict(headers)),
        )
        return answer.data, answer.headers.get("etag", "").strip('"')

    def get(self, key: str) -> bytes | None:
        found = self.get_with_etag(key)
        return None if found is None else found[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        try:
            return self._send("GET", key)
        except StoreError as error:
            if _code(error) == "NoSuchKey":
                return None
            raise

    def stat(self, key: str) -> Stat | None:
        try:
            name = self._name(key)
            found = self._patiently(key, lambda: self._client.stat_object(self.bucket, name))
        except StoreError as error:
            if _code(error) == "NoSuchKey":
                return None
            raise
        return Stat(size=found.size, etag=found.etag)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        conditions = {"If-None-Match": "*"} if if_absent else {}
        if if_match is not None:
            conditions["If-Match"] = f'"{if_match}"'
        try:
            return self._send("PUT", key, data, **conditions)[1]
        except StoreError as error:
            # Without an object there is none that If-Match could match: S3 says 404 then.
            lost = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")
            if conditions and _code(error) in lost:
                raise Conflict(key) from error
            raise

    def list(self, prefix: str) -> Iterator[str]:
        # Not every server sorts by the whole key ("a-b" before "a/b").
        yield from sorted(self.listing(prefix))

    def listing(self, prefix: str) -> dict[str, Stat]:
        """What is known of all objects whose keys begin with `prefix`, by one listing."""

        def found() -> dict[str, Stat]:
            items = self._client.list_objects(self.bucket, prefix=self._prefix + prefix, recursive=True)
            return {
                item.object_name.removeprefix(self._prefix): Stat(size=item.size or 0, etag=item.etag or "")
                for item in items
                # Consoles make objects that stand for folders.
                if not item.is_dir and not item.object_name.endswith("/")
            }

        return self._patiently(prefix, found)

    def delete(self, key: str) -> None:
        name = self._name(key)
        self._patiently(key, lambda: self._client.remove_object(self.bucket, name))

    def upload(self, key: str, path: Path) -> None:
        name = self._name(key)
        self._patiently(key, lambda: self._client.fput_object(self.bucket, name, str(path)))

    def download(self, key: str, path: Path) -> None:
        stat = self.stat(key)
        if stat is None:
            raise StoreError("There is no such object in the store", where=f"{self.uri}/{key}")
        partial = path.with_name(f".{path.name}.partial")
        try:
            self._fetch(key, stat, partial)
            partial.replace(path)
        except OSError as error:
            raise MachineError(
                f"A file cannot be written: {error.strerror}", where=str(path), hint="free some disk"
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def _fetch(self, key: str, stat: Stat, path: Path) -> None:
        """Reads an object into a file, going on where a connection broke."""
        with path.open("wb") as file:

            def go_on() -> None:
                before = file.tell()
                try:
                    self._append(key, stat, before, file.write)
                except urllib3.exceptions.HTTPError:
                    # What brought something was no failure: the rest is asked for at once.
                    if file.tell() == before:
                        raise

            while file.tell() < stat.size:
                self._patiently(key, go_on)

    def _append(self, key: str, stat: Stat, start: int, write: Callable[[bytes], object]) -> None:
        # If-Match: the rest of another object that was put meanwhile must not be appended.
        answer = self._client.get_object(
            self.bucket,
            self._name(key),
            offset=start,
            length=stat.size - start,
            request_headers={"If-Match": f'"{stat.etag}"'},
        )
        try:
            for chunk in answer.stream(_CHUNK):
                write(chunk)
        finally:
            answer.close()
            answer.release_conn()


def _md5(body: bytes) -> str:
    """Without it SeaweedFS keeps an empty object where a client was killed before it had sent the body."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _client(endpoint: str, credentials: Credentials, region: str) -> Minio:
    address = urlsplit(endpoint)
    if address.scheme not in ("http", "https") or not address.hostname or address.path.strip("/"):
        raise SpecError(
            "The address of the S3 store is not http(s)://host:port",
            where="placement.store.endpoint",
            hint="for example https://s3.eu-central-1.amazonaws.com or http://seaweedfs:8333",
        )
    if address.username or address.password:
        raise SpecError(
            "The address of the S3 store holds credentials",
            where="placement.store.endpoint",
            hint=f"take them out and set {ACCESS_KEY_ENV} and {SECRET_KEY_ENV}",
        )
    http = urllib3.PoolManager(
        maxsize=16,
        timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
        # Only redirects; whatever fails is done again by `S3Store._patiently`.
        retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=3),
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
    return Minio(
        address.netloc,
        access_key=credentials.access_key,
        secret_key=credentials.secret_key,
        secure=address.scheme == "https",
        region=region,
        http_client=http,
    )


def _code(error: StoreError) -> str | None:
    """S3's code of a refusal."""
    return error.__cause__.code if isinstance(error.__cause__, S3Error) else None


def _refused(error: S3Error, where: str) -> StoreError:
    if error.code in _REFUSALS:
        return StoreError(_REFUSALS[error.code], where=where, hint=_CREDENTIALS_HINT)
    status = error.response.status
    return StoreError(
        f"The S3 store refused: {error.code}, {error.message} (HTTP {status})",
        where=where,
        hint="its log may say more; is its disk full?" if status >= 500 else "",
        transient=status >= 500 or status == 429 or error.code in _PASSING,
    )


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    return error


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    found = _innermost(error)
    if isinstance(found, urllib3.exceptions.NameResolutionError):
        return "its host name is not known"
    if isinstance(found, urllib3.exceptions.NewConnectionError):
        return "nothing answers at this address"
    if isinstance(found, urllib3.exceptions.TimeoutError):
        return "it does not answer in time"
    return str(found)
