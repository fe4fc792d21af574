"""The story of a failed job as Markdown, which Kubeflow shows beside the step.

A table of the pods, the last events, the last lines of the culprit, what to do. Logs hold what programs say,
so what looks like a credential in them is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fundus_r1.cluster.faults import finished_containers
from fundus_r1.cluster.signs import clean

SUBMITTER = "submitter"
"""The pod that gives a RayJob's command to its cluster, and shows what the driver says."""
_LINES, _EVENTS, _PODS = 40, 20, 60
_CELL = 200
_SECRETS = re.compile(
    r"(?P<key>(?:authorization|bearer|api[_-]?key|token|password|passwd|secret(?:[_-]?(?:access)?[_-]?key)?|"
    r"access[_-]?key(?:[_-]?id)?)[\"']?\s*[=:]\s*[\"']?(?:bearer\s+)?)[^\s\"',;&]+"
    r"|(?P<bearer>\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<user>://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|AKIA[A-Z0-9]{16})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Story:
    """What is told."""

    message: str
    hint: str
    transient: bool
    pods: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]
    culprit: dict[str, Any] | None
    """The pod that failed by itself."""
    tails: Mapping[str, Sequence[str]]
    """Pod -> last lines of its log."""


def without_secrets(text: str) -> str:
    """The text without what looks like a key, a token or a password."""
    return _SECRETS.sub(lambda m: f"{m['key'] or m['bearer'] or m['user'] or ''}***", text)


def role_of(pod: Mapping[str, Any]) -> str:
    """What a pod is in its job: ``master``, ``worker-1``, ``node-0``, ``head``, `SUBMITTER`; or its name."""
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    if kind := labels.get("training.kubeflow.org/replica-type"):
        index = labels.get("training.kubeflow.org/replica-index", "0")
        return "master" if kind == "master" else f"{kind}-{index}"
    if kind := labels.get("ray.io/node-type"):
        return "head" if kind == "head" else f"worker {metadata['name']}"
    if kind := labels.get("jobset.sigs.k8s.io/replicatedjob-name"):
        return f"{kind}-{labels.get('batch.kubernetes.io/job-completion-index', '0')}"
    if "batch.kubernetes.io/job-name" in labels:
        return SUBMITTER
    return str(metadata["name"])


def tell(story: Story) -> str:
    """The story as Markdown."""
    parts = [
        f"## {_cell(story.message, 2000)}",
        f"**What to do:** {_cell(story.hint, 2000)}",
        "Another try may help." if story.transient else "Another try would meet the same.",
        _pods(story),
    ]
    if story.events:
        parts.append(_told_events(story.events))
    if story.culprit is not None:
        name = story.culprit["metadata"]["name"]
        lines = [without_secrets(clean(line)) for line in list(story.tails.get(name, ()))[-_LINES:]]
        if lines:
            parts.append(f"### Last lines of {role_of(story.culprit)} ({name})\n\n{_fenced(lines)}")
    return "\n\n".join(parts) + "\n"


def _pods(story: Story) -> str:
    if not story.pods:
        return "There were no pods."
    rows = ["| pod | phase | exit code | reason | node | restarts |", "| --- | --- | --- | --- | --- | --- |"]
    rows += [_row(pod, pod is story.culprit) for pod in story.pods[:_PODS]]
    if len(story.pods) > _PODS:
        rows.append(f"| … {len(story.pods) - _PODS} more | | | | | |")
    return "### Pods\n\n" + "\n".join(rows)


def _row(pod: dict[str, Any], culprit: bool) -> str:
    status = pod.get("status") or {}
    statuses = status.get("containerStatuses") or ()
    ended = [state for _, state in finished_containers(pod)]
    waiting = [((s.get("state") or {}).get("waiting") or {}).get("reason") for s in statuses]
    reasons = [status.get("reason"), *(e.get("reason") for e in ended), *waiting]
    role = f"**{role_of(pod)}**" if culprit else role_of(pod)
    cells = (
        role,
        status.get("phase") or "",
        ", ".join(str(e.get("exitCode")) for e in ended),
        ", ".join(dict.fromkeys(r for r in reasons if r)),
        (pod.get("spec") or {}).get("nodeName") or "",
        str(sum(s.get("restartCount") or 0 for s in statuses)),
    )
    return f"| {' | '.join(_cell(c) for c in cells)} |"


def _told_events(events: Sequence[dict[str, Any]]) -> str:
    """The last events, each message once with how often it came."""
    last: dict[tuple[str, str, str], tuple[str, int]] = {}
    for event in events:
        about = event.get("involvedObject") or {}
        key = (
            f"{about.get('kind', '')} {about.get('name', '')}",
            event.get("reason") or "",
            event.get("message") or "",
        )
        time = event.get("lastTimestamp") or event.get("eventTime") or ""
        before, count = last.get(key, ("", 0))
        last[key] = (max(before, time), count + (event.get("count") or 1))
    told = sorted(last.items(), key=lambda item: item[1][0])[-_EVENTS:]
    rows = ["| time | about | reason | message | times |", "| --- | --- | --- | --- | --- |"]
    rows += [
        f"| {' | '.join(_cell(c) for c in (time, about, reason, message, str(count)))} |"
        for (about, reason, message), (time, count) in told
    ]
    return "### Events\n\n" + "\n".join(rows)


def _cell(text: str, most: int = _CELL) -> str:
    """Text in one line of Markdown that cannot end its cell or become markup."""
    line = " ".join(without_secrets(text).split())[:most]
    return line.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _fenced(lines: Sequence[str]) -> str:
    """A block of code whose fence is longer than any run of backticks in it."""
    runs = [len(run) for line in lines for run in re.findall(r"`+", line)]
    fence = "`" * max(3, max(runs, default=0) + 1)
    return "\n".join((f"{fence}text", *lines, fence))
