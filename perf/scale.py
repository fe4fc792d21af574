"""Planning, merging and vocabulary work of stage 3 for up to a million images, without an engine.

Prints seconds, seconds of the processor (which say more where others are at work too), and the
peak of resident memory for each size. Each size runs in a process of its own, against a store in
a folder. Target: the processor's seconds grow as the images do, and a million need less than 2 GiB.

    .venv/bin/python perf/scale.py [--images 250000 500000 1000000]
"""

from __future__ import annotations

import argparse
import datetime
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fundus_r1.fingerprint import sha256
from fundus_r1.models.presence import asked_of, parse_rollout, question, schema, vote
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.record import FileRef
from fundus_r1.rows import Findings, Modality, Sample, Split, VocabularyEntry
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.placement import StorePlace
from fundus_r1.stages.base import Context
from fundus_r1.stages.findings import STAGE
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.lines import json_lines
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.parts import PartSet

PART = 256
SIZES = (250_000, 500_000, 1_000_000)
KEYS = tuple(sorted(FINDINGS))[:8]
LABELS = ("no_dr", "mild_npdr", "moderate_npdr", "severe_npdr", "pdr")
VOCABULARY = {
    (label, Modality.CFP): VocabularyEntry(
        label=label, modality=Modality.CFP, required=KEYS[:3], supportive=KEYS[3:], absent=(), asked=KEYS
    )
    for label in LABELS
}
ROLLOUTS = tuple({key: (number + place) % 3 == 0 for place, key in enumerate(KEYS)} for number in range(5))
LIMIT_MIB = 2048


def sample(number: int) -> Sample:
    name = f"set/{number:08d}.png"
    return Sample(
        sample_id=name, dataset="set", modality=Modality.CFP, labels=(LABELS[number % len(LABELS)],),
        split=Split.TRAIN, patient=f"set:{number}", path=name, digest="0" * 64, pixels="0" * 64, width=512,
        height=512, media_type="image/png",
    )  # fmt: skip


def findings(one: Sample) -> Findings:
    """The vocabulary work of one image: what is asked of it, and the vote over five rollouts."""
    asked = asked_of(one, VOCABULARY)
    cast = vote(ROLLOUTS, asked, 2)
    return Findings(
        sample_id=one.sample_id, modality=one.modality, source="observer", asked=asked, rollouts=5,
        votes=cast.votes, abstentions=cast.abstentions, observed=cast.kept, present=cast.kept, raw=(),
        model="none",
    )  # fmt: skip


def closed(store: FolderStore, writer: OutputWriter) -> StageOutput:
    record = writer.close(
        revision=1, science={}, prompts={}, inputs={}, counts={}, models={},
        started=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    return StageOutput(store, record)


def prepare(store: FolderStore, images: int) -> Context:
    """An index whose parts are known by name and size only: neither planning nor merging reads them."""
    index = OutputWriter(store, "index", "0" * 64)
    for number, start in enumerate(range(0, images, PART)):
        name = f"samples/part-{number:05d}.parquet"
        rows = min(PART, images - start)
        index.adopt(name, FileRef(key=name, sha256=sha256(b""), size=0, rows=rows))
    index.write_rows("samples.jsonl", (sample(number) for number in range(images)))
    knowledge = OutputWriter(store, "knowledge", "0" * 64)
    knowledge.write_rows("vocabulary.jsonl", VOCABULARY.values())
    inputs = {"index": closed(store, index), "knowledge": closed(store, knowledge)}
    placement = Placement(store=StorePlace(kind="folder", path=str(store.root)))
    writer = OutputWriter(store, "findings", "0" * 64)
    return Context(STAGE.select(Science()), placement, store, writer, inputs)


def answer(ctx: Context, images: int) -> None:
    """Commits every part, as the workers do."""
    samples = (sample(number) for number in range(images))
    parts = PartSet(ctx.store, ctx.output.prefix, -(-images // PART), 60)
    chunk: list[Findings] = []
    for part, ref in enumerate(
        ctx.inputs["index"].record.files[n] for n in ctx.inputs["index"].names("samples/")
    ):
        chunk = [findings(next(samples)) for _ in range(ref.rows or 0)]
        parts.commit(part, 0, json_lines(chunk), len(chunk))


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def timed(what: str) -> Iterator[None]:
    started, busy = time.perf_counter(), time.process_time()
    yield
    took, busy = time.perf_counter() - started, time.process_time() - busy
    print(f"  {what:<46} {took:8.2f} s  {busy:8.2f} s CPU   peak {peak_mib()} MiB", flush=True)


def measure(images: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fr1-scale-") as folder:
        store = FolderStore(Path(folder))
        print(f"{images} images, {-(-images // PART)} parts (peak at start {peak_mib()} MiB)", flush=True)
        for _ in timed("preparing samples (not a target)"):
            ctx = prepare(store, images)
        assert STAGE.fan_out is not None
        for _ in timed("planning with nothing there"):
            assert len(STAGE.fan_out.missing(ctx)) == -(-images // PART)
        for _ in timed("vocabulary: asked, voted, written part by part"):
            answer(ctx, images)
        for _ in timed("planning with all there"):
            assert STAGE.fan_out.missing(ctx) == []
        for _ in timed("merging, votes and agreement"):
            result = STAGE.run(ctx)
        assert result.counts["images"] == images
        assert ctx.output.files["findings.jsonl"].rows == images
        told = "kept" if peak_mib() < LIMIT_MIB else "MISSED"
        print(f"  memory: {peak_mib()} MiB, target < {LIMIT_MIB} MiB: {told}", flush=True)


def read_one() -> None:
    """What reading one rollout takes, for scale: workers do it, not the merge."""
    asked = KEYS
    text = "{" + ", ".join(f'"{name}": "present"' for name in schema(asked)["required"]) + "}"
    question(Modality.CFP, asked)
    started, times = time.perf_counter(), 2000
    for _ in range(times):
        parse_rollout(text, asked)
    took = (time.perf_counter() - started) / times
    print(f"reading one rollout of {len(asked)} findings: {1e6 * took:.0f} us", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--images", type=int, nargs="+", default=SIZES)
    arguments.add_argument("--here", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.here:
        measure(given.here)
        return
    read_one()
    for images in given.images:
        subprocess.run([sys.executable, __file__, "--here", str(images)], check=True)


if __name__ == "__main__":
    main()
