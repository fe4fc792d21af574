"""How well findings are seen: the observer's vote against pixel-level masks (paper, Tab. 6).

The vote alone is measured (`Findings.observed`), not VF(x), which is taken from the masks where there
are any. A mask set marks some kinds of lesions only, and what it does not mark may still be in the
image; so a finding counts for a dataset only if at least one mask of that dataset shows it, and
for an image only if the observer was asked about it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fundus_r1.benchmarks.metrics import confusion, mean
from fundus_r1.rows import FindingQuality, Findings, Sample


def finding_quality(findings: Iterable[Findings], samples: Iterable[Sample]) -> list[FindingQuality]:
    """One row for each finding that masks show, sorted by finding.

    Args:
        findings: what was observed; images that no rollout looked at are passed over.
        samples: the images; those without masks are passed over.
    """
    masked = {sample.sample_id: sample for sample in samples if sample.findings is not None}
    marked: dict[str, set[str]] = defaultdict(set)
    for sample in masked.values():
        marked[sample.dataset].update(sample.findings or ())
    pairs: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for seen in findings:
        if seen.rollouts == 0 or seen.sample_id not in masked:
            continue
        sample = masked[seen.sample_id]
        for finding in marked[sample.dataset].intersection(seen.asked):
            pairs[finding].append((finding in (sample.findings or ()), finding in seen.observed))
    return [_row(finding, pairs[finding]) for finding in sorted(pairs)]


def _row(finding: str, pairs: list[tuple[bool, bool]]) -> FindingQuality:
    table = confusion(pairs)
    return FindingQuality(
        finding=finding,
        images=len(pairs),
        positives=table.true_positive + table.false_negative,
        sensitivity=table.sensitivity,
        specificity=table.specificity,
        s2=table.s2,
    )


def average_s2(rows: Iterable[FindingQuality]) -> float | None:
    """Mean S2 over the findings, as in the last row of Tab. 6; None if none is defined."""
    return mean(row.s2 for row in rows)
