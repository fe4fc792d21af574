"""A stage that runs as a job of its own on the cluster: what its step does meanwhile.

The step writes the stage's job to the store, where the pods read it, launches the job that makes the output
(`cluster.launch`) and reads the record that the pods have written. A hit launches nothing; a stage that
trains nothing in this setup is done by its step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fundus_r1.cluster.child import PYTORCHJOB, TRAINING_RUNTIME, TRAINJOB, Child, child_name
from fundus_r1.cluster.client import Cluster, Exists
from fundus_r1.cluster.launch import JobError, Terms, launch
from fundus_r1.cluster.manifests import CHILD_STAGES, child_of, placement_in_pod, training_runtime
from fundus_r1.cluster.owners import Owner, own_workflow
from fundus_r1.errors import ClusterError, SpecError
from fundus_r1.fingerprint import SHORT
from fundus_r1.progress import emit
from fundus_r1.record import output_prefix
from fundus_r1.spec import Placement
from fundus_r1.stages.execute import hit
from fundus_r1.stages.job import StageJob
from fundus_r1.stages.tries import keep_verdict, refuse_hopeless
from fundus_r1.storage import open_store
from fundus_r1.storage.output import StageOutput, find_record
from fundus_r1.storage.protocol import Store

_OUTSIDE = "local"


def is_child(job: StageJob) -> bool:
    """Whether a stage runs as a job of its own: where there is a cluster, and it trains."""
    return job.placement.cluster is not None and job.stage in CHILD_STAGES and bool(job.science.get("train"))


def run_child(job: StageJob, *, diagnosis: Path | None = None) -> StageOutput:
    """Has the job's output made on the cluster, or finds it in the store.

    Args:
        job: of a stage for which `is_child` holds.
        diagnosis: where a failure is told as Markdown.

    Raises:
        JobError: the job on the cluster failed.
        StageError: it succeeded by its own word, and there is no record; or another try cannot help.
        ClusterError: the cluster refuses, or cannot be reached.
        SpecError: the placement cannot be had on a cluster.
        SystemExit: the step was told to end; its job on the cluster is deleted, or left to other runs.
    """
    store = open_store(job.placement.store)
    if found := hit(job, store):
        return found
    fingerprint, place = job.fingerprint, job.placement.cluster
    assert place is not None
    cluster = Cluster.connect(place.namespace)
    owner = own_workflow(cluster)
    child = child_for(job, store, cluster, owner)
    refuse_hopeless(store, child.name, cluster)
    in_pod = job.model_copy(update={"placement": placement_in_pod(job.stage, job.placement)})
    store.put(job_key(job.stage, fingerprint), in_pod.model_dump_json(indent=1).encode())
    terms = Terms(
        owner=owner,
        clocks=getattr(place, job.stage).clocks,
        heartbeat_s=place.heartbeat_s,
        made=lambda: find_record(store, job.stage, fingerprint) is not None,
        store=store,
    )
    emit(job.stage, "start", fingerprint=fingerprint[:SHORT], job=child.name)
    try:
        launch(cluster, child, terms)
    except JobError as error:
        keep_verdict(store, child.name, error)
        _tell(error, store, diagnosis)
        raise
    record = find_record(store, job.stage, fingerprint)
    assert record is not None
    return StageOutput(store, record)


def child_for(job: StageJob, store: Store, cluster: Cluster, owner: Owner | None) -> Child:
    """The job on the cluster.

    Raises:
        SpecError: the placement cannot be had on a cluster.
        ClusterError: the cluster has no operator for it.
    """
    placement, place = job.placement, job.placement.cluster
    assert place is not None
    if placement.store.kind != "s3":
        raise SpecError(
            "Pods on other machines cannot reach a store that is a folder",
            where="placement.store.kind",
            hint="name an S3 store that both this step and the pods reach",
        )
    if place.image is None:
        raise SpecError(
            "It is not known which image the pods of the job run",
            where="placement.cluster.image",
            hint="set it, best by digest; a compiled pipeline takes it from images/images.lock",
        )
    student = job.science["student"]
    api = trainer_api(placement, cluster) if job.stage == "sft" else "pytorchjob"
    child = child_of(
        job.stage,
        job.fingerprint,
        placement,
        api=api,
        run=_OUTSIDE if owner is None else owner.run,
        spec_uri=f"{store.uri}/{job_key(job.stage, job.fingerprint)}",
        output_uri=f"{store.uri}/{output_prefix(job.stage, job.fingerprint)}",
        image=place.image,
        reads=[student["path"]] if student["kind"] == "folder" else [],
    )
    if child.resource == TRAINJOB and place.runtime is None:
        _apply(cluster, training_runtime(place, place.image))
    return child


def trainer_api(placement: Placement, cluster: Cluster) -> Literal["pytorchjob", "trainjob"]:
    """Which job stage 7 is: what the placement says, or what the cluster has, PyTorchJob first.

    Raises:
        ClusterError: it has neither.
    """
    if placement.trainer_api != "auto":
        return placement.trainer_api
    if cluster.served(PYTORCHJOB):
        return "pytorchjob"
    if cluster.served(TRAINJOB):
        return "trainjob"
    raise ClusterError(
        "The cluster knows neither PyTorchJob nor TrainJob",
        where="placement.trainer_api",
        hint="have Kubeflow's Training Operator or Trainer installed",
    )


def job_key(stage: str, fingerprint: str) -> str:
    """Where in the store the pods of a job read what to do."""
    return f"jobs/{child_name(stage, fingerprint)}.json"


def _apply(cluster: Cluster, runtime: dict[str, Any]) -> None:
    """Makes our TrainingRuntime, or brings it up to date."""
    try:
        cluster.create(TRAINING_RUNTIME, runtime)
    except Exists:
        cluster.patch(TRAINING_RUNTIME, runtime["metadata"]["name"], {"spec": runtime["spec"]})


def _tell(error: JobError, store: Store, diagnosis: Path | None) -> None:
    text = error.markdown.encode()
    store.put(f"jobs/{error.name}/diagnosis.md", text)
    emit(error.stage, "note", diagnosis=f"{store.uri}/jobs/{error.name}/diagnosis.md")
    if diagnosis is not None:
        diagnosis.write_bytes(text)
