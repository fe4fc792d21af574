"""Process trees that end as one, whichever way they end. Linux only.

Ray, torchrun and vLLM leave processes behind when they are killed, some of them daemons that
have left their parent. Three calls of the kernel catch them all: the *subreaper* is given every
orphan below it, the *parent-death signal* reaches a process whose parent was killed with -9, and
a session of its own keeps the terminal's signals away from a tree that is ended in order.

`run_child` puts a guard between us and the child (``python -m fundus_r1.processes``), because we
may be killed before we can clean up; the guard then hears of it and ends the tree.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import IO

import psutil

from fundus_r1.errors import MachineError, StageError

SUPERVISOR = "FUNDUS_R1_SUPERVISOR"
"""Variable with the pid of the process that a run's tree must not outlive."""

GRACE_S = 5.0
_GUARD, _BECOME = "guard", "become"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)
# A killed process is gone at once, unless it hangs in the kernel (a lost network disk, a driver).
_KILL_S = 10.0


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise MachineError(f"prctl({option}) failed: {os.strerror(number)}", hint="Linux is needed")


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Asks the kernel to signal this process when the thread that started it ends.

    Where `SUPERVISOR` names a process that is gone already, this process ends at once: its parent
    may have died before the kernel was asked.
    """
    _prctl(_PR_SET_PDEATHSIG, signum)
    supervisor = os.environ.get(SUPERVISOR, "")
    if supervisor.isdigit() and not psutil.pid_exists(int(supervisor)):
        os._exit(128 + signum)


def become_subreaper() -> None:
    """From now on orphans below this process become its children, so none can slip away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def dying_with_us(argv: list[str]) -> list[str]:
    """The command that runs `argv` such that it is killed when we are.

    It becomes `argv`, in the same process, after it has asked the kernel for that.
    """
    return [sys.executable, "-m", __name__, _BECOME, str(os.getpid()), *argv]


def _living_descendants() -> list[psutil.Process]:
    living = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
    return living


def end_descendants(grace_s: float = GRACE_S) -> None:
    """Ends all processes below this one: asks them (SIGTERM), then kills them.

    Daemons are found too if `become_subreaper` was called before they were started.

    Args:
        grace_s: seconds that they are given to end by themselves.

    Raises:
        MachineError: a killed process does not end.
    """
    started = time.monotonic()
    asked: set[psutil.Process] = set()
    # Again and again, since a dying process may start another or hand its children to us.
    while living := _living_descendants():
        waited = time.monotonic() - started
        if waited > grace_s + _KILL_S:
            names = ", ".join(f"{process.pid}" for process in living)
            raise MachineError("Processes do not end, although they were killed", where=f"pid {names}")
        for process in living:
            with contextlib.suppress(psutil.NoSuchProcess):
                if waited >= grace_s:
                    process.kill()
                elif process not in asked:
                    asked.add(process)
                    process.terminate()
        time.sleep(0.02)


def run_child(
    argv: list[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path,
    on_line: Callable[[str], None] | None = None,
    stall_s: float | None = None,
) -> int:
    """Runs a program and everything it starts; nothing of it is left when this returns.

    Args:
        argv: program and arguments.
        env: its environment; None hands on ours.
        cwd: its working folder.
        log: file to which its output (standard output and error) is appended.
        on_line: is given each line, without its end.
        stall_s: seconds without a line after which the tree is ended.

    Returns:
        The program's exit code; 128 + n where signal n ended it; 127 where it could not be started.

    Raises:
        StageError: it said nothing for `stall_s`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    guard = [sys.executable, "-m", __name__, _GUARD, str(os.getpid()), *argv]
    with log.open("ab", buffering=0) as file, _sigterm_as_exit():
        process = subprocess.Popen(
            guard,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            for line in _lines(process.stdout, file, stall_s):
                if on_line is not None:
                    on_line(line)
            return process.wait()
        except TimeoutError:
            raise StageError(
                f"{Path(argv[0]).name} said nothing for {stall_s:g} s and was ended",
                where=str(log),
                hint="its last lines there may say why; a second try may help",
                transient=True,
            ) from None
        finally:
            _end_guard(process, file)


def _lines(pipe: IO[bytes], log: IO[bytes], stall_s: float | None) -> Iterator[str]:
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(stall_s):
                raise TimeoutError
            chunk = os.read(pipe.fileno(), 1 << 16)
            log.write(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            if not chunk and rest:
                lines.append(rest)
            for line in lines:
                yield line.decode(errors="replace").rstrip("\r")
            if not chunk:
                return


def _end_guard(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    assert process.stdout is not None
    with process.stdout as pipe:
        if process.poll() is None:
            process.terminate()
            # The tree's last words; the pipe ends with the last of its processes.
            while chunk := os.read(pipe.fileno(), 1 << 16):
                log.write(chunk)
    process.wait()


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Lets SIGTERM unwind the stack, so that what is open is closed; main thread only."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(signum: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _guard(parent: int, argv: list[str]) -> int:
    """The guard's life: starts the program, buries orphans, and ends the tree with itself."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, _exit)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 128 + signal.SIGTERM
    become_subreaper()
    try:
        # preexec_fn is safe here: the guard has one thread.
        child = subprocess.Popen(argv, preexec_fn=die_with_parent)
        while True:
            pid, status = os.wait()
            if pid == child.pid:
                code = os.waitstatus_to_exitcode(status)
                child.returncode = code
                return code if code >= 0 else 128 - code
    except OSError as error:
        print(f"{argv[0]} cannot be started: {error.strerror}", flush=True)
        return 127
    finally:
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        end_descendants()


def _become(parent: int, argv: list[str]) -> int:
    die_with_parent()
    if os.getppid() != parent:
        return 128 + signal.SIGKILL
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"{argv[0]} cannot be started: {error.strerror}", flush=True)
        return 127


if __name__ == "__main__":
    _how = {_GUARD: _guard, _BECOME: _become}[sys.argv[1]]
    sys.exit(_how(int(sys.argv[2]), sys.argv[3:]))
