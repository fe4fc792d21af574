from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.cluster.diagnose import Diagnosis, diagnose
from fundus_r1.cluster.faults import scheduler_words
from fundus_r1.cluster.story import without_secrets

PYTORCH: dict[str, Any] = {"kind": "PyTorchJob", "metadata": {"name": "fr1-sft-abc"}, "status": {}}
RAY: dict[str, Any] = {"kind": "RayJob", "metadata": {"name": "fr1-grpo-abc"}, "status": {}}
LOST = "RuntimeError: [gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.3]:3411"
TIMEOUT = (
    "[rank0]: [E] ProcessGroupNCCL.cpp: Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)"
)


def pod(
    role: str, *, phase: str = "Failed", status: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A pod of a PyTorchJob, ``master`` or ``worker-1``; `more` is merged into its spec."""
    kind, _, index = role.partition("-")
    labels = {"training.kubeflow.org/replica-type": kind, "training.kubeflow.org/replica-index": index or "0"}
    return {
        "metadata": {"name": f"fr1-sft-abc-{role}", "labels": labels},
        "spec": {"nodeName": "node-a", "containers": [{"name": "main"}], **more},
        "status": {"phase": phase, **(status or {})},
    }


def ended(code: int, at: str = "12:00:00", reason: str = "Error") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": f"2026-11-24T{at}Z"}}
    return {
        "containerStatuses": [
            {"name": "main", "image": "registry/image:1", "restartCount": 0, "state": state}
        ]
    }


def waits(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "containerStatuses": [
            {"name": "main", "image": "registry/image:1", "restartCount": 0, "state": state}
        ]
    }


def disrupted(reason: str, message: str = "") -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {"conditions": [condition]}


def event(about: str, reason: str, message: str, kind: str = "Pod", **more: Any) -> dict[str, Any]:
    return {
        "involvedObject": {"kind": kind, "name": about},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-11-24T12:00:00Z",
        **more,
    }


def of(
    pods: list[dict[str, Any]],
    tails: dict[str, list[str]] | None = None,
    events: list[dict[str, Any]] | None = None,
    job: dict[str, Any] = PYTORCH,
) -> Diagnosis:
    """Of SFT, with tails by role."""
    named = {f"fr1-sft-abc-{role}": lines for role, lines in (tails or {}).items()}
    return diagnose("sft", job, pods, events or [], named)


def test_a_pod_that_used_too_much_memory_is_named_with_its_limit() -> None:
    killed = pod("worker-1", status=ended(137, reason="OOMKilled"))
    killed["spec"]["containers"] = [{"name": "main", "resources": {"limits": {"memory": "64Gi"}}}]
    found = of([pod("master", status=ended(143, "12:00:09")), killed])
    assert found.kind == "OOMKilled"
    assert found.message.startswith("sft: worker-1 used more memory than its limit of 64Gi")
    assert "placement.cluster.sft.resources.memory" in found.hint
    assert not found.transient


@pytest.mark.parametrize(
    ("said", "transient"),
    [
        ("The node was low on resource: ephemeral-storage.", True),
        ('Usage of EmptyDir volume "scratch" exceeds the limit "200Gi".', False),
        ("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.", False),
    ],
)
def test_an_eviction_for_the_pods_own_limit_would_come_again(said: str, transient: bool) -> None:
    found = of(
        [pod("master", status={"reason": "Evicted", "message": said} | disrupted("TerminationByKubelet"))]
    )
    assert (found.kind, found.transient) == ("evicted", transient)
    assert said.rstrip(".") in found.message


@pytest.mark.parametrize(
    ("reason", "message", "transient"),
    [
        ("ErrImagePull", "rpc error: manifest unknown: image not found", False),
        ("ImagePullBackOff", "", False),
        ("InvalidImageName", "couldn't parse image", False),
        ("ErrImagePull", "net/http: TLS handshake timeout", True),
        ("ErrImagePull", "toomanyrequests: you have reached your limit", True),
    ],
)
def test_an_image_that_cannot_be_had_is_named(reason: str, message: str, transient: bool) -> None:
    found = of([pod("master", phase="Pending", status=waits(reason, message))])
    assert (found.kind, found.transient) == ("image pull", transient)
    assert "registry/image:1" in found.message


def test_the_event_says_why_an_image_is_not_pulled_any_more() -> None:
    told = event("fr1-sft-abc-master", "Failed", 'Failed to pull image "x": 401 Unauthorized')
    waiting = pod("master", phase="Pending", status=waits("ImagePullBackOff", "Back-off pulling image"))
    assert "401 Unauthorized" in of([waiting], events=[told]).message


def test_a_missing_secret_is_a_configuration_error() -> None:
    waiting = waits("CreateContainerConfigError", 'secret "fundus-r1-store" not found')
    found = of([pod("master", phase="Pending", status=waiting)])
    assert (found.kind, found.transient) == ("configuration", False)
    assert 'secret "fundus-r1-store" not found' in found.message


def test_a_volume_that_is_not_there_is_named() -> None:
    told = event("fr1-sft-abc-master", "FailedMount", 'MountVolume failed: configmap "ca" not found')
    found = of([pod("master", phase="Pending")], events=[told])
    assert (found.kind, found.transient) == ("volume", False)
    assert 'configmap "ca" not found' in found.message


def test_what_the_scheduler_says_is_told_in_plain_words() -> None:
    said = (
        "0/6 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, "
        "2 node(s) didn't match Pod's node affinity/selector, 3 Insufficient nvidia.com/gpu. "
        "preemption: 0/6 nodes are available: 3 No preemption victims found for incoming pod."
    )
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    waiting = pod("worker-2", phase="Pending", nodeName=None, status={"conditions": [unscheduled]})
    found = of([waiting])
    assert found.kind == "unschedulable"
    assert found.message == (
        "sft: worker-2 finds no node: 1 with the taint {gpu: yes}, which no toleration covers; "
        "2 without the labels that node_selector or affinity asks for; "
        "3 with too little free nvidia.com/gpu (of 6 nodes)."
    )
    assert found.transient


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.", False),
        ("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.", False),
        ('persistentvolumeclaim "data" not found', False),
        ("0/3 nodes are available: 3 node(s) were unschedulable.", True),
        ("0/3 nodes are available: 3 Insufficient cpu.", True),
    ],
)
def test_only_a_lack_of_room_may_pass_by_itself(said: str, passes: bool) -> None:
    assert scheduler_words(said)[1] == passes


@given(st.text())
def test_whatever_the_scheduler_says_has_words(said: str) -> None:
    words, _ = scheduler_words(said)
    assert isinstance(words, str)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("PreemptionByScheduler", "preempted"),
        ("DeletionByTaintManager", "node lost"),
        ("DeletionByPodGC", "node lost"),
        ("EvictionByEvictionAPI", "evicted"),
    ],
)
def test_a_disruption_is_no_fault_of_the_pod(reason: str, kind: str) -> None:
    found = of([pod("worker-1", status=disrupted(reason, "by something else") | ended(143))])
    assert (found.kind, found.transient) == (kind, True)
    assert "node-a" in found.message


def test_a_job_that_kueue_took_back_was_preempted() -> None:
    told = event("pytorchjob-x", "EvictedDueToPreempted", "Preempted to accommodate a workload", "Workload")
    found = of([pod("master", status=ended(143))], events=[told])
    assert (found.kind, found.transient) == ("preempted", True)


@pytest.mark.parametrize(
    ("said", "transient"),
    [
        ("LocalQueue team-gpu doesn't exist", False),
        ("couldn't assign flavors to pod set master: insufficient unused quota for nvidia.com/gpu", True),
    ],
)
def test_what_kueue_does_not_admit_is_told_with_its_reason(said: str, transient: bool) -> None:
    found = of([], events=[event("pytorchjob-x", "Pending", said, "Workload")])
    assert (found.kind, found.transient) == ("Kueue inadmissible", transient)
    assert said in found.message


def test_a_full_quota_explains_pods_that_were_never_made() -> None:
    said = 'pods "x" is forbidden: exceeded quota: gpus, requested: nvidia.com/gpu=8, used: 8, limited: 8'
    found = of([], events=[event("fr1-sft-abc", "FailedCreatePod", said, "PyTorchJob")])
    assert (found.kind, found.transient) == ("quota exceeded", True)
    assert "requested: nvidia.com/gpu=8" in found.message


def test_a_quota_that_left_room_in_the_end_explains_nothing() -> None:
    crashed = pod("master", status=ended(3))
    crashed["metadata"]["creationTimestamp"] = "2026-11-24T12:00:01Z"
    said = 'pods "x" is forbidden: exceeded quota: gpus'
    assert of([crashed], events=[event("fr1-sft-abc", "FailedCreatePod", said)]).kind == "unknown"


def test_pods_that_the_namespace_forbids_are_not_tried_again() -> None:
    said = 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'
    found = of([], events=[event("fr1-sft-abc", "FailedCreatePod", said, "PyTorchJob")])
    assert (found.kind, found.transient) == ("refused", False)


def test_a_job_whose_time_was_over_is_told_so_though_its_pods_were_killed() -> None:
    said = "Job fr1-sft-abc has failed because it was active longer than specified deadline"
    failed = {"type": "Failed", "status": "True", "reason": "PyTorchJobFailed", "message": said}
    found = of([pod("master", status=ended(137))], job=PYTORCH | {"status": {"conditions": [failed]}})
    assert (found.kind, found.transient) == ("deadline", False)
    assert "placement.cluster.sft.clocks.run_s" in found.hint


def test_rays_head_that_says_nothing_any_more_is_lost() -> None:
    status = {"reason": "JobStatusCheckTimeoutExceeded", "message": "no status for 60s"}
    found = of([], job=RAY | {"status": status})
    assert (found.kind, found.transient) == ("Ray head lost", True)


def test_workers_without_their_head_have_lost_it() -> None:
    worker = pod("worker-0", phase="Running")
    worker["metadata"]["labels"] = {"ray.io/node-type": "worker"}
    assert of([worker], job=RAY).kind == "Ray head lost"


DRIVER = "Job entrypoint command failed with exit code {}, last available logs (truncated to 20,000 chars):\n"
SAID = ["fundus-r1: verl has made no step for 1800 s", "  where: log.txt", "  to do: look at the judge"]


@pytest.mark.parametrize(("code", "transient"), [(75, True), (1, False)])
def test_the_exit_code_of_rays_driver_decides_and_not_that_of_its_submitter(
    code: int, transient: bool
) -> None:
    submitter = pod("submitter", status=ended(1))
    submitter["metadata"]["labels"] = {"batch.kubernetes.io/job-name": "fr1-grpo-abc"}
    job = RAY | {"status": {"reason": "AppFailed", "message": DRIVER.format(code)}}
    found = of([submitter], {"submitter": SAID}, job=job)
    assert (found.transient, found.hint) == (transient, "look at the judge")
    assert found.message == "sft: submitter failed: verl has made no step for 1800 s."


def test_without_pods_the_drivers_last_lines_are_read_from_the_job() -> None:
    message = DRIVER.format(75) + "\n".join(SAID)
    found = of([], job=RAY | {"status": {"reason": "AppFailed", "message": message}})
    assert (found.kind, found.transient, found.hint) == ("own error", True, "look at the judge")


def test_a_head_that_ran_out_of_memory_is_more_than_lost() -> None:
    head = pod("head", status=ended(137, reason="OOMKilled"))
    head["metadata"]["labels"] = {"ray.io/node-type": "head"}
    status = {"reason": "JobStatusCheckTimeoutExceeded"}
    found = of([head], job=RAY | {"status": status})
    assert found.kind == "OOMKilled"
    assert found.message.startswith("sft: head used more memory")


def test_our_own_error_is_quoted_and_its_exit_code_decides() -> None:
    lines = [
        "2026-11-24T11:59:59.123456789Z fundus-r1: The loss rises",
        "2026-11-24T11:59:59.123456789Z   where: step 40",
        "2026-11-24T11:59:59.123456789Z   to do: lower science.sft.learning_rate",
    ]
    found = of([pod("master", status=ended(1))], {"master": lines})
    assert found.message == "sft: master failed: The loss rises."
    assert found.hint == "lower science.sft.learning_rate"
    assert not found.transient
    assert of([pod("master", status=ended(75))], {"master": lines}).transient


def test_a_store_that_is_away_may_come_back() -> None:
    lines = ["fundus-r1: The S3 store cannot be reached: it does not answer in time", "  to do: check it"]
    found = of([pod("master", status=ended(75))], {"master": lines})
    assert (found.kind, found.transient, found.hint) == ("store unreachable", True, "check it")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "CUDA out of memory"),
        ("OSError: [Errno 28] No space left on device: '/scratch/x'", "disk full"),
        ("DataLoader worker is killed: Bus error. insufficient shared memory", "shared memory full"),
        ("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low", "OOMKilled"),
        ("NCCL WARN NET/IB : ibv_reg_mr failed with error Cannot allocate memory", "NCCL"),
        ("ncclSystemError: unhandled system error (run with NCCL_DEBUG=INFO)", "NCCL"),
        ("ValueError: a figure is no number", "Python exception"),
        ("torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError", "rendezvous"),
        (TIMEOUT, "NCCL"),
        (LOST, "peer lost"),
    ],
)  # fmt: skip
def test_the_last_lines_say_what_happened(line: str, kind: str) -> None:
    found = of([pod("master", status=ended(1))], {"master": ["Traceback (most recent call last):", line]})
    assert found.kind == kind


def test_wrappers_around_an_exception_are_passed_over() -> None:
    lines = [
        "KeyError: 'labels'",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:",
        "fundus-r1: The processes ended with exit code 1",
    ]
    assert "KeyError: 'labels'" in of([pod("master", status=ended(1))], {"master": lines}).message


def test_the_culprit_is_the_pod_that_failed_by_itself_though_others_ended_before_it() -> None:
    pods = [
        pod("master", status=ended(1, "12:00:01")),
        pod("worker-0", status=ended(143, "12:00:00")),
        pod("worker-1", status=ended(1, "12:00:05")),
        pod("worker-2", status=ended(1, "12:00:02")),
    ]
    tails = {
        "master": [TIMEOUT],
        "worker-1": ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."],
        "worker-2": [LOST],
    }
    found = of(pods, tails)
    assert found.kind == "CUDA out of memory"
    assert found.message.startswith("sft: worker-1 ")


def test_of_two_that_failed_by_themselves_the_first_is_the_culprit() -> None:
    pods = [pod("master", status=ended(1, "12:00:09")), pod("worker-0", status=ended(1, "12:00:01"))]
    found = of(pods, {"master": ["KeyError: 'b'"], "worker-0": ["KeyError: 'a'"]})
    assert "worker-0" in found.message
    assert "KeyError: 'a'" in found.message


def test_a_pod_without_room_explains_peers_that_waited_for_it() -> None:
    said = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    pods = [
        pod("master", status=ended(1)),
        pod("worker-0", phase="Pending", nodeName=None, status={"conditions": [condition]}),
    ]
    assert of(pods, {"master": ["RendezvousTimeoutError: 1/2 clients joined"]}).kind == "unschedulable"


@pytest.mark.parametrize(
    ("code", "transient", "told"),
    [(137, True, "SIGKILL"), (139, False, "SIGSEGV"), (3, False, "exit code 3"), (75, True, "exit code 75")],
)
def test_a_silent_death_is_told_by_its_exit_code(code: int, transient: bool, told: str) -> None:
    found = of([pod("master", status=ended(code))])
    assert told in found.message
    assert found.transient == transient


def test_a_container_that_was_started_again_is_judged_by_how_it_ended_before() -> None:
    last = ended(137, reason="OOMKilled")["containerStatuses"][0]
    last |= {"lastState": last.pop("state"), "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    assert of([pod("master", phase="Running", status={"containerStatuses": [last]})]).kind == "OOMKilled"


def test_nothing_known_is_said_to_be_unknown() -> None:
    found = of([pod("master", phase="Running")])
    assert (found.kind, found.transient) == ("unknown", False)


def test_the_story_shows_pods_events_and_the_culprits_last_lines() -> None:
    told = event("fr1-sft-abc-worker-0", "Killing", "Stopping | container <main>")
    pods = [pod("master", status=ended(143, "12:00:09")), pod("worker-0", status=ended(1, "12:00:00"))]
    page = of(pods, {"worker-0": ["one", "KeyError: 'a' in ```x```"]}, [told, told]).markdown
    assert "| **worker-0** | Failed | 1 | Error | node-a | 0 |" in page
    assert "| master | Failed | 143 | Error | node-a | 0 |" in page
    assert page.count("Stopping \\| container &lt;main>") == 1
    assert page.rstrip().endswith("````text\none\nKeyError: 'a' in ```x```\n````")
    assert "**What to do:**" in page


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30), min_size=1))
def test_no_line_of_a_log_ends_its_block(lines: list[str]) -> None:
    page = of([pod("master", status=ended(1))], {"master": lines}).markdown
    fence = re.search(r"^(`{3,})text$", page, re.MULTILINE)
    assert fence is not None
    block = page[fence.end() :]
    assert [line for line in block.split("\n") if line.rstrip() == fence[1]] == [fence[1]]
    assert block.rstrip("\n").endswith(fence[1])


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer s3cr3t-value-of-it",
        "AWS_SECRET_ACCESS_KEY=s3cr3t-value-of-it",
        'openai: {"api_key": "s3cr3t-value-of-it"}',
        "fatal: https://me:s3cr3t-value-of-it@host/path",
        "HF_TOKEN=s3cr3t-value-of-it",
        "password: s3cr3t-value-of-it",
    ],
)
def test_what_looks_like_a_secret_is_left_out(line: str) -> None:
    found = of([pod("master", status=ended(1))], {"master": [f"ValueError: {line}"]})
    assert "s3cr3t" not in found.markdown + found.message
    assert "***" in found.markdown


def test_counts_of_tokens_are_no_secrets() -> None:
    assert without_secrets("loss 0.3 tokens 512, tokens_per_s=33") == "loss 0.3 tokens 512, tokens_per_s=33"
