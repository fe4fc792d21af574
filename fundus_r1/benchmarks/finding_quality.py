"""How well findings are seen: the observer's vote, and free-form traces, against masks (paper, Tab. 6).

The vote alone is measured (`Findings.observed`), not VF(x), which is taken from the masks where there
are any. A mask set marks some kinds of lesions only, and what it does not mark may still be in the
image; so a finding counts for a dataset only if at least one mask of that dataset shows it, and
for an image only if the observer was asked about it. Where there are free-form traces, both methods
are measured on the images that have one, by the same findings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from typing import Literal

from fundus_r1.benchmarks.metrics import confusion, mean
from fundus_r1.rows import FindingQuality, Findings, Sample

Method = Literal["ours", "free"]


def finding_quality(
    findings: Iterable[Findings], samples: Iterable[Sample], free: Mapping[str, Set[str]]
) -> list[FindingQuality]:
    """One row for each method and finding that masks show, sorted.

    Args:
        findings: what was observed; images that no rollout looked at are passed over.
        samples: the images; those without masks are passed over.
        free: sample id -> what its free-form trace states; empty measures the vote alone.
    """
    masked = {sample.sample_id: sample for sample in samples if sample.findings is not None}
    marked: dict[str, set[str]] = defaultdict(set)
    for sample in masked.values():
        marked[sample.dataset].update(sample.findings or ())
    pairs: dict[tuple[Method, str], list[tuple[bool, bool]]] = defaultdict(list)
    for seen in findings:
        name = seen.sample_id
        if seen.rollouts == 0 or name not in masked or (free and name not in free):
            continue
        truth = masked[name].findings or ()
        for finding in marked[masked[name].dataset].intersection(seen.asked):
            pairs["ours", finding].append((finding in truth, finding in seen.observed))
            if free:
                pairs["free", finding].append((finding in truth, finding in free[name]))
    order: tuple[Method, ...] = ("ours", "free")
    return [_row(*key, pairs[key]) for key in sorted(pairs, key=lambda key: (order.index(key[0]), key[1]))]


def _row(method: Method, finding: str, pairs: list[tuple[bool, bool]]) -> FindingQuality:
    table = confusion(pairs)
    return FindingQuality(
        method=method,
        finding=finding,
        images=len(pairs),
        positives=table.true_positive + table.false_negative,
        sensitivity=table.sensitivity,
        specificity=table.specificity,
        s2=table.s2,
    )


def average_s2(rows: Iterable[FindingQuality]) -> float | None:
    """Mean S2 over the findings of one method, as in the last row of Tab. 6; None if none is defined."""
    return mean(row.s2 for row in rows)
