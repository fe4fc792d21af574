"""Stage 1, ``index``: public datasets and benchmarks become rows (paper, Tab. 2 and 4, Sec. 3.2.3).

Images are decoded once, for their digests and to find what is damaged; only when splits, duplicates
and leaks are settled are their bytes read again, one part of samples at a time. So the memory that a
run needs does not grow with the training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fundus_r1.benchmarks import RawQuestion, load_benchmark
from fundus_r1.datasets import ADAPTERS
from fundus_r1.datasets.adapter import Reading
from fundus_r1.datasets.audit import find_leaks
from fundus_r1.datasets.bucket import data_cache, data_folder
from fundus_r1.datasets.census import census
from fundus_r1.datasets.collect import Indexed, check_share, collect, examine_all, image_count
from fundus_r1.datasets.digest import data_digest
from fundus_r1.datasets.images import Limits, travelling_bytes
from fundus_r1.datasets.split import split_of
from fundus_r1.datasets.synth import draw_collection
from fundus_r1.datasets.templates import triplets_of
from fundus_r1.errors import DataError, SpecError
from fundus_r1.progress import Progress, emit
from fundus_r1.rows import Leak, Quarantined, Sample, Split
from fundus_r1.spec import Placement, Science, Spec
from fundus_r1.spec.science import Index
from fundus_r1.stages.base import Context, Result, Stage
from fundus_r1.stages.index_questions import Source, ask, write_questions
from fundus_r1.storage.output import OutputWriter
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.tables import to_parquet

NAME = "index"


class IndexSlice(Spec):
    """What the stage reads of the science."""

    index: Index
    """`manifests` is empty here: the digest of the data says all that they say."""


@dataclass
class _Found:
    """What lies in the data folders, before any image is decoded."""

    readings: dict[str, list[tuple[Path, Reading]]] = field(default_factory=dict)
    questions: list[tuple[Source, RawQuestion]] = field(default_factory=list)


def run(ctx: Context[IndexSlice]) -> Result:
    index = ctx.science.index
    limits = Limits(index.min_side, index.max_pixels)
    given = _given(index, ctx.placement, ctx.store)
    with ctx.scratch() as scratch:
        roots: list[tuple[Source, Path]] = [("given", root) for root in given]
        if index.synthetic is not None:
            emit(NAME, "note", text="drawing the synthetic collection")
            draw_collection(scratch / "synthetic", index.synthetic)
            roots.insert(0, ("synthetic", scratch / "synthetic"))
        found = _look(index, roots)
        files = sorted({question.file for _, question in found.questions}, key=str)
        total = sum(image_count(r) for pairs in found.readings.values() for _, r in pairs) + len(files)
        progress = Progress(NAME, total, "images")
        samples, quarantined = _collect(index, found, limits, progress)
        facts = dict(zip(files, examine_all(files, limits, progress.advance), strict=True))
        asked, unasked = ask(index, found.questions, facts)
        quarantined += unasked
        leaks = find_leaks([item.sample for item in samples], [item.question for item in asked])
        kept = _without(samples, leaks, trains=bool(index.datasets))
        result = _write(ctx.output, index, limits, kept, leaks, quarantined, len(asked))
        write_questions(ctx.output, scratch, limits, asked)
        return result


def _given(index: Index, placement: Placement, store: Store) -> list[Path]:
    """The data folders, which must hold what the fingerprint says."""
    roots = [data_folder(entry, data_cache(placement), store) for entry in placement.data]
    if not roots and index.synthetic is None:
        raise SpecError(
            "There is no data: no folder is named and no synthetic collection is asked for",
            where="placement.data, science.index.synthetic",
            hint="name the folders that hold the datasets (--data FOLDER)",
        )
    if not roots:
        return []
    if index.data_digest is None:
        raise SpecError(
            "The digest of the data folders is not filled in, so the fingerprint would not know the data",
            where="science.index.data_digest",
            hint="resolve the spec first (fundus_r1.stages.resolve), as `fundus-r1 run` does",
        )
    if data_digest(roots) != index.data_digest:
        raise DataError(
            "The data folders do not hold what they held when the run was planned",
            where=", ".join(str(root) for root in roots),
            hint="plan the run again; its fingerprints will say that the data is other data",
        )
    return roots


def _look(index: Index, roots: Sequence[tuple[Source, Path]]) -> _Found:
    found = _Found()
    for source, root in roots:
        folders = {name: ADAPTERS[name].find(root) for name in index.datasets}
        for name, places in folders.items():
            pairs = [(place, ADAPTERS[name].read(place)) for place in places]
            found.readings.setdefault(name, []).extend(pairs)
        questions = [q for benchmark in index.benchmarks for q in load_benchmark(benchmark, root)]
        found.questions += [(source, question) for question in questions]
        if not questions and not any(folders.values()):
            layouts = [f"{name}: {ADAPTERS[name].layout}" for name in index.datasets]
            raise DataError(
                "Nothing known lies in a data folder",
                where=str(root),
                hint="looked for, there and some levels below: "
                + "; ".join([*layouts, *(f"the benchmark {name}" for name in index.benchmarks)]),
            )
    there = {question.benchmark for _, question in found.questions}
    there |= {name for name, readings in found.readings.items() if readings}
    if lacking := [name for name in (*index.datasets, *index.benchmarks) if name not in there]:
        emit(NAME, "note", text=f"not in the data folders: {', '.join(lacking)}")
    return found


def _collect(
    index: Index, found: _Found, limits: Limits, progress: Progress
) -> tuple[list[Indexed], list[Quarantined]]:
    split = partial(split_of, seed=index.seed, validation_share=index.validation_share)
    samples: list[Indexed] = []
    quarantined: list[Quarantined] = []
    for name, readings in found.readings.items():
        if readings:
            one = collect(ADAPTERS[name], readings, limits, split, progress.advance)
            check_share(name, len(one.samples), one.quarantined, index.bad_share)
            samples += one.samples
            quarantined += one.quarantined
    return sorted(samples, key=lambda item: item.sample.sample_id), quarantined


def _without(samples: Sequence[Indexed], leaks: Sequence[Leak], *, trains: bool) -> list[Indexed]:
    """The samples that leak into no benchmark; a run without datasets evaluates alone and needs none."""
    leaked = {leak.sample_id for leak in leaks}
    kept = [item for item in samples if item.sample.sample_id not in leaked]
    if trains and not any(item.sample.split is Split.TRAIN for item in kept):
        raise DataError(
            "There is no image to train with",
            where=f"{len(samples)} images were read, {len(leaks)} of them leak into a benchmark, "
            f"{len(kept)} of the rest are for validation",
            hint="add a dataset to placement.data, or ask for the synthetic collection",
        )
    return kept


def _write(
    output: OutputWriter,
    index: Index,
    limits: Limits,
    kept: Sequence[Indexed],
    leaks: Sequence[Leak],
    quarantined: Sequence[Quarantined],
    questions: int,
) -> Result:
    samples = [item.sample for item in kept]
    for number, start in enumerate(range(0, len(kept), index.part_size)):
        part = kept[start : start + index.part_size]
        images = [travelling_bytes(item.file, item.facts, limits) for item in part]
        data = to_parquet([item.sample for item in part], images, Sample)
        output.write_bytes(f"samples/part-{number:05d}.parquet", data, rows=len(part))
    triplets = [triplet for sample in samples for triplet in triplets_of(sample, index.seed)]
    output.write_rows("samples.jsonl", samples)
    output.write_rows("triplets.jsonl", triplets)
    output.write_rows("quarantine.jsonl", quarantined)
    output.write_rows("leaks.jsonl", leaks)
    output.write_json("census.json", census(samples))
    return Result(
        counts={
            "samples": len(samples),
            "train": sum(sample.split is Split.TRAIN for sample in samples),
            "validation": sum(sample.split is Split.VALIDATION for sample in samples),
            "masked": sum(sample.findings is not None for sample in samples),
            "triplets": len(triplets),
            "quarantined": len(quarantined),
            "leaked": len(leaks),
            "questions": questions,
        }
    )


def _slice(science: Science) -> IndexSlice:
    return IndexSlice(index=science.index.model_copy(update={"manifests": {}}))


STAGE = Stage(
    name=NAME,
    summary="Reads datasets and benchmarks, sets aside what is damaged or leaks, and asks questions.",
    revision=2,
    after=(),
    slice_type=IndexSlice,
    select=_slice,
    run=run,
)
