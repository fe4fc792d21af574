"""Stage 6, ``trainset``: SFT conversations and GRPO prompts with their images (paper, Sec. 3.4).

Its slice holds of the setup only what changes the data, so setups F to J share one training set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from fundus_r1.errors import StageError, StoreError
from fundus_r1.progress import Progress
from fundus_r1.rows import (
    Conversation,
    Findings,
    Knowledge,
    Prompt,
    Sample,
    Split,
    Trace,
    Triplet,
    Verdict,
)
from fundus_r1.spec import Spec
from fundus_r1.spec.science import TrainsetScience
from fundus_r1.stages.base import Context, Result, Stage
from fundus_r1.storage.output import StageOutput
from fundus_r1.storage.tables import TableWriter, read_parquet
from fundus_r1.training.examples import (
    accepted_texts,
    answer_conversations,
    drawn,
    grpo_prompts,
    trace_conversations,
)

E = TypeVar("E", Conversation, Prompt)


class TrainsetSlice(Spec):
    """What of the science changes the training data."""

    trainset: TrainsetScience
    traces: bool
    """Whether the SFT responses carry traces."""
    sft: bool
    """Whether SFT conversations are needed."""
    grpo: bool
    """Whether GRPO prompts are needed."""


def _choose(
    science: TrainsetSlice, inputs: dict[str, StageOutput], splits: dict[str, Split]
) -> tuple[list[Conversation], list[Prompt]]:
    """The rows of a setup, without images."""
    triplets = list(inputs["index"].read_rows("triplets.jsonl", Triplet))
    texts = accepted_texts(
        inputs["traces"].read_rows("traces.jsonl", Trace),
        inputs["quality"].read_rows("verdicts.jsonl", Verdict),
    )
    accepted = [triplet for triplet in triplets if triplet.triplet_id in texts]
    of = {"accepted": accepted, "all": triplets}
    conversations: list[Conversation] = []
    prompts: list[Prompt] = []
    if science.sft and science.traces:
        conversations = trace_conversations(accepted, texts, splits)
    elif science.sft:
        conversations = answer_conversations(of[science.trainset.answers], splits)
    if science.grpo:
        rows = inputs["findings"].read_rows("findings.jsonl", Findings)
        findings = {row.sample_id: row.present for row in rows}
        prompts = grpo_prompts(of[science.trainset.prompts], findings, splits)
    return conversations, drawn(prompts, science.trainset.limit, science.trainset.seed)


def _demand(rows: Sequence[Conversation | Prompt], what: str, quality: StageOutput) -> None:
    if any(row.split is Split.TRAIN for row in rows):
        return
    funnel = quality.read_json("funnel.json")
    reasons = sorted(funnel["reasons"].items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{reason} {count}" for reason, count in reasons[:3])
    raise StageError(
        f"There are no {what} to train with: the quality check accepted "
        f"{funnel['accepted']} of {funnel['traces']} traces, none of them of the training split",
        where=f"why traces were rejected: {told or 'no trace was rejected'}",
        hint="use an observer that finds what the vocabulary requires, or images with lesion masks "
        "(science.index.synthetic.masked, IDRiD's segmentation set)",
    )


def _by_sample(rows: Sequence[E]) -> dict[str, list[E]]:
    grouped = defaultdict(list)
    for row in rows:
        grouped[row.sample_id].append(row)
    return grouped


def _write(
    ctx: Context[TrainsetSlice], folder: Path, name: str, rows: Sequence[E], row_type: type[E]
) -> None:
    """One parquet of rows and images, in the order of the index's parts, a few in memory at a time."""
    index = ctx.inputs["index"]
    parts = index.names("samples/part-")
    progress = Progress("trainset", len(rows), name)
    wanted = _by_sample(rows)
    written = 0
    path = folder / f"{name}.parquet"
    with TableWriter(path, row_type) as table:
        for part in parts:
            for sample, image in read_parquet(index.download_file(part, folder / "part.parquet"), Sample):
                mine = wanted.get(sample.sample_id, [])
                table.write(mine, [image] * len(mine))
                written += len(mine)
            progress.set(written)
    if written != len(rows):
        raise StoreError(
            f"{len(rows) - written} of {len(rows)} rows of {name} have no image in the index",
            where=f"{index.record.prefix}/samples",
            hint="delete the index's record in the store and run again",
        )
    ctx.output.upload_file(path.name, path, rows=written)


def run(ctx: Context[TrainsetSlice]) -> Result:
    """Writes ``sft.parquet``, ``grpo.parquet`` (as far as the setup needs them), ``knowledge_texts.json``."""
    splits = {row.sample_id: row.split for row in ctx.inputs["index"].read_rows("samples.jsonl", Sample)}
    conversations, prompts = _choose(ctx.science, ctx.inputs, splits)
    with ctx.scratch() as folder:
        if ctx.science.sft:
            _demand(conversations, "SFT conversations", ctx.inputs["quality"])
            _write(ctx, folder, "sft", conversations, Conversation)
        if ctx.science.grpo:
            _demand(prompts, "GRPO prompts", ctx.inputs["quality"])
            _write(ctx, folder, "grpo", prompts, Prompt)
    texts = {
        f"{row.label}|{row.modality}": row.description
        for row in ctx.inputs["knowledge"].read_rows("knowledge.jsonl", Knowledge)
        # Against nothing no rollout can be judged: such an answer has no D[y^, m].
        if row.covered
    }
    ctx.output.write_json("knowledge_texts.json", texts)
    validation = sum(row.split is Split.VALIDATION for row in conversations)
    return Result(
        {
            "conversations": len(conversations),
            "validation": validation,
            "traces": len(conversations) if ctx.science.traces else 0,
            "prompts": len(prompts),
        }
    )


STAGE = Stage(
    name="trainset",
    summary="Turns accepted traces into SFT conversations and GRPO prompts for the setup.",
    revision=3,
    after=("index", "knowledge", "findings", "traces", "quality"),
    slice_type=TrainsetSlice,
    select=lambda science: TrainsetSlice(
        trainset=science.trainset,
        traces=science.recipe.traces,
        sft=science.recipe.sft,
        grpo=science.recipe.grpo,
    ),
    run=run,
    prompts=("student", "student_plain"),
)
