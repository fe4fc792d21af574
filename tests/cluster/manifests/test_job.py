"""The job around the pods: names, labels, owners, queue and deadline."""

from __future__ import annotations

import copy
import json

import pytest
from job_cases import (
    FINGERPRINT,
    FULL,
    OWNER,
    PLAIN,
    any_job,
    made,
    pods_of,
    with_cluster,
)

from fundus_r1.cluster import child as known
from fundus_r1.cluster.manifests import named
from fundus_r1.spec.cluster import ChildJob, Clocks


@any_job
def test_job_and_pods_say_run_stage_and_fingerprint(stage: str, api: str) -> None:
    child = made(stage, api, FULL, run="my run/1")
    metadata = child.manifest["metadata"]
    pods = [pod["metadata"] for pod in pods_of(stage, api, FULL)]
    for labels in [metadata["labels"], *(pod["labels"] for pod in pods)]:
        assert labels[known.STAGE] == stage and labels[known.FINGERPRINT] == FINGERPRINT[:12]
        assert labels[known.JOB] == child.name == metadata["name"]
        assert labels[known.MANAGED_BY] == known.MANAGER and labels["team"] == "a"
    assert metadata["labels"][known.RUN] == "my-run-1"
    assert metadata["annotations"][known.RUN] == "my run/1"
    assert metadata["annotations"][known.FINGERPRINT] == FINGERPRINT
    assert metadata["annotations"][known.SPEC] == "s3://fundus-r1/jobs/fr1.json"
    assert metadata["annotations"][known.OUTPUT] == f"s3://fundus-r1/{stage}/{FINGERPRINT}"
    assert metadata["ownerReferences"] == [OWNER] and metadata["namespace"] == "team-a"


@any_job
def test_a_spec_cannot_change_the_labels_by_which_a_job_is_found(stage: str, api: str) -> None:
    placement = with_cluster(PLAIN, labels={known.STAGE: "other", known.JOB: "other"})
    assert made(stage, api, placement).manifest["metadata"]["labels"][known.STAGE] == stage


@any_job
def test_kueues_labels_are_the_jobs_alone_and_the_job_waits_for_kueue(stage: str, api: str) -> None:
    manifest = made(stage, api, FULL).manifest
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "research"
    assert json.dumps(manifest).count("kueue.x-k8s.io") == 2
    policy = manifest["spec"].get("runPolicy", manifest["spec"])
    assert policy["suspend"] is True
    plain = made(stage, api, PLAIN).manifest["spec"]
    assert "suspend" not in plain.get("runPolicy", plain)


@any_job
@pytest.mark.parametrize(
    ("queue", "clocks", "of_the_job"),
    [
        (None, Clocks(run_s=60.2), None),
        (None, Clocks(run_s=60.2, queue_s=30), 91),
        ("gpus", Clocks(run_s=60.2), 61),
        ("gpus", Clocks(run_s=60.2, queue_s=30), 61),
        ("gpus", Clocks(run_s=None, queue_s=30), None),
    ],
)
def test_a_wait_without_limit_is_not_cut_short_by_the_runs_clock(
    stage: str, api: str, queue: str | None, clocks: Clocks, of_the_job: int | None
) -> None:
    placement = with_cluster(PLAIN, queue=queue, **{stage: ChildJob(clocks=clocks)})
    spec = made(stage, api, placement).manifest["spec"]
    assert spec.get("runPolicy", spec).get("activeDeadlineSeconds") == of_the_job


@any_job
def test_a_later_attempt_has_another_name_and_its_pods_are_found_by_it(stage: str, api: str) -> None:
    child = made(stage, api, FULL)
    before = copy.deepcopy(child.manifest)
    later = named(child, 3)
    assert named(child, 1) == child.manifest == before
    assert later["metadata"]["name"] == f"{child.name}-a3"
    text, renamed = json.dumps(before), json.dumps(later)
    assert renamed == text.replace(f'"{child.name}"', f'"{child.name}-a3"')
    assert json.dumps(later).count(f'"{known.JOB}": "{child.name}-a3"') == text.count(known.JOB)
