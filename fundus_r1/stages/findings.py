"""Stage 3, ``findings``: the visual findings VF(x) of each image (paper, Sec. 3.2.2, Eq. 3).

A part of the index is the unit of work: workers claim parts and ask the observer
(`stages.observing`); the merge proves that each sample has exactly one row, puts the rows in the
order of the samples, and counts the votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fundus_r1.errors import StageError
from fundus_r1.models.weights import model_id
from fundus_r1.progress import Progress
from fundus_r1.rows import Findings, Sample
from fundus_r1.spec import Science
from fundus_r1.stages.base import Context, Counts, FanOut, Result, Stage
from fundus_r1.stages.observing import FindingsSlice, Observing
from fundus_r1.storage.parts import PartSet


def _select(science: Science) -> FindingsSlice:
    return FindingsSlice(findings=science.findings, observer=science.models.observer)


def _parts(ctx: Context[FindingsSlice]) -> PartSet:
    count = len(ctx.inputs["index"].names("samples/"))
    return PartSet(ctx.store, ctx.output.prefix, count, ctx.placement.findings.lease_s)


def _missing(ctx: Context[FindingsSlice]) -> list[int]:
    return _parts(ctx).missing()


def _work(ctx: Context[FindingsSlice], worker: int, told: int | None) -> None:
    parts = _parts(ctx)
    missing = parts.missing()
    if not missing:
        return
    index = ctx.inputs["index"]
    names = index.names("samples/")
    images = sum(index.record.files[names[part]].rows or 0 for part in missing)
    observing = Observing(ctx, Progress(ctx.output.stage, images or None, "images", told))
    try:
        parts.work(worker, observing.part)
    finally:
        observing.close()


def merge(samples: Sequence[Sample], rows: Sequence[Findings]) -> list[Findings]:
    """The rows in the order of the samples.

    Raises:
        StageError: a sample has no row or several, or a row has no sample.
    """
    times = Counter(row.sample_id for row in rows)
    known = {sample.sample_id for sample in samples}
    wrong = [
        f"{len(ids)} {what} ({', '.join(ids[:3])})"
        for what, ids in (
            ("samples without a row", sorted(known - times.keys())),
            ("samples with several rows", sorted(name for name, n in times.items() if n > 1)),
            ("rows without a sample", sorted(times.keys() - known)),
        )
        if ids
    ]
    if wrong:
        raise StageError(
            f"The parts are not what the index has: {'; '.join(wrong)}",
            where="findings",
            hint="delete the folder findings/ of this fingerprint in the store and run again",
        )
    by_id = {row.sample_id: row for row in rows}
    return [by_id[sample.sample_id] for sample in samples]


def histogram(rows: Sequence[Findings], rollouts: int) -> dict[str, object]:
    """How often a finding had so many votes: over all, and finding by finding."""
    empty = {str(n): 0 for n in range(rollouts + 1)}
    total = dict(empty)
    by_finding: dict[str, dict[str, int]] = {}
    for row in rows:
        for key, votes in row.votes.items():
            total[str(votes)] += 1
            by_finding.setdefault(key, dict(empty))[str(votes)] += 1
    return {"histogram": total, "by_finding": by_finding}


def _counts(rows: Sequence[Findings]) -> Counts:
    return {
        "images": len(rows),
        "pixel": sum(row.source == "pixel" for row in rows),
        "observer": sum(row.source == "observer" for row in rows),
        "asked": sum(len(row.asked) for row in rows),
        "kept": sum(len(row.observed) for row in rows),
        "abstentions": sum(sum(row.abstentions.values()) for row in rows),
    }


def _run(ctx: Context[FindingsSlice]) -> Result:
    _work(ctx, 0, None)
    parts = _parts(ctx)
    for part, ref in parts.refs().items():
        ctx.output.adopt(f"parts/{part:05d}.jsonl", ref)
    rows = [
        Findings.model_validate_json(line)
        for part in range(parts.count)
        for line in parts.read(part).splitlines()
    ]
    samples = list(ctx.inputs["index"].read_rows("samples.jsonl", Sample))
    merged = merge(samples, rows)
    ctx.output.write_rows("findings.jsonl", merged)
    ctx.output.write_json("votes.json", histogram(merged, ctx.science.findings.rollouts))
    return Result(_counts(merged), {"observer": model_id(ctx.science.observer)})


def _work_as(ctx: Context[FindingsSlice], worker: int) -> None:
    _work(ctx, worker, worker)


STAGE: Stage[FindingsSlice] = Stage(
    name="findings",
    summary="asks the observer which findings each image shows, and lets its rollouts vote",
    revision=1,
    after=("index", "knowledge"),
    slice_type=FindingsSlice,
    select=_select,
    run=_run,
    prompts=("findings",),
    fan_out=FanOut(missing=_missing, work=_work_as),
)
