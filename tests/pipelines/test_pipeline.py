"""Compiling from the command line: the same bytes each time, wherever it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "pipelines/specs/tiny.yaml"


def compiled(target: Path, seed: str, folder: Path) -> bytes:
    command = [str(Path(sys.executable).parent / "fundus-r1"), "compile", "--spec", str(TINY)]
    env = {**os.environ, "PYTHONHASHSEED": seed}
    subprocess.run([*command, "--out", str(target)], check=True, cwd=folder, env=env, capture_output=True)
    return target.read_bytes()


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("ir")
    return compiled(folder / "pipeline.yaml", "1", folder)


def test_two_compilations_are_equal_byte_for_byte(ir: bytes, tmp_path: Path) -> None:
    assert compiled(tmp_path / "again.yaml", "2", ROOT) == ir
