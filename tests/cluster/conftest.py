"""A Kubernetes API server for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_server import KubeServer

from fundus_r1.cluster.client import Cluster


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeServer]:
    """An API server, which KUBECONFIG names."""
    with KubeServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        yield server


@pytest.fixture
def cluster(kube: KubeServer) -> Cluster:
    """A client of it."""
    return Cluster.connect()
