"""Stage 7, ``sft``: supervised fine-tuning of the student (paper, Sec. 3.4 and 4.1).

Setups without SFT write a record that says so, and no model.
"""

from __future__ import annotations

from fundus_r1.errors import SpecError
from fundus_r1.models.weights import materialise, model_cache, model_id, with_pixels
from fundus_r1.progress import emit
from fundus_r1.rows import Conversation
from fundus_r1.spec import Spec
from fundus_r1.spec.models import ModelRef
from fundus_r1.spec.placement import SftPlace
from fundus_r1.spec.training import Pixels, SftScience
from fundus_r1.stages.base import Context, Result, Stage
from fundus_r1.storage.tables import read_parquet
from fundus_r1.training import checkpoints, process_group, zero
from fundus_r1.training.encoder import Encoder
from fundus_r1.training.sft_files import unpack
from fundus_r1.training.sft_job import SftJob, SftOutcome, accumulation
from fundus_r1.training.trackers import reports


class SftSlice(Spec):
    """What of the science changes the model after SFT."""

    sft: SftScience
    student: ModelRef
    pixels: Pixels
    train: bool
    """Whether the setup has SFT at all."""


def run(ctx: Context[SftSlice]) -> Result | None:
    """Writes ``model/`` and ``log.jsonl``; goes on from the newest checkpoint in the store.

    On all machines of a larger group but the first it writes nothing and returns None.
    """
    if not ctx.science.train:
        return Result({"trained": 0})
    place, science = ctx.placement.sft, ctx.science
    processes = process_group.size(place)
    _check(science.sft, place, processes)
    reports(ctx.placement.trackers)
    with ctx.scratch() as folder:
        base = materialise(science.student, model_cache(ctx.placement), ctx.store)
        student = with_pixels(base, science.pixels, folder / "student")
        table = ctx.inputs["trainset"].download_file("sft.parquet", folder / "sft.parquet")
        unpack(read_parquet(table, Conversation), folder, Encoder.of(student), science.sft.max_length)
        resumed = checkpoints.latest(ctx.store, ctx.output.prefix, folder / "resume")
        job = SftJob(
            science=science.sft,
            place=place,
            trackers=ctx.placement.trackers,
            store=ctx.placement.store,
            prefix=ctx.output.prefix,
            model=str(student),
            folder=str(folder),
            resume=None if resumed is None else str(folder / "resume"),
            universal=resumed is not None and zero.adapt(folder / "resume", place, processes),
        )
        if resumed is not None:
            emit("sft", "note", text=f"goes on from the checkpoint of step {resumed}")
        path = folder / "job.json"
        path.write_text(job.model_dump_json(indent=1), encoding="utf-8")
        process_group.run("fundus_r1.training.sft", path, place, folder)
        if not job.outcome.exists():
            # The first process ran on another machine of the group, which closes the output.
            return None
        outcome = SftOutcome.model_validate_json(job.outcome.read_bytes())
        ctx.output.upload_folder("model", job.trained)
        ctx.output.upload_file("log.jsonl", job.log)
    checkpoints.delete_all(ctx.store, ctx.output.prefix)
    return Result(
        counts={**outcome.model_dump(), "resumed_from": resumed},
        models={"student": model_id(science.student)},
    )


def _check(science: SftScience, place: SftPlace, processes: int) -> None:
    """Tells at once what could only fail later.

    Raises:
        SpecError: the batch cannot be shared out, or one process is to share its state with others.
    """
    if place.pack_tokens is None:
        accumulation(science.batch_size, processes, place.micro_batch_size)
    if place.deepspeed != "none" and place.launcher == "process":
        raise SpecError(
            f"placement.sft.deepspeed is {place.deepspeed}, but a single process has nobody to share with",
            where="placement.sft.launcher",
            hint="set it to torchrun or ray, or deepspeed to none",
        )


STAGE = Stage(
    name="sft",
    summary="Fine-tunes the student on the conversations, under torchrun or Ray Train.",
    revision=2,
    after=("trainset",),
    slice_type=SftSlice,
    select=lambda science: SftSlice(
        sft=science.sft,
        student=science.models.student,
        pixels=science.pixels,
        train=science.recipe.sft,
    ),
    run=run,
)
