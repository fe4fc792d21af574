"""Stage 3, ``findings``: the visual findings VF(x) of each image (paper, Sec. 3.2.2, Eq. 3).

A part of the index is the unit of work: workers claim parts and ask the observer
(`stages.observing`). The merge holds part k of the findings against part k of the index: each
sample has exactly one row, in the order of the samples, and no row is without a sample. It goes
part by part, so a million images need no more memory than one part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from fundus_r1.errors import StageError
from fundus_r1.models.weights import model_id
from fundus_r1.progress import Progress
from fundus_r1.rows import Findings, Sample
from fundus_r1.spec import Science
from fundus_r1.stages.base import Context, FanOut, Result, Stage
from fundus_r1.stages.observing import FindingsSlice, Observing
from fundus_r1.stages.votes import Tally
from fundus_r1.stages.workers import WorkerLog, usage_of, worker_runs
from fundus_r1.storage.output import StageOutput
from fundus_r1.storage.parts import PartSet

_AGAIN = "delete the folder findings/ of this fingerprint in the store and run again"


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
    # A worker's share is all that it can foresee of the time that is left.
    sharing = 1 if told is None else min(len(missing), ctx.placement.findings.workers)
    progress = Progress(ctx.output.stage, -(-images // sharing) or None, "images", told)
    observing = Observing(ctx, progress, WorkerLog(ctx.store, ctx.output.prefix, worker))
    try:
        parts.work(worker, observing.part)
    finally:
        observing.close()


def merge(samples: Sequence[Sample], rows: Sequence[Findings]) -> list[Findings]:
    """The rows of a part in the order of its samples.

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
            f"The parts are not what the index has: {'; '.join(wrong)}", where="findings", hint=_AGAIN
        )
    by_id = {row.sample_id: row for row in rows}
    return [by_id[sample.sample_id] for sample in samples]


def merged(index: StageOutput, parts: PartSet) -> Iterator[Findings]:
    """All rows in the order of ``samples.jsonl``, one part in memory at a time.

    That each part fits its samples proves that each sample occurs once, since the index sorts its
    samples by their ids, which is proved on the way.

    Raises:
        StageError: the parts are not what the index has.
        StoreError: a part is missing or damaged.
    """
    samples = _ascending(index.read_rows("samples.jsonl", Sample))
    for part, name in enumerate(index.names("samples/")):
        chunk = list(islice(samples, index.record.files[name].rows))
        yield from merge(chunk, list(parts.rows(part, Findings)))
    rest = next(samples, None)
    if rest is not None:
        raise StageError(
            "The index has more samples than its parts", where=rest.sample_id, hint="make the index again"
        )


def _ascending(samples: Iterator[Sample]) -> Iterator[Sample]:
    last = ""
    for sample in samples:
        if sample.sample_id <= last:
            raise StageError(
                f"The samples of the index are not sorted: {sample.sample_id} comes after {last}",
                where="index, samples.jsonl",
                hint="make the index again; a sample may be in it twice",
            )
        last = sample.sample_id
        yield sample


def _run(ctx: Context[FindingsSlice]) -> Result:
    """Writes ``findings.jsonl``, ``votes.json`` and ``workers.jsonl``."""
    _work(ctx, 0, None)
    parts = _parts(ctx)
    for part, ref in parts.refs().items():
        ctx.output.adopt(f"parts/{part:05d}.jsonl", ref)
    tally = Tally(ctx.science.findings.rollouts)
    ctx.output.write_rows("findings.jsonl", tally.passing(merged(ctx.inputs["index"], parts)))
    ctx.output.write_json("votes.json", {**tally.histogram(), "agreement": tally.agreement()})
    runs = worker_runs(ctx.store, ctx.output.prefix)
    ctx.output.write_rows("workers.jsonl", runs)
    usage = {f"observer_{name}": count for name, count in usage_of(runs).items()}
    models = {"observer": model_id(ctx.science.observer)} if parts.refs() else {}
    return Result({**tally.counts(), "workers": len(runs), **usage}, models)


def _work_as(ctx: Context[FindingsSlice], worker: int) -> None:
    _work(ctx, worker, worker)


STAGE: Stage[FindingsSlice] = Stage(
    name="findings",
    summary="asks the observer which findings each image shows, and lets its rollouts vote",
    revision=2,
    after=("index", "knowledge"),
    slice_type=FindingsSlice,
    select=_select,
    run=_run,
    prompts=("findings",),
    fan_out=FanOut(missing=_missing, work=_work_as),
)
