"""How a run ends: its record is closed, its jobs are let go of, one without the other's leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_server import KubeServer

from fundus_r1.cluster.child import MANAGED_BY, MANAGER, PODS, PYTORCHJOB, WORKFLOW, child_name
from fundus_r1.cluster.owners import POD_NAME
from fundus_r1.spec import Placement, RunSpec, load_spec
from fundus_r1.spec.cluster import Cluster
from fundus_r1.spec.placement import StorePlace
from fundus_r1.stages.runs import PinnedRun, RunRecord, begin_record, read_run, table_key, write_run
from fundus_r1.storage.folder import FolderStore

SPEC = Path(__file__).resolve().parents[2] / "pipelines" / "specs" / "tiny.yaml"
END = """
import sys
from fundus_r1.stages.ending import end_run
end_run(sys.argv[1], "run-1", {}, sys.argv[2], state="FAILED", error="it failed")
"""


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[tuple[KubeServer, Path]]:
    with KubeServer() as server:
        yield server, server.kubeconfig(tmp_path / "kubeconfig")


def spec(store: FolderStore, cluster: Cluster | None) -> RunSpec:
    place = StorePlace(kind="folder", path=str(Path(store.uri.removeprefix("file://"))))
    return load_spec(SPEC).model_copy(update={"placement": Placement(store=place, cluster=cluster)})


def page(run: RunSpec) -> Path:
    assert run.placement.store.path is not None
    return Path(run.placement.store.path).parent / "page.md"


def finish(run: RunSpec, **variables: str) -> subprocess.CompletedProcess[str]:
    """The step `finish`, in a process of its own as in a pipeline."""
    text = PinnedRun(spec=run).model_dump_json()
    command = [sys.executable, "-c", END, text, str(page(run))]
    return subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60
    )


def record(store: FolderStore) -> RunRecord:
    found = read_run(store, "run-1")
    assert found is not None
    return found


def test_the_record_of_a_run_is_closed(store: FolderStore) -> None:
    run = spec(store, None)
    write_run(store, begin_record(PinnedRun(spec=run), run, "run-1"))
    begun = record(store)
    assert finish(run).returncode == 0
    ended = record(store)
    assert (ended.state, ended.error) == ("FAILED", "it failed") and ended.ended is not None
    assert ended.model_copy(update={"state": None, "error": "", "ended": None}) == begun
    told = page(run).read_text(encoding="utf-8")
    assert told.startswith("# tiny: FAILED\n\nit failed\n") and "runs/run-1.json" in told


def test_a_run_that_never_knew_its_data_leaves_a_record_and_shows_what_was_missing(
    store: FolderStore,
) -> None:
    run = spec(store, None)
    store.put(table_key("run-1"), b"## Preflight of tiny\n\n| x | judge |\n")
    assert finish(run).returncode == 0
    assert record(store).state == "FAILED" and not record(store).fingerprints
    assert "\n## Preflight of tiny\n" in page(run).read_text(encoding="utf-8")


def test_the_page_shows_why_the_last_job_of_a_stage_failed(store: FolderStore) -> None:
    run = spec(store, None)
    begun = begin_record(PinnedRun(spec=run), run, "run-1")
    write_run(store, begun)
    store.put(table_key("run-1"), b"## Preflight of tiny\n")
    for attempt, words in ((1, b"## OOMKilled\n"), (2, b"## NCCL\n"), (10, b"## The node was lost\n")):
        job = child_name("sft", begun.fingerprints["sft"], attempt)
        store.put(f"jobs/{job}/diagnosis.md", words)
        store.put(f"jobs/{job}/logs/master-0.log", b"...")
    assert finish(run).returncode == 0
    told = page(run).read_text(encoding="utf-8")
    assert told.endswith("\n## The node was lost\n") and "OOM" not in told and "Preflight" not in told


def test_jobs_of_the_run_are_deleted_and_shared_ones_are_kept(
    store: FolderStore, kube: tuple[KubeServer, Path]
) -> None:
    server, kubeconfig = kube
    uids = {}
    for name in ("ours", "theirs"):
        made = server.add(WORKFLOW, {"metadata": {"name": name}, "status": {"phase": "Running"}})
        uids[name] = made["metadata"]["uid"]
    server.add(
        PODS,
        {"metadata": {"name": "step", "labels": {"workflows.argoproj.io/workflow": "ours"}}, "status": {}},
    )
    for job, owners in (("alone", ["ours"]), ("shared", ["ours", "theirs"]), ("other", ["theirs"])):
        references = [
            {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": each, "uid": uids[each]}
            for each in owners
        ]
        labels = {MANAGED_BY: MANAGER}
        server.add(PYTORCHJOB, {"metadata": {"name": job, "labels": labels, "ownerReferences": references}})
    done = finish(spec(store, Cluster()), KUBECONFIG=str(kubeconfig), **{POD_NAME: "step"})
    assert done.returncode == 0, done.stderr
    assert server.names(PYTORCHJOB) == ["other", "shared"]
    shared = server.read(PYTORCHJOB, "shared")
    assert shared is not None
    assert [each["name"] for each in shared["metadata"]["ownerReferences"]] == ["theirs"]
    assert record(store).state == "FAILED"


def test_a_record_is_closed_also_where_the_api_server_refuses(store: FolderStore, tmp_path: Path) -> None:
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(json.dumps({"apiVersion": "v1", "kind": "Config"}))
    done = finish(spec(store, Cluster()), KUBECONFIG=str(nowhere), **{POD_NAME: "step"})
    assert done.returncode != 0
    assert record(store).state == "FAILED"
