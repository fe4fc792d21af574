"""A tiny student, once for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.models.tiny import build_tiny
from fundus_r1.spec.models import TinyModel


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; not to be written to."""
    return build_tiny(tmp_path_factory.mktemp("tiny"), TinyModel(hidden=64, layers=2))
