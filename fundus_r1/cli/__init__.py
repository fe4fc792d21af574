"""The command ``fundus-r1``. Thin: each verb reads its options and calls one function."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fundus_r1.cli import (
    alone,
    cluster,
    comparing,
    looking,
    mirroring,
    pinning,
    reading,
    running,
    submitting,
    vocabulary,
)
from fundus_r1.cli.app import Debug, app
from fundus_r1.errors import FundusError

__all__ = [
    "alone",
    "app",
    "cluster",
    "comparing",
    "looking",
    "main",
    "mirroring",
    "pinning",
    "reading",
    "running",
    "submitting",
    "vocabulary",
]


def main(arguments: list[str] | None = None) -> None:
    """Entry point: one readable message and an exit code, a traceback only with --debug."""
    _guard(lambda: app(args=arguments, standalone_mode=True))


def _guard(call: Callable[[], object]) -> None:
    try:
        call()
    except FundusError as error:
        if Debug.on:
            raise
        print(f"fundus-r1: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        if Debug.on:
            raise
        print("fundus-r1: stopped; the same command goes on from what was done", file=sys.stderr)
        sys.exit(130)
