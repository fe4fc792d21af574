"""Stage 8, ``grpo``: reinforcement learning with the process reward (paper, Sec. 3.3 and 4.1).

It starts from the model after SFT, or from the student itself in setup C. Setups without GRPO
write a record that says so, and no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from fundus_r1.errors import StageError
from fundus_r1.models import ChatRequest, open_chat
from fundus_r1.models.judge import open_judge
from fundus_r1.models.weights import materialise, model_cache, model_id, with_pixels
from fundus_r1.prompts.verdicts import FINDINGS_SCHEMA, findings_question
from fundus_r1.rewards import ProcessValues
from fundus_r1.rewards.verl_entry import JudgeSettings, RewardSettings
from fundus_r1.rows import Prompt, Split
from fundus_r1.spec import Spec
from fundus_r1.spec.models import Chat, ModelRef
from fundus_r1.spec.placement import Endpoint
from fundus_r1.spec.setups import ProcessMode
from fundus_r1.spec.training import GrpoScience, Pixels
from fundus_r1.stages.base import Context, Result, Stage
from fundus_r1.storage.tables import read_parquet
from fundus_r1.training import checkpoints
from fundus_r1.training.grpo import CONFIGURATION, LOG, GrpoJob, GrpoOutcome, train
from fundus_r1.training.grpo_history import REWARDS, ROLLOUTS
from fundus_r1.training.grpo_model import changed_share


class GrpoSlice(Spec):
    """What of the science changes the model after GRPO."""

    grpo: GrpoScience
    process: ProcessMode
    train: bool
    """Whether the setup has GRPO at all."""
    student: ModelRef
    pixels: Pixels
    judge: Chat | None
    """None where the setup asks no judge."""


def _answering_judge(chat: Chat, endpoint: Endpoint | None) -> str:
    """Asks the judge once, before any GPU is taken; the id of the model that answers."""
    trace = "The image shows no abnormal finding."
    request = ChatRequest(
        task="judge_findings",
        messages=(("user", findings_question(trace, [])),),
        inputs={"trace": trace, "findings": []},
        schema=FINDINGS_SCHEMA,
    )
    [answer] = open_chat(chat, endpoint, role="judge").complete([request])
    return answer.model


def _reward_settings(ctx: Context[GrpoSlice]) -> RewardSettings:
    judge = None
    if ctx.science.judge is not None:
        judge = JudgeSettings(
            factory=f"{open_judge.__module__}:{open_judge.__name__}",
            chat=ctx.science.judge,
            endpoint=ctx.placement.endpoints.judge,
        )
    return RewardSettings(
        mode=ctx.science.process,
        values=ProcessValues.of(ctx.science.grpo),
        knowledge_texts=ctx.inputs["trainset"].read_json("knowledge_texts.json"),
        judge=judge,
        bad_share=ctx.science.grpo.bad_share,
    )


def _start(ctx: Context[GrpoSlice], folder: Path) -> Path:
    sft = ctx.inputs["sft"]
    if sft.names("model/"):
        # It carries its limits of pixels with it.
        return sft.download_folder("model", folder)
    student = materialise(ctx.science.student, model_cache(ctx.placement), ctx.store)
    return with_pixels(student, ctx.science.pixels, folder)


def _prompts(ctx: Context[GrpoSlice], folder: Path) -> Iterator[tuple[Prompt, bytes]]:
    table = ctx.inputs["trainset"].download_file("grpo.parquet", folder / "grpo.parquet")
    return ((row, image) for row, image in read_parquet(table, Prompt) if row.split is Split.TRAIN)


def _write(ctx: Context[GrpoSlice], outcome: GrpoOutcome) -> None:
    for name, lines in ((REWARDS, outcome.history.rewards), (ROLLOUTS, outcome.history.rollouts)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        ctx.output.write_bytes(name, text.encode(), rows=len(lines))
    ctx.output.upload_folder("model", outcome.model)


def run(ctx: Context[GrpoSlice]) -> Result:
    """Writes ``model/``, ``rewards.jsonl``, ``rollouts.jsonl``, ``verl.yaml`` and ``verl.log``."""
    if not ctx.science.train:
        return Result({"trained": 0})
    models = {"student": model_id(ctx.science.student)}
    if ctx.science.judge is not None:
        models["judge"] = _answering_judge(ctx.science.judge, ctx.placement.endpoints.judge)
    rewards = _reward_settings(ctx)
    with ctx.scratch() as folder:
        start = _start(ctx, folder / "start")
        job = GrpoJob(
            science=ctx.science.grpo,
            place=ctx.placement.grpo,
            store=ctx.placement.store,
            prefix=ctx.output.prefix,
            model=start,
            rewards=rewards.model_dump_json(),
            trackers=ctx.placement.trackers,
            work=folder,
        )
        try:
            outcome = train(job, _prompts(ctx, folder))
        except StageError as error:
            # The scratch folder goes; the log stays where people can read it.
            _upload(ctx, folder / LOG)
            error.where = error.where.replace(str(folder / LOG), f"{ctx.store.uri}/{ctx.output.prefix}/{LOG}")
            raise
        _upload(ctx, folder / LOG)
        _upload(ctx, folder / CONFIGURATION)
        _write(ctx, outcome)
        changed = changed_share(start, outcome.model)
    checkpoints.delete_all(ctx.store, ctx.output.prefix)
    first, last = outcome.history.rewards[0], outcome.history.rewards[-1]
    return Result(
        counts={
            "trained": outcome.prompts,
            "too_long": outcome.too_long,
            "steps": outcome.steps,
            "resumed_from": outcome.resumed_from,
            "rollout_agreement": outcome.agreement,
            "weights_changed": round(changed, 6),
            "first_score": first["score"],
            "last_score": last["score"],
            **{f"last_{part}": last[part] for part in ("answer", "format", "process", "response_length")},
        },
        models=models,
    )


def _upload(ctx: Context[GrpoSlice], path: Path) -> None:
    if path.is_file():
        ctx.output.upload_file(path.name, path)


STAGE = Stage(
    name="grpo",
    summary="Trains the student with GRPO in verl; the process reward grades its reasoning.",
    revision=2,
    after=("trainset", "sft"),
    slice_type=GrpoSlice,
    select=lambda science: GrpoSlice(
        grpo=science.grpo,
        process=science.recipe.process,
        train=science.recipe.grpo,
        student=science.models.student,
        pixels=science.pixels,
        judge=science.models.judge if science.recipe.process != "none" else None,
    ),
    run=run,
    prompts=("judge_findings", "judge_knowledge"),
)
