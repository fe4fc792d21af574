from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.scripted import ends, eventually, workflow
from kube_server import KubeServer

from fundus_r1 import processes
from fundus_r1.cluster.child import (
    FINGERPRINT,
    OUTPUT,
    PYTORCHJOB,
    RAYJOB,
    RUN,
    SPEC,
    TRAINING_RUNTIME,
    TRAINJOB,
    Resource,
    child_name,
)
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.manifests.pod import ENDPOINT_ENV
from fundus_r1.cluster.owners import POD_NAME, owners
from fundus_r1.errors import ClusterError, SpecError, StageError
from fundus_r1.spec import Placement, load_spec
from fundus_r1.spec.cluster import Cluster as ClusterPlace
from fundus_r1.spec.placement import StorePlace
from fundus_r1.stages import execute
from fundus_r1.stages.children import is_child, run_child, trainer_api
from fundus_r1.stages.job import StageJob, job_of
from fundus_r1.stages.launch import launch
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.s3 import ACCESS_KEY_ENV, SECRET_KEY_ENV, S3Store
from fundus_r1.storage.server import LocalS3

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def prefix() -> str:
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture
def s3(open_s3: Callable[[str], S3Store], prefix: str) -> S3Store:
    return open_s3(prefix)


@pytest.fixture
def job(s3_server: LocalS3, prefix: str, monkeypatch: pytest.MonkeyPatch) -> StageJob:
    """Stage 7 of the tiny run, on a cluster."""
    monkeypatch.setenv(ACCESS_KEY_ENV, s3_server.access_key)
    monkeypatch.setenv(SECRET_KEY_ENV, s3_server.secret_key)
    monkeypatch.delenv(POD_NAME, raising=False)
    spec = load_spec(ROOT / "pipelines/specs/tiny.yaml", [], None)
    found = job_of(spec, "sft")
    place = found.placement.model_copy(
        update={
            "store": StorePlace(endpoint=s3_server.endpoint, prefix=prefix),
            "cluster": ClusterPlace(image="image@sha256:0", heartbeat_s=1),
        }
    )
    return found.model_copy(update={"placement": place})


def placed(job: StageJob, **changes: Any) -> StageJob:
    assert job.placement.cluster is not None
    cluster = job.placement.cluster.model_copy(update=changes.pop("cluster", {}))
    return job.model_copy(
        update={"placement": job.placement.model_copy(update={"cluster": cluster, **changes})}
    )


def write_record(job: StageJob, store: S3Store) -> None:
    """What the pods do."""
    output = OutputWriter(store, job.stage, job.fingerprint)
    output.write_json("log.json", [1])
    output.close(
        revision=1, science=job.science, prompts={}, inputs=job.inputs, counts={"trained": 1}, models={},
        started=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip


class Step:
    """A step in a thread."""

    def __init__(self, job: StageJob, diagnosis: Path | None = None):
        self.found: StageOutput | None = None
        self.error: Exception | None = None

        def run() -> None:
            try:
                self.found = run_child(job, diagnosis=diagnosis)
            except (ClusterError, StageError) as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def ended(self) -> StageOutput:
        self._thread.join(30)
        if self.error is not None:
            raise self.error
        assert self.found is not None
        return self.found


def test_a_stage_becomes_a_job_whose_record_is_the_steps(
    kube: KubeServer, job: StageJob, s3: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = workflow(kube, "run-a")
    kube.pod("step", {"workflows.argoproj.io/workflow": owner.name}, "Running")
    monkeypatch.setenv(POD_NAME, "step")
    name = child_name("sft", job.fingerprint)
    step = Step(job)
    made = eventually(lambda: kube.read(PYTORCHJOB, name))
    assert owners(made) == [owner.reference()]
    told = made["metadata"]["annotations"]
    assert told[FINGERPRINT] == job.fingerprint
    assert told[RUN] == "run-a"
    assert told[OUTPUT] == f"{s3.uri}/sft/{job.fingerprint}"
    # What the pods are given makes the same output, and no further job.
    given = StageJob.model_validate_json(s3.get(told[SPEC].removeprefix(f"{s3.uri}/")) or b"")
    assert given.fingerprint == job.fingerprint
    assert given.placement.cluster is None
    assert not is_child(given)
    write_record(job, s3)
    kube.status(PYTORCHJOB, name, ends("Succeeded"))
    assert step.ended().record.fingerprint == job.fingerprint


def test_a_hit_launches_nothing(kube: KubeServer, job: StageJob, s3: S3Store) -> None:
    write_record(job, s3)
    assert run_child(job).record.counts == {"trained": 1}
    assert kube.requests == []


def test_a_failed_job_leaves_its_diagnosis_in_the_store_and_beside_the_step(
    kube: KubeServer, job: StageJob, s3: S3Store, tmp_path: Path
) -> None:
    name = child_name("sft", job.fingerprint)
    step = Step(job, tmp_path / "diagnosis.md")
    eventually(lambda: kube.read(PYTORCHJOB, name))
    kube.status(PYTORCHJOB, name, ends("Failed", "PyTorchJobFailed", "a replica failed"))
    with pytest.raises(ClusterError, match="a replica failed"):
        step.ended()
    told = (tmp_path / "diagnosis.md").read_bytes()
    assert b"a replica failed" in told
    assert s3.get(f"jobs/{name}/diagnosis.md") == told


def test_a_job_that_wrote_no_record_fails_its_step(kube: KubeServer, job: StageJob) -> None:
    name = child_name("sft", job.fingerprint)
    step = Step(job)
    eventually(lambda: kube.read(PYTORCHJOB, name))
    kube.status(PYTORCHJOB, name, ends("Succeeded"))
    with pytest.raises(StageError, match="wrote no record"):
        step.ended()


def test_a_deleted_job_that_had_written_its_record_is_a_success(
    kube: KubeServer, job: StageJob, s3: S3Store
) -> None:
    name = child_name("sft", job.fingerprint)
    step = Step(job)
    eventually(lambda: kube.read(PYTORCHJOB, name))
    write_record(job, s3)
    kube.remove(PYTORCHJOB, name)
    assert step.ended().record.fingerprint == job.fingerprint


@pytest.mark.parametrize(
    ("said", "unserved", "api"),
    [
        ("auto", [], "pytorchjob"),
        ("auto", [PYTORCHJOB], "trainjob"),
        ("trainjob", [], "trainjob"),
        ("pytorchjob", [PYTORCHJOB], "pytorchjob"),
    ],
)
def test_which_job_stage_7_is_the_placement_says_or_the_cluster(
    kube: KubeServer, said: str, unserved: list[Resource], api: str
) -> None:
    kube.unserved.update(unserved)
    assert trainer_api(Placement(trainer_api=said), Cluster.connect()) == api  # type: ignore[arg-type]


def test_a_cluster_without_an_operator_is_told_so(kube: KubeServer) -> None:
    kube.unserved.update([PYTORCHJOB, TRAINJOB])
    with pytest.raises(ClusterError, match="neither PyTorchJob nor TrainJob"):
        trainer_api(Placement(), Cluster.connect())


def test_a_trainjob_finds_its_runtime_which_is_kept_up_to_date(
    kube: KubeServer, job: StageJob, s3: S3Store
) -> None:
    kube.add(TRAINING_RUNTIME, {"metadata": {"name": "fundus-r1-torch"}, "spec": {"old": True}})
    name = child_name("sft", job.fingerprint)
    step = Step(placed(job, trainer_api="trainjob"))
    made = eventually(lambda: kube.read(TRAINJOB, name))
    runtime = kube.read(TRAINING_RUNTIME, made["spec"]["runtimeRef"]["name"])
    assert runtime is not None
    assert runtime["spec"]["mlPolicy"]["numNodes"] == 1
    write_record(job, s3)
    kube.status(TRAINJOB, name, ends("Complete"))
    step.ended()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cluster": {"image": None}}, "which image"),
        ({"store": StorePlace(kind="folder", path="/tmp/fr1-none")}, "a store that is a folder"),
    ],
)
def test_a_placement_that_no_cluster_can_have_is_refused(
    kube: KubeServer, job: StageJob, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    if "store" in changes:
        changes = {"store": StorePlace(kind="folder", path=str(tmp_path / "folder"))}
    with pytest.raises(SpecError, match=said):
        run_child(placed(job, **changes))


def test_only_stages_that_train_become_jobs(job: StageJob) -> None:
    assert is_child(job)
    assert not is_child(job.model_copy(update={"science": {**job.science, "train": False}}))
    assert not is_child(job.model_copy(update={"stage": "trainset"}))
    assert not is_child(job.model_copy(update={"placement": Placement()}))


def test_a_stage_that_trains_nothing_is_done_by_its_step(
    job: StageJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []

    class Done(Exception):  # noqa: N818
        pass

    def run_job(found: StageJob) -> None:
        ran.append(found.stage)
        raise Done

    monkeypatch.setattr(execute, "run_job", run_job)
    for name in ("die_with_parent", "become_subreaper", "end_descendants"):
        monkeypatch.setattr(processes, name, lambda *_: None)  # this process is no step
    (tmp_path / "trainset.json").write_text(_record("trainset", job.inputs["trainset"]))
    with pytest.raises(Done):
        launch(
            "sft",
            json.dumps({**job.science, "train": False}),
            job.placement.model_dump_json(),
            [str(tmp_path / "trainset.json")],
            str(tmp_path / "record.json"),
        )
    assert ran == ["sft"]


def _record(stage: str, fingerprint: str) -> str:
    now = "2026-01-01T00:00:00Z"
    return json.dumps(
        {
            "stage": stage, "fingerprint": fingerprint, "revision": 1, "science": {}, "prompts": {},
            "inputs": {}, "files": {}, "counts": {}, "started": now, "finished": now,
        }
    )  # fmt: skip


def test_a_step_told_to_end_deletes_its_job_within_a_second(
    kube: KubeServer, job: StageJob, tmp_path: Path
) -> None:
    (tmp_path / "trainset.json").write_text(_record("trainset", job.inputs["trainset"]))
    arguments = {
        "stage": "sft",
        "science": json.dumps(job.science),
        "placement": job.placement.model_dump_json(),
        "inputs": [str(tmp_path / "trainset.json")],
        "record": str(tmp_path / "record.json"),
    }
    (tmp_path / "arguments.yaml").write_text(yaml.safe_dump(arguments))
    body = (
        "import sys, yaml; from fundus_r1.stages.launch import launch; "
        f"launch(**yaml.safe_load(open({str(tmp_path / 'arguments.yaml')!r})))"
    )
    # As in a step: the shell above it dies of the same signal.
    process = subprocess.Popen(
        ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, body], start_new_session=True
    )
    try:
        kube.wait_for("GET", "pods$", 3, timeout_s=30)
        sent = time.monotonic()
        os.killpg(process.pid, signal.SIGTERM)
        (deleted,) = kube.wait_for("DELETE", "pytorchjobs")
        assert deleted.at - sent < 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert kube.names(PYTORCHJOB) == []


def test_pods_read_what_to_do_by_its_address(job: StageJob, s3: S3Store, s3_server: LocalS3) -> None:
    write_record(job, s3)
    s3.put(
        "jobs/job.json",
        job.model_copy(update={"placement": placed(job).placement}).model_dump_json().encode(),
    )
    command = [sys.executable, "-c", "from fundus_r1.cli import main; main()", "stage", "sft"]
    told = subprocess.run(
        [*command, "--spec", f"{s3.uri}/jobs/job.json"],
        env={**os.environ, ENDPOINT_ENV: s3_server.endpoint},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == f"sft/{job.fingerprint}"


def test_grpo_becomes_a_rayjob(kube: KubeServer, job: StageJob, s3: S3Store) -> None:
    spec = load_spec(ROOT / "pipelines/specs/tiny.yaml", [], None)
    found = job_of(spec, "grpo").model_copy(update={"placement": job.placement})
    name = child_name("grpo", found.fingerprint)
    step = Step(found)
    eventually(lambda: kube.read(RAYJOB, name))
    write_record(found, s3)
    kube.status(RAYJOB, name, {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})
    assert step.ended().record.stage == "grpo"
