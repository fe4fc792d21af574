"""A Kubernetes API server for each test."""

from __future__ import annotations

import pytest
from kube_server import KubeServer

from fundus_r1.cluster.client import Cluster


@pytest.fixture
def cluster(kube: KubeServer) -> Cluster:
    """A client of it."""
    return Cluster.connect()
