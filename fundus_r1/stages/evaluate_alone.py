"""Scores any model on the benchmarks, without a pipeline: released weights and rivals (paper, Tab. 7).

The same questions, prompt, answer extraction and metrics as in the stage ``evaluate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from fundus_r1.benchmarks import BENCHMARKS, RawQuestion, load_benchmark
from fundus_r1.benchmarks.scores import Answered, scores
from fundus_r1.datasets.collect import examine_all
from fundus_r1.datasets.images import BadImageError, ImageFacts, Limits, travelling_bytes
from fundus_r1.errors import DataError
from fundus_r1.models.openai_vision import OpenAIVision
from fundus_r1.models.protocol import VisionModel
from fundus_r1.models.weights import materialise, model_cache
from fundus_r1.rows import Question, Row, Score
from fundus_r1.spec.models import FolderModel
from fundus_r1.spec.placement import Endpoint, Engine, Placement
from fundus_r1.spec.science import EvaluateScience
from fundus_r1.stages.asking import Contender, ask, choose
from fundus_r1.stages.evaluate import open_vllm

LIMITS = Limits()


def evaluate_alone(
    model: str,
    data: Path,
    out: Path,
    *,
    benchmarks: Sequence[str] = tuple(BENCHMARKS),
    limit: int | None = None,
    max_tokens: int = EvaluateScience().max_tokens,
    engine: Engine | None = None,
    model_id: str | None = None,
    api_key_env: str | None = None,
) -> str:
    """Asks one model all questions below a folder and writes what it said and how it scored.

    Args:
        model: a model folder in the Hugging Face layout, which vLLM loads here; or the
            ``http(s)://`` address, ending in ``/v1``, of an OpenAI-compatible endpoint.
        data: folder with FunBench or OmniMedVQA in its official layout.
        out: folder for ``predictions.jsonl`` and ``scores.jsonl``.
        benchmarks: which benchmarks are looked for.
        limit: at most so many questions of each, spread over its tasks.
        max_tokens: of an answer, trace included.
        engine: how vLLM runs; not used for an endpoint.
        model_id: which of the endpoint's models; None takes the only one.
        api_key_env: name of the environment variable that holds the endpoint's key.

    Returns:
        The scores as a table of text.

    Raises:
        DataError: there is no question below `data`, or one cannot be used.
        ModelError: the model cannot be used.
    """
    items = choose(_questions(data, benchmarks), limit)
    name, opened = contender(model, engine or Engine(), model_id, api_key_env)
    answered = ask([Contender(name, opened)], items, max_tokens=max_tokens, seed=EvaluateScience().seed)
    found = scores(answered)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "predictions.jsonl", [item.prediction for item in answered])
    _write(out / "scores.jsonl", found)
    return table(found, answered)


def contender(
    model: str, engine: Engine, model_id: str | None, api_key_env: str | None
) -> tuple[str, Callable[[], VisionModel]]:
    if model.startswith(("http://", "https://")):
        remote = OpenAIVision(Endpoint(url=model, api_key_env=api_key_env), model_id)
        return remote.model, lambda: remote
    path = materialise(FolderModel(path=model), model_cache(Placement()))
    return path.resolve().name, partial(open_vllm, path, engine, path.resolve().name)


def _questions(data: Path, benchmarks: Sequence[str]) -> list[tuple[Question, Callable[[], bytes]]]:
    raws = [raw for name in benchmarks for raw in load_benchmark(name, data)]
    if not raws:
        raise DataError(
            "There is no benchmark question below the folder",
            where=str(data),
            hint=f"give the folder that holds {' or '.join(benchmarks)} in its official layout",
        )
    files = sorted({raw.file for raw in raws}, key=str)
    known = dict(zip(files, examine_all(files, LIMITS, lambda: None), strict=True))
    return [_given(raw, known[raw.file]) for raw in raws]


def _given(raw: RawQuestion, facts: ImageFacts | BadImageError) -> tuple[Question, Callable[[], bytes]]:
    if isinstance(facts, BadImageError):
        raise DataError(
            f"The image of the benchmark question {raw.question_id} cannot be used: {facts.detail}",
            where=str(raw.file),
            hint="bring the image again from its source",
        ) from facts
    question = raw.row("given", digest=facts.digest, pixels=facts.pixels, media_type=facts.media_type)
    return question, partial(travelling_bytes, raw.file, facts, LIMITS)


def _write(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(f"{row.model_dump_json()}\n" for row in rows), encoding="utf-8")


def table(found: Sequence[Score], answered: Sequence[Answered]) -> str:
    """The scores in percent, one line each, and how many answers could not be read."""
    heads = ("benchmark", "part", "metric", "%", "questions")
    lines = [
        (
            score.benchmark,
            score.name,
            score.metric,
            "-" if score.value is None else f"{100 * score.value:.1f}",
            str(score.questions),
        )
        for score in found
    ]
    widths = [max(len(line[at]) for line in [heads, *lines]) for at in range(len(heads))]
    texts = [
        "  ".join(
            cell.rjust(width) if at >= 3 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [heads, *lines]
    ]
    unread = sum(not item.prediction.extracted for item in answered)
    name = answered[0].prediction.model
    return "\n".join(
        [name, *texts, f"{unread} of {len(answered)} answers could not be read and count as wrong"]
    )
