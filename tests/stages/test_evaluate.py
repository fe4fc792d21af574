from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fundus_r1.models.protocol import VisionAnswer, VisionRequest
from fundus_r1.rows import (
    FindingQuality,
    Findings,
    Modality,
    Prediction,
    Question,
    Sample,
    Score,
    Split,
    Trace,
)
from fundus_r1.spec.models import FolderModel, TinyModel
from fundus_r1.spec.placement import Engine, Placement
from fundus_r1.spec.science import EvaluateScience, Science
from fundus_r1.spec.training import Pixels
from fundus_r1.stages import evaluate
from fundus_r1.stages.base import Context, Result
from fundus_r1.stages.evaluate import STAGE, EvaluateSlice
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import to_parquet

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (56, 56), (shade, 40, 20)).save(buffer, format="PNG")
    return buffer.getvalue()


def question(number: int, source: str = "synthetic") -> Question:
    return Question(
        question_id=f"q{number}", benchmark="omnimedvqa", source=source, task="DD", subtask="JSIEC",
        question="Which?", options={"A": "Drusen", "B": "CNV"}, answers=("A",), image="x.png",
        digest="", pixels="", media_type="image/png",
    )  # fmt: skip


SAMPLES = [
    Sample(
        sample_id=str(n), dataset="idrid", modality=Modality.CFP, labels=("pdr",), split=Split.TRAIN,
        patient=f"idrid:{n}", path="", digest="", pixels="", width=56, height=56, media_type="image/png",
        findings=("microaneurysm",) if n else (),
    )
    for n in range(2)
]  # fmt: skip
SEEN = [
    Findings(
        sample_id=str(n), modality=Modality.CFP, source="pixel", asked=("microaneurysm",), rollouts=5,
        votes={}, abstentions={}, observed=("microaneurysm",) if n else (), present=(), raw=(), model="m",
    )
    for n in range(2)
]  # fmt: skip


def write(store: FolderStore, stage: str, fill: Callable[[OutputWriter], Any]) -> StageOutput:
    output = OutputWriter(store, stage, stage[0] * 64)
    fill(output)
    record = output.close(revision=1, science={}, prompts={}, inputs={}, counts={}, models={}, started=NOW)
    return StageOutput(store, record)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights of base")
    (folder / "preprocessor_config.json").write_text("{}")
    return folder


Run = Callable[..., tuple[Result, StageOutput]]


@pytest.fixture
def run(store: FolderStore, tmp_path: Path) -> Run:
    def go(
        student: Any, questions: Sequence[Question], trained: Sequence[str] = (), limit: int | None = None,
        model: Path | None = None, max_tokens: int = 16, free: Sequence[Trace] = (),
    ) -> tuple[Result, StageOutput]:  # fmt: skip
        def index(output: OutputWriter) -> None:
            output.write_rows("samples.jsonl", SAMPLES)
            output.write_rows("questions.jsonl", questions)
            for source in sorted({q.source for q in questions}):
                rows = [q for q in questions if q.source == source]
                images = [png(int(row.question_id[1:])) for row in rows]
                output.write_bytes(f"questions/omnimedvqa-{source}.parquet", to_parquet(rows, images))

        def training(stage: str) -> Callable[[OutputWriter], None]:
            def fill(output: OutputWriter) -> None:
                output.write_bytes("log.jsonl", b"")
                if stage in trained and model:
                    output.upload_folder("model", model)
                elif stage in trained:
                    output.write_bytes("model/config.json", b"{}")
                    output.write_bytes("model/model.safetensors", f"weights of {stage}".encode())

            return fill

        context = Context(
            science=EvaluateSlice(
                evaluate=EvaluateScience(limit=limit, max_tokens=max_tokens),
                student=student,
                pixels=Pixels(max_pixels=50_000),
            ),
            placement=Placement(cache=str(tmp_path), engine=Engine(max_model_len=1024, max_num_seqs=4)),
            store=store,
            output=OutputWriter(store, "evaluate", "e" * 64),
            inputs={
                "index": write(store, "index", index),
                "findings": write(store, "findings", lambda o: o.write_rows("findings.jsonl", SEEN)),
                "traces": write(store, "traces", lambda o: o.write_rows("free.jsonl", free)),
                "sft": write(store, "sft", training("sft")),
                "grpo": write(store, "grpo", training("grpo")),
            },
        )
        result = STAGE.run(context)
        record = context.output.close(
            revision=1,
            science={},
            prompts={},
            inputs={},
            counts=result.counts,
            models=result.models,
            started=NOW,
        )
        return result, StageOutput(store, record)

    return go


class Weighed:
    """Says "Drusen" if its folder holds trained weights, and "CNV" otherwise."""

    def __init__(self, path: Path, _: Engine, name: str):
        self.name = name
        self.text = "CNV" if b"base" in (path / "model.safetensors").read_bytes() else "Drusen"

    def generate(self, requests: Iterable[VisionRequest]) -> Iterator[VisionAnswer]:
        requests = list(requests)
        assert all(request.image.startswith(b"\x89PNG") for request in requests)
        for _ in requests:
            yield VisionAnswer((f"<think></think> <answer>{self.text}</answer>",), self.name)

    def close(self) -> None:
        pass


def test_the_models_that_were_trained_are_asked(run, model_folder, monkeypatch):
    monkeypatch.setattr(evaluate, "open_vllm", Weighed)
    questions = [question(0), question(1), question(2, "given")]
    result, output = run(FolderModel(path=str(model_folder)), questions, trained=["sft", "grpo"])
    said = list(output.read_rows("predictions.jsonl", Prediction))
    assert [(p.model, p.question_id) for p in said] == [
        (model, f"q{n}") for model in ("base", "sft", "grpo") for n in (2, 0, 1)
    ]
    assert [p.correct for p in said] == [False] * 3 + [True] * 6
    found = list(output.read_rows("scores.jsonl", Score))
    overall = {(s.source, s.model): (s.value, s.questions) for s in found if s.level == "overall"}
    assert overall == {
        ("given", "base"): (0.0, 1), ("given", "sft"): (1.0, 1), ("given", "grpo"): (1.0, 1),
        ("synthetic", "base"): (0.0, 2), ("synthetic", "sft"): (1.0, 2), ("synthetic", "grpo"): (1.0, 2),
    }  # fmt: skip
    assert result.counts["questions"] == 3
    assert result.counts["omnimedvqa_accuracy_grpo_synthetic"] == 1.0
    assert result.counts["omnimedvqa_accuracy_base_given"] == 0.0
    assert result.models == {"base": "student", "sft": "sft@" + "s" * 12, "grpo": "grpo@" + "g" * 12}


def test_the_base_sees_images_within_the_limits_of_the_spec(run, model_folder, monkeypatch):
    limits = []

    class Limited(Weighed):
        def __init__(self, path: Path, engine: Engine, name: str):
            super().__init__(path, engine, name)
            limits.append(json.loads((path / "preprocessor_config.json").read_text())["max_pixels"])

    monkeypatch.setattr(evaluate, "open_vllm", Limited)
    run(FolderModel(path=str(model_folder)), [question(0)])
    assert limits == [50_000]


def test_a_setup_without_training_asks_the_base_alone(run, model_folder, monkeypatch):
    monkeypatch.setattr(evaluate, "open_vllm", Weighed)
    result, output = run(FolderModel(path=str(model_folder)), [question(0)])
    assert {p.model for p in output.read_rows("predictions.jsonl", Prediction)} == {"base"}
    assert list(result.models) == ["base"]


def test_limit(run, model_folder, monkeypatch):
    monkeypatch.setattr(evaluate, "open_vllm", Weighed)
    result, _ = run(FolderModel(path=str(model_folder)), [question(n) for n in range(5)], limit=2)
    assert result.counts["questions"] == 2


def test_without_a_benchmark_no_model_is_needed(run):
    result, output = run(FolderModel(path="/nowhere"), [])
    assert list(output.read_rows("scores.jsonl", Score)) == []
    assert result.counts == {"questions": 0, "findings_s2": 1.0, "free_s2": None}
    assert result.models == {}


def test_finding_quality_is_written(run):
    _, output = run(FolderModel(path="/nowhere"), [])
    (row,) = output.read_rows("finding_quality.jsonl", FindingQuality)
    assert (row.finding, row.images, row.positives, row.s2) == ("microaneurysm", 2, 1, 1.0)


def free_trace(sample_id: str, text: str) -> Trace:
    return Trace(
        triplet_id=f"{sample_id}#0", sample_id=sample_id, label="pdr", modality=Modality.CFP, mode="free",
        findings=(), source="pixel", text=text, model="vision",
    )  # fmt: skip


def test_what_free_form_traces_state_is_measured_beside_the_vote(run):
    free = [
        free_trace("0", "<think>Some microaneurysms are seen, so this is PDR.</think> <answer>PDR</answer>"),
        free_trace("1", "No microaneurysms are seen; the answer would be PDR"),
    ]
    result, output = run(FolderModel(path="/nowhere"), [], free=free)
    ours, other = output.read_rows("finding_quality.jsonl", FindingQuality)
    assert (ours.method, ours.images, ours.s2) == ("ours", 2, 1.0)
    assert (other.method, other.images, other.sensitivity, other.specificity) == ("free", 2, 0.0, 0.0)
    assert (result.counts["findings_s2"], result.counts["free_s2"]) == (1.0, other.s2)


def test_the_slice_holds_what_changes_the_result_and_no_more():
    science = Science()
    print1 = STAGE.fingerprint(STAGE.select(science), dict.fromkeys(STAGE.after, "x"))
    other = science.model_copy(update={"setup": "J", "sft": science.sft.model_copy(update={"epochs": 9})})
    assert STAGE.fingerprint(STAGE.select(other), dict.fromkeys(STAGE.after, "x")) == print1
    other = science.model_copy(update={"evaluate": EvaluateScience(limit=3)})
    assert STAGE.fingerprint(STAGE.select(other), dict.fromkeys(STAGE.after, "x")) != print1


@pytest.mark.engines
def test_a_real_model_is_asked_twice_in_one_process(run, tmp_path):
    from fundus_r1.models.weights import materialise

    tiny = TinyModel(hidden=64, layers=2)
    trained = materialise(TinyModel(hidden=64, layers=2, seed=1), tmp_path / "models")
    result, output = run(tiny, [question(0), question(1)], trained=["grpo"], model=trained, max_tokens=8)
    said = list(output.read_rows("predictions.jsonl", Prediction))
    assert [p.model for p in said] == ["base", "base", "grpo", "grpo"]
    assert all(p.raw for p in said)
    assert result.counts["questions"] == 2
