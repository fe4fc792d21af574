"""What a pod says about why it failed or does not start: its status, its containers, its events, its log.

Each reader answers with a `Reading` (`cluster.signs`) or None; `cluster.diagnose` chooses among pods. The
words of the scheduler and of the kubelet are turned into plain ones here.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from fundus_r1.cluster.signs import Blame, Reading, read_lines
from fundus_r1.errors import EXIT_TRANSIENT

_PULL = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_PASSING_PULL = re.compile(
    r"time[d ]?-?out|TLS handshake|connection re|toomanyrequests|429|i/o|5\d\d |temporar"
)
_NODE_GONE = frozenset({"NodeLost", "NodeShutdown", "Terminated"})
_DISRUPTIONS = {
    "PreemptionByScheduler": "preempted",
    "PreemptionByKubeScheduler": "preempted",
    "DeletionByTaintManager": "node lost",
    "DeletionByPodGC": "node lost",
    "TerminationByKubelet": "evicted",
    "EvictionByEvictionAPI": "evicted",
}
SHORT_OF_TIME = "raise placement.cluster.<stage>.clocks.run_s; training goes on from the last checkpoint"
COMES_AGAIN = "another try goes on from the last checkpoint"
_MOST = 400


def finished_containers(pod: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(status, terminated state) of the containers that ended with an error, or did so before a restart."""
    for status in _containers(pod):
        for state in (status.get("state") or {}, status.get("lastState") or {}):
            ended = state.get("terminated")
            if ended and (ended.get("exitCode") or ended.get("reason") == "OOMKilled"):
                yield status, ended
                break


def of_pod(
    pod: dict[str, Any],
    tail: Sequence[str],
    events: Sequence[dict[str, Any]],
    *,
    driver_code: int | None = None,
) -> Reading | None:
    """Why a pod failed, or does not start; None for one that has done neither.

    Args:
        pod: as the API gives it.
        tail: the last lines of its log.
        events: those about it.
        driver_code: of a pod that only speaks for a program elsewhere, that program's exit code.
    """
    return (
        _disrupted(pod)
        or _refused_by_node(pod)
        or _ended(pod, tail, driver_code)
        or _waiting(pod, events)
        or _mount(pod, events)
        or _unscheduled(pod, events)
        or _gone_wrong(pod)
    )


def scheduler_words(message: str) -> tuple[str, bool]:
    """The scheduler's reasons in plain words, and whether waiting may help.

    Args:
        message: ``0/4 nodes are available: 1 node(s) had untolerated taint {a: b}, 3 Insufficient x.``
    """
    head, found, rest = message.partition(" nodes are available: ")
    reasons = (rest if found else message).split("preemption:")[0].strip(" .")
    words, may_pass = [], False
    for reason in re.split(r", (?![^{]*\})", reasons):
        for pattern, said, passes in _SCHEDULER:
            if match := re.search(pattern, reason):
                words.append(match.expand(said))
                may_pass = may_pass or passes
                break
        else:
            words.append(reason)
    total = f" (of {head.split('/')[-1]} nodes)" if found else ""
    return "; ".join(words) + total, may_pass


_SCHEDULER = (
    (r"(\d+) Insufficient (\S+)", r"\1 with too little free \2", True),
    (r"(\d+) Too many pods", r"\1 with as many pods as it may have", True),
    (r"(\d+) node\(s\) were unschedulable", r"\1 closed for new pods", True),
    (
        r"(\d+) node\(s\) had (?:un|in)tolerated taint\(?s?\)? (\{[^}]*\})",
        r"\1 with the taint \2, which no toleration covers",
        False,
    ),
    (
        r"(\d+) node\(s\) didn't match Pod's node affinity/selector",
        r"\1 without the labels that node_selector or affinity asks for",
        False,
    ),
    (r"unbound immediate PersistentVolumeClaims", "a PersistentVolumeClaim that is not bound", False),
    (r'persistentvolumeclaim "([^"]+)" not found', r"there is no PersistentVolumeClaim \1", False),
    (r"(\d+) node\(s\) had volume node affinity conflict", r"\1 that cannot mount the claim's volume", False),
    (r"(\d+) node\(s\) didn't match pod (?:anti-)?affinity", r"\1 that the pods' affinity rules out", False),
)  # fmt: skip


def _disrupted(pod: dict[str, Any]) -> Reading | None:
    for condition in conditions(pod, "DisruptionTarget", "TerminationTarget"):
        reason, message = condition.get("reason") or "", condition.get("message") or ""
        kind = _DISRUPTIONS.get(reason) or ("preempted" if "reempt" in reason + message else "evicted")
        said = {"preempted": "was preempted", "node lost": "lost its node", "evicted": "was evicted"}[kind]
        node = (pod.get("spec") or {}).get("nodeName")
        where = f" on {node}" if node else ""
        own = pod.get("status", {}).get("message") or message
        if kind == "evicted" and (limit := _own_limit(own)):
            return limit
        return Reading(kind, f"{said}{where} ({reason}): {shortly(own)}", COMES_AGAIN, True, Blame.OWN)
    return None


def _own_limit(message: str) -> Reading | None:
    """An eviction for a limit of the pod's own, which another try would meet again."""
    if not re.search(r"[Ee]xceeds? the (total )?limit|usage exceed", message):
        return None
    hint = "raise placement.cluster.<stage>.resources.scratch (or shared_memory, if that is the volume named)"
    return Reading(
        "evicted", f"used more disk than it may and was evicted: {shortly(message)}", hint, False, Blame.OWN
    )


def _refused_by_node(pod: dict[str, Any]) -> Reading | None:
    status = pod.get("status") or {}
    reason, message = status.get("reason") or "", status.get("message") or ""
    node = (pod.get("spec") or {}).get("nodeName") or "its node"
    if reason == "Evicted":
        said = f"was evicted from {node}: {shortly(message)}"
        hint = f"{COMES_AGAIN}; if it happens often, ask for as much as the pods use (resources)"
        return _own_limit(message) or Reading("evicted", said, hint, True, Blame.OWN)
    if reason == "DeadlineExceeded":
        hint = SHORT_OF_TIME
        return Reading("deadline", "ran longer than it may and was ended", hint, False, Blame.CLOCK)
    if reason in _NODE_GONE:
        return Reading(
            "node lost", f"lost {node} ({reason}): {shortly(message)}", COMES_AGAIN, True, Blame.OWN
        )
    if reason.startswith("OutOf") or reason in ("UnexpectedAdmissionError", "NodeAffinity"):
        said = f"was turned away by {node} ({reason}): {shortly(message)}"
        return Reading("refused by node", said, "another try finds another place", True, Blame.OWN)
    return None


def _ended(pod: dict[str, Any], tail: Sequence[str], driver_code: int | None) -> Reading | None:
    for status, ended in finished_containers(pod):
        code = driver_code or ended.get("exitCode")
        if ended.get("reason") == "OOMKilled":
            limit = _memory_limit(pod, status.get("name"))
            said = (
                f"used more memory than its limit{f' of {limit}' if limit else ''} and was killed (OOMKilled)"
            )
            hint = "raise placement.cluster.<stage>.resources.memory (shared_memory counts as memory)"
            return Reading("OOMKilled", said, hint, False, Blame.OWN)
        if code == 128 + signal.SIGTERM or (
            code == 128 + signal.SIGKILL and pod.get("metadata", {}).get("deletionTimestamp")
        ):
            hint = "look at who ended it: a deadline, another pod's failure, a person"
            return Reading("ended", f"was told to end (exit code {code})", hint, True, Blame.ENDED)
        return read_lines(tail, code) or _by_code(code)
    return None


def _by_code(code: int | None) -> Reading:
    if code == 128 + signal.SIGKILL:
        hint = "often the node had no memory left: look at the node's events; " + COMES_AGAIN
        return Reading("killed", "was killed (exit code 137, SIGKILL)", hint, True, Blame.CRASH)
    if code == 128 + signal.SIGBUS:
        hint = "mostly shared memory is full: raise placement.cluster.<stage>.resources.shared_memory"
        return Reading("shared memory full", "met a bus error (exit code 135)", hint, False, Blame.OWN)
    name = ""
    if code is not None and code > 128:
        try:
            name = f", {signal.Signals(code - 128).name}"
        except ValueError:
            name = ""
    said = f"ended with exit code {code}{name}, and its last lines do not say why"
    return Reading("unknown", said, "look at its whole log in the store", code == EXIT_TRANSIENT, Blame.CRASH)


def _waiting(pod: dict[str, Any], events: Sequence[dict[str, Any]]) -> Reading | None:
    for status in _containers(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason") or "", waiting.get("message") or ""
        if reason in _PULL:
            told = [e.get("message") or "" for e in events if e.get("reason") == "Failed"]
            full = next((m for m in reversed(told) if "pull image" in m), message)
            passes = bool(_PASSING_PULL.search(full)) and "not found" not in full
            return Reading(
                "image pull",
                f"cannot have its image {status.get('image', '')} ({reason}): {shortly(full)}",
                "correct placement.cluster.image, and name the registry's secret in image_pull_secrets",
                passes,
                Blame.OWN,
            )
        if reason in _CONFIG:
            return Reading(
                "configuration",
                f"cannot be started ({reason}): {shortly(message)}",
                "make the Secret or the key that it names, or correct placement.cluster",
                False,
                Blame.OWN,
            )
    return None


def _mount(pod: dict[str, Any], events: Sequence[dict[str, Any]]) -> Reading | None:
    if (pod.get("status") or {}).get("phase") != "Pending":
        return None
    for event in reversed(events):
        if event.get("reason") in ("FailedMount", "FailedAttachVolume"):
            message = event.get("message") or ""
            missing = "not found" in message
            said = f"cannot mount a volume: {shortly(message)}"
            hint = "make what is missing, or look at the storage class and the claim"
            return Reading("volume", said, hint, not missing, Blame.OWN)
    return None


def _unscheduled(pod: dict[str, Any], events: Sequence[dict[str, Any]]) -> Reading | None:
    status = pod.get("status") or {}
    if status.get("phase") != "Pending" or (pod.get("spec") or {}).get("nodeName"):
        return None
    waits = conditions(pod, "PodScheduled", value="False")
    told = [c.get("message") or "" for c in waits if c.get("reason") == "Unschedulable"]
    told += [e.get("message") or "" for e in events if e.get("reason") == "FailedScheduling"]
    if not told:
        return None
    words, may_pass = scheduler_words(told[0])
    hint = "correct node_selector, tolerations, gpu_resource or claims in placement.cluster"
    return Reading(
        "unschedulable",
        f"finds no node: {words}",
        "wait for room, or ask for less" if may_pass else hint,
        may_pass,
        Blame.AROUND,
    )


def _gone_wrong(pod: dict[str, Any]) -> Reading | None:
    status = pod.get("status") or {}
    if status.get("phase") not in ("Failed", "Unknown"):
        return None
    told = f"{status.get('reason') or 'no reason given'}: {shortly(status.get('message') or '')}"
    said = f"is {status['phase']} ({told.rstrip(': ')})"
    return Reading("unknown", said, "look at the node's events", False, Blame.CRASH)


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def conditions(item: dict[str, Any], *types: str, value: str = "True") -> list[dict[str, Any]]:
    """The conditions of an object that have one of these types and this status."""
    found = (item.get("status") or {}).get("conditions") or ()
    return [c for c in found if c.get("type") in types and c.get("status") == value]


def _memory_limit(pod: dict[str, Any], container: str | None) -> str | None:
    for spec in (pod.get("spec") or {}).get("containers") or ():
        if spec.get("name") == container:
            limit: str | None = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
            return limit
    return None


def shortly(text: str) -> str:
    """A message in one line, cut where it is very long."""
    return " ".join(text.split())[:_MOST].rstrip(" .")
