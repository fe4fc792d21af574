"""A run without a training collection: the stages before the evaluation have nothing to do, and do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.datasets.synth import draw_collection
from fundus_r1.models.protocol import VisionModel
from fundus_r1.rows import Findings, Question, Score, Trace
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.spec.science import Synthetic
from fundus_r1.stages import STAGES, evaluate
from fundus_r1.stages.execute import missing_parts, run_job
from fundus_r1.stages.job import job_of
from fundus_r1.stages.resolve import resolve
from fundus_r1.storage.output import StageOutput

RELEASED = Path(__file__).resolve().parents[2] / "pipelines/specs/paper/released-3b.yaml"
BEFORE = STAGES[: STAGES.index("evaluate")]


def spec(data: Path, store: Path, *overrides: str) -> RunSpec:
    """The paper's spec for released weights, on a drawn benchmark; nobody has an address to be asked at."""
    place = [f"placement.data=['{data}']", "placement.store.kind=folder", f"placement.store.path='{store}'"]
    return resolve(load_spec(RELEASED, [*place, *overrides]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    draw_collection(folder, Synthetic(seed=3, patients=4, masked=2, benchmark=2, size=64))
    return folder


@pytest.fixture(scope="module")
def outputs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageOutput]:
    """What the eight stages before the evaluation wrote."""
    run = spec(data, tmp_path_factory.mktemp("store"))
    return {name: run_job(job_of(run, name)) for name in BEFORE}


def test_every_stage_writes_a_record_with_no_rows(outputs: dict[str, StageOutput]) -> None:
    assert outputs["index"].record.counts["samples"] == 0
    assert outputs["knowledge"].record.counts["pairs"] == 0
    assert list(outputs["findings"].read_rows("findings.jsonl", Findings)) == []
    assert list(outputs["traces"].read_rows("traces.jsonl", Trace)) == []
    assert outputs["quality"].read_json("funnel.json")["traces"] == 0
    assert outputs["trainset"].record.counts["conversations"] == 0
    assert outputs["sft"].record.counts["trained"] == outputs["grpo"].record.counts["trained"] == 0
    assert not outputs["sft"].names("model/") and not outputs["grpo"].names("model/")


def test_the_questions_of_the_benchmarks_are_there(outputs: dict[str, StageOutput]) -> None:
    questions = list(outputs["index"].read_rows("questions.jsonl", Question))
    assert {"funbench", "omnimedvqa"} <= {question.benchmark for question in questions}
    assert len(questions) == outputs["index"].record.counts["questions"]


def test_nobody_was_asked_and_no_page_was_kept(outputs: dict[str, StageOutput]) -> None:
    store = outputs["index"].store
    assert [key for prefix in ("pages/", "snapshots/", "responses/") for key in store.list(prefix)] == []
    for name in BEFORE:
        used = {key: n for key, n in outputs[name].record.counts.items() if key.endswith("_requests")}
        assert not any(used.values()), name
        assert outputs[name].record.models == {}, name


def test_no_worker_is_wanted_for_findings(data: Path, outputs: dict[str, StageOutput]) -> None:
    root = Path(outputs["index"].store.uri.removeprefix("file://"))
    assert missing_parts(job_of(spec(data, root, "science.findings.seed=9"), "findings")) == []


class Chooser:
    """Takes the first option of every question."""

    def generate(self, requests):  # type: ignore[no-untyped-def]
        from fundus_r1.models.protocol import VisionAnswer

        for _ in requests:
            yield VisionAnswer(texts=("<think>It is so.</think> <answer>A</answer>",), model="chooser")

    def close(self) -> None:
        pass


def test_the_released_weights_are_scored_and_stand_beside_the_papers_tables(
    data: Path, outputs: dict[str, StageOutput], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def opened(path: Path, engine: object, name: str) -> VisionModel:
        return Chooser()  # type: ignore[return-value]

    monkeypatch.setattr(evaluate, "open_vllm", opened)
    monkeypatch.setattr(evaluate, "materialise", lambda ref, cache, store: tmp_path)
    monkeypatch.setattr(evaluate, "with_pixels", lambda path, pixels, folder: path)
    run = spec(data, Path(outputs["index"].store.uri.removeprefix("file://")))
    scored = run_job(job_of(run, "evaluate"))
    scores = list(scored.read_rows("scores.jsonl", Score))
    assert {row.model for row in scores} == {"base"}
    page = run_job(job_of(run, "report")).read_bytes("report.html").decode()
    assert "All benchmarks (Tab. 7, %)" in page
    assert "Fundus-R1-3B, Fundus-reading MLLMs (RLVR)" in page and "Lingshu-7B" in page
    assert "Not pinned, so this run cannot be made again exactly: science.models.student.revision, " in page
