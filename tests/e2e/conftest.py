"""Makes `command` importable in this folder, and runs the demo once for all tests here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from command import SMALL, TINY, call


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a whole run."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = call("run", "--spec", TINY, *SMALL, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out
