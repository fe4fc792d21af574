"""All traces of a run as cards, image by image, and the choice of some of them.

Samples, findings, triplets, traces and verdicts are written in one order, that of the index. So they
are read side by side, one part of images in memory at a time, however many there are.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, zip_longest

from fundus_r1.errors import StageError
from fundus_r1.plots.card import Card
from fundus_r1.plots.gallery import CHUNK, QUALITY, SIDE, GalleryWriter, Heading, single_page
from fundus_r1.plots.thumbnail import thumbnail
from fundus_r1.progress import Progress
from fundus_r1.rows import Findings, Knowledge, Passage, Sample, Trace, Triplet, Verdict
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import from_parquet

FOLDER = "gallery"
SINGLE = "gallery.html"
SINGLE_TRACES = 120
"""Traces in the one-file gallery, at most."""

Outputs = Mapping[str, StageOutput]
Checked = tuple[Trace, Verdict]


def _checked(outputs: Outputs) -> Iterator[Checked]:
    """Each trace with its verdict; both are in the order of the traces."""
    traces = outputs["traces"].read_rows("traces.jsonl", Trace)
    verdicts = outputs["quality"].read_rows("verdicts.jsonl", Verdict)
    for trace, verdict in zip_longest(traces, verdicts):
        if trace is None or verdict is None:
            raise _apart("there are not as many verdicts as traces")
        if trace.triplet_id != verdict.triplet_id:
            raise _apart(f"the verdict of {verdict.triplet_id} stands beside the trace of {trace.triplet_id}")
        yield trace, verdict


def _apart(what: str) -> StageError:
    return StageError(
        f"The outputs of the stages do not fit together: {what}",
        where="index, findings, traces, quality",
        hint="delete their records in the store and run again",
    )


def chosen(outputs: Outputs, number: int) -> list[str]:
    """Ids of some traces' triplets, spread over modalities, labels and verdicts; always the same.

    Args:
        outputs: of traces and quality.
        number: how many, at most.
    """
    kinds: dict[tuple[str, bool, str], list[tuple[bytes, str]]] = {}
    for trace, verdict in _checked(outputs):
        lot = (hashlib.sha256(trace.triplet_id.encode()).digest(), trace.triplet_id)
        mine = kinds.setdefault((trace.modality.value, not verdict.accepted, trace.label), [])
        mine.append(lot)
        if len(mine) > 2 * number:
            mine[:] = sorted(mine)[:number]
    ordered = [sorted(kinds[kind]) for kind in sorted(kinds)]
    turns = max(map(len, ordered), default=0)
    picked = [lots[turn][1] for turn in range(turns) for lots in ordered if turn < len(lots)]
    return picked[:number]


def _samples(index: StageOutput) -> Iterator[list[tuple[Sample, bytes]]]:
    for name in index.names("samples/"):
        yield from_parquet(index.read_bytes(name), Sample)


def cards(outputs: Outputs) -> Iterator[tuple[list[Card], bytes]]:
    """The cards of each image that has traces, and its bytes, in the order of the index.

    Args:
        outputs: of index, findings, traces and quality.

    Raises:
        StageError: the outputs do not fit together.
    """
    checked = groupby(_checked(outputs), key=lambda pair: pair[0].sample_id)
    triplets = groupby(
        outputs["index"].read_rows("triplets.jsonl", Triplet), key=lambda triplet: triplet.sample_id
    )
    findings = outputs["findings"].read_rows("findings.jsonl", Findings)
    traced, asked = next(checked, None), next(triplets, None)
    for part in _samples(outputs["index"]):
        for (sample, image), seen in zip(part, findings, strict=False):
            if seen.sample_id != sample.sample_id:
                raise _apart(f"the findings of {seen.sample_id} stand in the place of {sample.sample_id}")
            questions: dict[str, Triplet] = {}
            if asked is not None and asked[0] == sample.sample_id:
                questions = {triplet.triplet_id: triplet for triplet in asked[1]}
                asked = next(triplets, None)
            if traced is None or traced[0] != sample.sample_id:
                continue
            mine = [
                Card(
                    sample=sample, triplet=_of(questions, trace), findings=seen, trace=trace, verdict=verdict
                )
                for trace, verdict in traced[1]
            ]
            traced = next(checked, None)
            yield mine, image
    if traced is not None:
        raise _apart(f"the traces of {traced[0]} do not stand in the order of the images, or have no image")


def _of(questions: Mapping[str, Triplet], trace: Trace) -> Triplet:
    if trace.triplet_id not in questions:
        raise _apart(f"the trace of {trace.triplet_id} has no question")
    return questions[trace.triplet_id]


def heading(outputs: Outputs, run: str) -> Heading:
    """What the gallery says beside the traces.

    Args:
        outputs: of knowledge.
        run: one sentence on the run.
    """
    knowledge = outputs["knowledge"]
    return Heading(
        run=run,
        knowledge=list(knowledge.read_rows("knowledge.jsonl", Knowledge)),
        passages=list(knowledge.read_rows("passages.jsonl", Passage)),
    )


@dataclass(frozen=True)
class Written:
    """What a gallery holds."""

    traces: int
    kept: list[tuple[Card, bytes]]
    """Cards that the caller asked for, with their images, in the order of the index."""


def write_gallery(
    output: OutputWriter, outputs: Outputs, above: Heading, keep: Collection[str] = ()
) -> Written:
    """Writes ``gallery/`` with all traces and ``gallery.html`` with some, in one pass over the images.

    Args:
        output: of the stage report.
        outputs: of the stages before it.
        above: what the page says beside the traces.
        keep: ids of a few triplets whose cards the caller needs.
    """
    total = outputs["traces"].record.files["traces.jsonl"].rows
    progress = Progress(output.stage, total, "traces")
    writer = GalleryWriter(lambda name, data: output.write_bytes(f"{FOLDER}/{name}", data), above)
    some = set(chosen(outputs, SINGLE_TRACES))
    shown: list[tuple[Card, str]] = []
    kept: list[tuple[Card, bytes]] = []
    for mine, image, small in _with_thumbnails(cards(outputs)):
        for card in mine:
            writer.add(card, small)
            if card.trace.triplet_id in some:
                shown.append((card, small))
            if card.trace.triplet_id in keep:
                kept.append((card, image))
            if writer.traces % CHUNK == 0:
                progress.set(writer.traces)
    progress.set(writer.traces)
    writer.close()
    output.write_bytes(SINGLE, single_page(shown, above, writer.traces))
    return Written(writer.traces, kept)


def _with_thumbnails(items: Iterable[tuple[list[Card], bytes]]) -> Iterator[tuple[list[Card], bytes, str]]:
    """The same with thumbnails, made some images ahead, in order."""
    threads = os.cpu_count() or 1
    waiting: deque[tuple[list[Card], bytes, Future[str]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for mine, image in items:
            waiting.append((mine, image, pool.submit(thumbnail, image, side=SIDE, quality=QUALITY)))
            if len(waiting) > 4 * threads:
                done, of, small = waiting.popleft()
                yield done, of, small.result()
        for mine, image, small in waiting:
            yield mine, image, small.result()
