"""Stage 7, ``sft``: supervised fine-tuning of the student (paper, Sec. 3.4 and 4.1).

Setups without SFT write a record that says so, and no model.
"""

from __future__ import annotations

from fundus_r1.models.weights import materialise, model_cache, model_id
from fundus_r1.progress import emit
from fundus_r1.rows import Conversation
from fundus_r1.spec import Spec
from fundus_r1.spec.models import ModelRef
from fundus_r1.spec.science import SftScience
from fundus_r1.stages.base import Context, Result, Stage
from fundus_r1.storage.tables import from_parquet
from fundus_r1.training import checkpoints, process_group
from fundus_r1.training.sft_job import SftJob, SftOutcome, accumulation, unpack


class SftSlice(Spec):
    """What of the science changes the model after SFT."""

    sft: SftScience
    student: ModelRef
    train: bool
    """Whether the setup has SFT at all."""


def run(ctx: Context[SftSlice]) -> Result:
    """Writes ``model/`` and ``log.jsonl``; goes on from the newest checkpoint in the store."""
    if not ctx.science.train:
        return Result({"trained": 0})
    place = ctx.placement.sft
    processes = place.processes if place.launcher == "torchrun" else 1
    accumulation(ctx.science.sft.batch_size, processes, place.micro_batch_size)
    model = materialise(ctx.science.student, model_cache(ctx.placement))
    with ctx.scratch() as folder:
        unpack(from_parquet(ctx.inputs["trainset"].read_bytes("sft.parquet"), Conversation), folder)
        resumed = checkpoints.latest(ctx.store, ctx.output.prefix, folder / "resume")
        if resumed is not None:
            emit("sft", "note", text=f"goes on from the checkpoint of step {resumed}")
        job = SftJob(
            science=ctx.science.sft,
            micro_batch_size=place.micro_batch_size,
            save_steps=place.save_steps,
            store=ctx.placement.store,
            prefix=ctx.output.prefix,
            model=str(model),
            folder=str(folder),
            resume=None if resumed is None else str(folder / "resume"),
        )
        path = folder / "job.json"
        path.write_text(job.model_dump_json(indent=1), encoding="utf-8")
        process_group.run("fundus_r1.training.sft", path, place, folder)
        outcome = SftOutcome.model_validate_json(job.outcome.read_bytes())
        ctx.output.upload_folder("model", job.trained)
        ctx.output.upload_file("log.jsonl", job.log)
    checkpoints.delete_all(ctx.store, ctx.output.prefix)
    return Result(
        counts={**outcome.model_dump(), "resumed_from": resumed},
        models={"student": model_id(ctx.science.student)},
    )


STAGE = Stage(
    name="sft",
    summary="Fine-tunes the student on the conversations, under torchrun.",
    revision=1,
    after=("trainset",),
    slice_type=SftSlice,
    select=lambda science: SftSlice(
        sft=science.sft, student=science.models.student, train=science.recipe.sft
    ),
    run=run,
)
