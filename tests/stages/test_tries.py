"""Whether a launcher's step is tried again: where another try may help, and in a first try always."""

from __future__ import annotations

import pytest
from kube_server import KubeServer

from fundus_r1.cluster.child import PODS
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.diagnose import Diagnosis
from fundus_r1.cluster.launch import JobError
from fundus_r1.cluster.owners import POD_NAME
from fundus_r1.errors import StageError
from fundus_r1.stages.tries import NODE, keep_verdict, refuse_hopeless, tried_before
from fundus_r1.storage.folder import FolderStore

JOB = "fr1-sft-0123456789ab"


@pytest.fixture(autouse=True)
def own_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POD_NAME, "step")


def step(kube: KubeServer, node: str) -> Cluster:
    """The cluster, as the pod of a try sees it."""
    kube.add(PODS, {"metadata": {"name": "step", "annotations": {NODE: node}}})
    return Cluster.connect()


def failed(*, transient: bool) -> JobError:
    diagnosis = Diagnosis(
        kind="OOMKilled",
        message="master-0 had too little memory",
        hint="raise it",
        transient=transient,
        markdown="",
    )
    return JobError(diagnosis, "sft", f"{JOB}-a2", "pytorchjobs")


@pytest.mark.parametrize(
    ("node", "tries"),
    [
        ("run.root.run.sft.executor(0)", 0),
        ("run.root.run.sft.executor(12)", 12),
        ("run.root.sft.executor", 0),
    ],
)
def test_the_number_of_the_try_is_what_argo_says(kube: KubeServer, node: str, tries: int) -> None:
    assert tried_before(step(kube, node)) == tries


def test_out_of_a_pod_every_try_is_the_first(kube: KubeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(POD_NAME)
    assert tried_before(Cluster.connect()) == 0


def test_a_step_is_not_tried_again_after_what_no_try_can_cure(kube: KubeServer, store: FolderStore) -> None:
    keep_verdict(store, JOB, failed(transient=False))
    with pytest.raises(StageError, match=r"Not tried again.*too little memory") as caught:
        refuse_hopeless(store, JOB, step(kube, "sft(1)"))
    assert not caught.value.transient and caught.value.where == f"{JOB}-a2"


def test_a_step_is_tried_again_after_what_another_try_may_cure(kube: KubeServer, store: FolderStore) -> None:
    again = step(kube, "sft(1)")
    refuse_hopeless(store, JOB, again)
    keep_verdict(store, JOB, failed(transient=False))
    keep_verdict(store, JOB, failed(transient=True))
    refuse_hopeless(store, JOB, again)


def test_a_first_try_forgets_what_an_earlier_run_met(kube: KubeServer, store: FolderStore) -> None:
    keep_verdict(store, JOB, failed(transient=False))
    refuse_hopeless(store, JOB, step(kube, "sft(0)"))
    kube.edit(PODS, "step", {"metadata": {"annotations": {NODE: "sft(1)"}}})
    refuse_hopeless(store, JOB, Cluster.connect())
