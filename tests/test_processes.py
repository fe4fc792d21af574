"""Process trees end whole: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fundus_r1 import processes
from fundus_r1.errors import StageError
from fundus_r1.processes import SUPERVISOR, run_child

# A program with a child that ignores SIGTERM and a daemon that leaves its parent and its session.
# Each writes its pid to a file of its own.
TREE = """
import os, signal, subprocess, sys, time
folder = sys.argv[1]
def note(name):
    with open(os.path.join(folder, name + ".part"), "w") as file:
        file.write(str(os.getpid()))
    os.rename(os.path.join(folder, name + ".part"), os.path.join(folder, name))
def sleep():
    while True:
        time.sleep(60)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note("daemon")
        sleep()
    os._exit(0)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("stubborn")
    sleep()
note("root")
while len([n for n in os.listdir(folder) if not n.endswith(".part")]) < 3:
    time.sleep(0.01)
print("ready", flush=True)
"""
NAMES = ("root", "daemon", "stubborn")


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], list[str]]:
    """The argv of the tree, followed by what its root does when all have started."""
    (tmp_path / "pids").mkdir()

    def argv(then: str) -> list[str]:
        (tmp_path / "tree.py").write_text(TREE + then + "\n")
        return [sys.executable, str(tmp_path / "tree.py"), str(tmp_path / "pids")]

    return argv


def pids(folder: Path) -> list[int]:
    return [int((folder / "pids" / name).read_text()) for name in NAMES]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def python(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def test_output_goes_to_the_log_and_line_by_line_to_the_caller(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "run.log"
    lines: list[str] = []
    code = run_child(
        python(
            r"import sys; print('zwölf'); print('err', file=sys.stderr, flush=True); print('end', end='')"
        ),
        log=log,
        on_line=lines.append,
    )
    assert code == 0
    assert sorted(lines) == ["end", "err", "zwölf"]
    run_child(python("print('again')"), log=log)
    assert log.read_text().endswith("again\n")
    assert "zwölf" in log.read_text()


def test_long_output_and_broken_utf8_arrive_whole(tmp_path: Path) -> None:
    lines: list[str] = []
    code = run_child(
        python(r"""
            import sys
            for i in range(3000):
                print(i, 'x' * 200)
            sys.stdout.flush()
            sys.stdout.buffer.write(b'\xff\n')
        """),
        log=tmp_path / "log",
        on_line=lines.append,
    )
    assert code == 0
    assert [line.split()[0] for line in lines[:-1]] == [str(i) for i in range(3000)]
    assert lines[-1] == "\ufffd"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("raise SystemExit(75)", 75),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
def test_exit_code_tells_how_the_child_ended(tmp_path: Path, end: str, code: int) -> None:
    assert run_child(python(end), log=tmp_path / "log") == code


def test_a_program_that_does_not_exist_is_127(tmp_path: Path) -> None:
    assert run_child(["no-such-program-anywhere"], log=tmp_path / "log") == 127
    assert "no-such-program-anywhere cannot be started" in (tmp_path / "log").read_text()


def test_environment_and_folder_are_handed_on(tmp_path: Path) -> None:
    lines: list[str] = []
    env = {**os.environ, "FUNDUS_TEST": "seen"}
    run_child(
        python("import os; print(os.environ['FUNDUS_TEST'], os.getcwd())"),
        env=env,
        cwd=tmp_path,
        log=tmp_path / "log",
        on_line=lines.append,
    )
    assert lines == [f"seen {tmp_path}"]


def test_what_the_child_leaves_behind_ends_with_it(tmp_path: Path, tree: Callable[[str], list[str]]) -> None:
    assert run_child(tree("sys.exit(3)"), log=tmp_path / "log") == 3
    assert [alive(pid) for pid in pids(tmp_path)] == [False, False, False]


def test_a_stall_ends_the_tree(tmp_path: Path, tree: Callable[[str], list[str]]) -> None:
    with pytest.raises(StageError, match=r"said nothing for 1\.5 s") as caught:
        run_child(tree("sleep()"), log=tmp_path / "log", stall_s=1.5)
    assert caught.value.transient
    assert [alive(pid) for pid in pids(tmp_path)] == [False, False, False]


def test_lines_keep_a_slow_child_alive(tmp_path: Path) -> None:
    code = run_child(
        python("import time\nfor i in range(8): print(i, flush=True); time.sleep(0.25)"),
        log=tmp_path / "log",
        stall_s=1.5,
    )
    assert code == 0


def test_an_error_of_the_reader_ends_the_tree(tmp_path: Path, tree: Callable[[str], list[str]]) -> None:
    def fail(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="ready"):
        run_child(tree("sleep()"), log=tmp_path / "log", on_line=fail)
    assert [alive(pid) for pid in pids(tmp_path)] == [False, False, False]


def test_last_words_of_an_ended_child_are_in_the_log(tmp_path: Path) -> None:
    with pytest.raises(StageError):
        run_child(
            python("""
                import signal, sys, time
                def say(*_):
                    print("last words", flush=True)
                    sys.exit()
                signal.signal(signal.SIGTERM, say)
                print("up", flush=True)
                time.sleep(60)
            """),
            log=tmp_path / "log",
            stall_s=1,
        )
    assert "last words" in (tmp_path / "log").read_text()


OUTER = """
import sys
from pathlib import Path
from fundus_r1.processes import run_child
try:
    run_child(sys.argv[2:], log=Path(sys.argv[1]))
finally:
    print("unwound", flush=True)
"""


@pytest.mark.parametrize(
    ("signum", "unwinds"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGKILL, False)]
)
def test_when_we_are_ended_the_whole_tree_is(
    tmp_path: Path, tree: Callable[[str], list[str]], signum: int, unwinds: bool
) -> None:
    outer = subprocess.Popen(
        [sys.executable, "-c", OUTER, str(tmp_path / "log"), *tree("sleep()")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        log = tmp_path / "log"
        assert wait_until(lambda: log.exists() and "ready" in log.read_text())
        assert [alive(pid) for pid in pids(tmp_path)] == [True, True, True]
        outer.send_signal(signum)
        said, _ = outer.communicate(timeout=20)
        assert ("unwound" in said) is unwinds
        if unwinds:  # then nothing may be left when it ends
            assert not any(alive(pid) for pid in pids(tmp_path))
        assert wait_until(lambda: not any(alive(pid) for pid in pids(tmp_path)))
    finally:
        outer.kill()
        outer.wait()


def test_a_killed_guard_takes_the_child_with_it(tmp_path: Path) -> None:
    started: list[int] = []

    def kill_guard(line: str) -> None:
        started.append(int(line))
        os.kill(psutil.Process(int(line)).ppid(), signal.SIGKILL)

    code = run_child(
        python("import os, time; print(os.getpid(), flush=True); time.sleep(60)"),
        log=tmp_path / "log",
        on_line=kill_guard,
    )
    assert code == -signal.SIGKILL
    assert wait_until(lambda: not alive(started[0]))


def test_works_in_a_thread_that_is_not_the_main_one(tmp_path: Path) -> None:
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(run_child(python("print('hi')"), log=tmp_path / "log"))
    )
    thread.start()
    thread.join(timeout=20)
    assert codes == [0]


def test_sigterm_is_as_before_afterwards(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_child(python("pass"), log=tmp_path / "log")
    assert signal.getsignal(signal.SIGTERM) is before


def test_end_descendants_finds_daemons_and_kills_the_stubborn(
    tmp_path: Path, tree: Callable[[str], list[str]]
) -> None:
    code = """
        import subprocess, sys, time
        from fundus_r1.processes import become_subreaper, end_descendants
        become_subreaper()
        child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
        child.stdout.readline()
        started = time.monotonic()
        end_descendants(grace_s=0.5)
        print(round(time.monotonic() - started, 2))
    """
    argv = [*python(code), *tree("sleep()")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    assert not any(alive(pid) for pid in pids(tmp_path))
    assert 0.4 < float(done.stdout) < 5


def test_end_descendants_without_any_returns_at_once() -> None:
    code = "from fundus_r1.processes import end_descendants as end; end()"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.monotonic() - started < processes.GRACE_S


def test_a_step_ends_at_once_if_its_supervisor_is_gone() -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    code = "from fundus_r1.processes import die_with_parent; die_with_parent(); print('still here')"
    argv = [sys.executable, "-c", code]
    late = subprocess.run(argv, env={**os.environ, SUPERVISOR: str(gone.pid)}, capture_output=True, text=True)
    assert (late.returncode, late.stdout) == (137, "")
    good = subprocess.run(
        argv, env={**os.environ, SUPERVISOR: str(os.getpid())}, capture_output=True, text=True
    )
    assert (good.returncode, good.stdout) == (0, "still here\n")
