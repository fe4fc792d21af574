"""Stage 8 as a whole: verl trains a tiny student that has learnt eight answers by heart.

The student answers three questions rightly, four wrongly and one without the form, and a judge
behind real HTTP says what its script says. So every branch of Eq. 4 occurs, and must arrive in the
reward that verl trains on. The run is killed with -9 after its first checkpoint and goes on.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from fundus_r1.errors import ModelError, StageError
from fundus_r1.models.tiny import build_tiny
from fundus_r1.prompts.student import student_response
from fundus_r1.rows import Modality, Prompt, Split
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.models import Chat, Models, TinyModel
from fundus_r1.spec.placement import Endpoint, Endpoints, GrpoPlace, StorePlace
from fundus_r1.spec.science import GrpoScience
from fundus_r1.stages import grpo as stage
from fundus_r1.stages.base import Context
from fundus_r1.stages.execute import run_job
from fundus_r1.stages.job import StageJob
from fundus_r1.storage import open_store
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import to_parquet
from fundus_r1.training.grpo import GrpoJob, GrpoOutcome, train

OPTIONS = {"A": "No DR", "B": "Mild NPDR", "C": "Severe NPDR", "D": "PDR"}
LABELS = {"A": "no_dr", "B": "mild_npdr", "C": "severe_npdr", "D": "pdr"}
TEXTS = {f"{label}|CFP": f"What is known of {label}." for label in LABELS.values()}
VALUES = {"plausible": 1.0, "tenuous": 0.5, "flawed": 0.25, "plausible_if_wrong": 0.125}
SCIENCE = GrpoScience(
    rollouts=4, epochs=2, learning_rate=1e-5, batch_size=4, mini_batch_size=4,
    max_prompt_length=256, max_response_length=64, precision="fp32", **VALUES,
)  # fmt: skip
STUDENT = TinyModel(hidden=64, layers=2)
STEPS = 4


@dataclass(frozen=True)
class Case:
    """A question, what the student has learnt to say to it, and what is expected of the reward."""

    question: str
    truth: str
    response: str
    findings: tuple[str, ...]
    parts: tuple[float, float, float]
    branch: str


def _said(think: str, answer: str) -> str:
    return student_response(think, answer)


CASES = {
    case.question: case
    for case in (
        Case(
            "one",
            "Mild NPDR",
            _said("red dots", "Mild NPDR"),
            ("microaneurysm",),
            (1, 1, 1.0),
            "findings_plausible",
        ),
        Case("two", "PDR", _said("new vessels", "PDR"), ("hard_exudate",), (1, 1, 0.5), "findings_tenuous"),
        Case("three", "No DR", _said("all clear", "No DR"), ("drusen",), (1, 1, 0.25), "findings_flawed"),
        Case("four", "No DR", _said("red dots", "Mild NPDR"), (), (0, 1, 0.125), "knowledge_plausible"),
        Case("five", "No DR", _said("new vessels", "PDR"), (), (0, 1, 0.0), "knowledge_implausible"),
        Case("six", "No DR", _said("red dots", "a cat"), (), (0, 1, 0.0), "not_judged"),
        Case("seven", "No DR", "<answer>No DR</answer>", ("drusen",), (1, 0, 0.0), "not_judged"),
        Case("eight", "No DR", "no form", ("drusen",), (0, 0, 0.0), "not_judged"),
    )
}
VERDICTS = {  # what stands in the judge's reference -> what it says
    "- microaneurysm": "plausible",
    "- hard exudate": "tenuous",
    "- drusen": "flawed",
    TEXTS["mild_npdr|CFP"]: "plausible",
    TEXTS["pdr|CFP"]: "implausible",
}


@dataclass
class ScriptedJudge:
    """An OpenAI-compatible server on loopback that answers by its script."""

    asked: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> ScriptedJudge:
        judge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                judge.asked.append(request | {"path": self.path, "key": self.headers["Authorization"]})
                text = request["messages"][-1]["content"]
                known = request["response_format"]["json_schema"]["schema"]["properties"]["verdict"]["enum"]
                told = (said for mark, said in VERDICTS.items() if mark in text and said in known)
                verdict = next(told, known[-1])
                answer = {"role": "assistant", "content": json.dumps({"verdict": verdict})}
                body = json.dumps(
                    {
                        "id": "1", "object": "chat.completion", "created": 0, "model": "scripted-judge-1",
                        "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}],
                    }
                ).encode()  # fmt: skip
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"


def picture(number: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.full((112, 112, 3), 20 * number, np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def prompt(number: int, case: Case, split: Split = Split.TRAIN) -> Prompt:
    return Prompt(
        triplet_id=case.question,
        sample_id=f"s{number}",
        prompt=f"Question {case.question}: which grade?",
        answer=case.truth,
        options=OPTIONS,
        option_labels=LABELS,
        modality=Modality.CFP,
        findings=case.findings,
        split=split,
    )


ROWS = [prompt(number, case) for number, case in enumerate(CASES.values())]
IMAGES = [picture(number) for number in range(len(ROWS))]


def learn_by_heart(folder: Path) -> Path:
    """A tiny student that gives each question its answer; says so if it has not learnt them."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    build_tiny(folder, STUDENT)
    processor = AutoProcessor.from_pretrained(folder)
    student = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    student.model.visual.requires_grad_(False)

    def chat(row: Prompt) -> str:
        content = [{"type": "image"}, {"type": "text", "text": row.prompt}]
        text: str = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return text

    asked = [chat(row) for row in ROWS]
    said = [f"{CASES[row.triplet_id].response}<|im_end|>" for row in ROWS]
    images = [Image.open(io.BytesIO(image)) for image in IMAGES]
    batch = processor(
        text=[a + b for a, b in zip(asked, said, strict=True)], images=images, padding=True,
        padding_side="right", return_tensors="pt",
    )  # fmt: skip
    lengths = batch["attention_mask"].sum(1)
    learnt = [len(processor.tokenizer(text).input_ids) for text in said]
    labels = batch["input_ids"].clone()
    for number, (length, answer) in enumerate(zip(lengths.tolist(), learnt, strict=True)):
        labels[number, : length - answer] = -100
        labels[number, length:] = -100
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=3e-3)
    torch.manual_seed(0)
    for _ in range(300):
        loss = student(**batch, labels=labels).loss
        if loss.item() < 0.003:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01, f"the student has not learnt its answers: loss {loss.item()}"
    student.to(torch.bfloat16).save_pretrained(folder)
    return folder


def given(store: Any, name: str, files: dict[str, bytes], folder: Path | None = None) -> StageOutput:
    """The output of a stage before this one."""
    writer = OutputWriter(store, name, name * 8)
    for file, data in files.items():
        writer.write_bytes(file, data)
    if folder is not None:
        writer.upload_folder("model", folder)
    now = datetime.datetime.now(datetime.UTC)
    record = writer.close(
        revision=1, science={}, prompts={}, inputs={}, counts={}, models={}, started=now
    )  # fmt: skip
    return StageOutput(store, record)


def a_slice(**changes: Any) -> stage.GrpoSlice:
    judge = Chat(engine="openai", model="scripted-judge")
    science = Science(setup="G", grpo=SCIENCE, models=Models(student=STUDENT, judge=judge))
    return stage.STAGE.select(science).model_copy(update=changes)


def placement(folder: Path, judge: str | None = None) -> Placement:
    endpoint = Endpoint(url=judge, api_key_env="TEST_JUDGE_KEY") if judge else None
    return Placement(
        store=StorePlace(kind="folder", path=str(folder / "store")),
        cache=str(folder / "cache"),
        endpoints=Endpoints(judge=endpoint),
        grpo=GrpoPlace(
            device="cpu", processes=1, micro_batch_size=4, max_model_len=512, save_steps=1, stall_s=240,
            judge_concurrency=3,
        ),
    )  # fmt: skip


def context(folder: Path, cut: stage.GrpoSlice, rows: list[Prompt], judge: str | None = None) -> Context[Any]:
    place = placement(folder, judge)
    store = open_store(place.store)
    (folder / "cache").mkdir(exist_ok=True)
    trainset = {
        "grpo.parquet": to_parquet(rows, IMAGES[: len(rows)], Prompt),
        "knowledge_texts.json": json.dumps(TEXTS).encode(),
    }
    inputs = {"trainset": given(store, "trainset", trainset), "sft": given(store, "sft", {})}
    return Context(cut, place, store, OutputWriter(store, "grpo", "f" * 64), inputs)


# ---- without verl ----------------------------------------------------------------------


def test_only_what_changes_the_model_is_in_the_slice() -> None:
    cuts = {setup: stage.STAGE.select(Science(setup=setup)) for setup in "ABCDEFGHIJ"}
    assert [setup for setup, cut in cuts.items() if cut.train] == list("CDFGHIJ")
    assert {setup: cut.process for setup, cut in cuts.items() if cut.process != "none"} == {
        "G": "selective", "H": "vf", "I": "dk", "J": "sum",
    }  # fmt: skip
    assert all((cut.judge is None) == (cut.process == "none") for cut in cuts.values())
    other_judge = Models(judge=Chat(engine="rules"))
    assert stage.STAGE.select(Science(setup="F", models=other_judge)) == cuts["F"]
    assert stage.STAGE.select(Science(setup="G", models=other_judge)) != cuts["G"]


def test_a_setup_without_grpo_leaves_a_record_and_no_model(tmp_path: Path) -> None:
    ctx = context(tmp_path, a_slice(train=False), ROWS)
    assert stage.run(ctx).counts == {"trained": 0}
    assert ctx.output.files == {}


def test_a_judge_without_an_endpoint_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no endpoint is given"):
        stage.run(context(tmp_path, a_slice(), ROWS))


def test_a_judge_that_does_not_answer_is_told_before_verl_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", "k")
    ctx = context(tmp_path, a_slice(), ROWS, "http://127.0.0.1:9/v1")
    judge = Endpoint(url="http://127.0.0.1:9/v1", api_key_env="TEST_JUDGE_KEY", deadline_s=0.3)
    ctx.placement = ctx.placement.model_copy(update={"endpoints": Endpoints(judge=judge)})
    with pytest.raises(ModelError, match="cannot be reached"):
        stage.run(ctx)


@pytest.mark.engines
@pytest.mark.parametrize(
    ("rows", "science", "told"),
    [
        (ROWS[:3], SCIENCE, "There are 3 GRPO prompts, which is no batch of 4"),
        ([row.model_copy(update={"split": Split.VALIDATION}) for row in ROWS], SCIENCE, "There are 0 GRPO"),
        (ROWS, SCIENCE.model_copy(update={"max_prompt_length": 10}), "8 more are longer than 10 tokens"),
    ],
)
def test_too_few_prompts_are_told_before_verl_starts(
    tmp_path: Path, rows: list[Prompt], science: GrpoScience, told: str
) -> None:
    ctx = context(tmp_path, a_slice(grpo=science, process="none", judge=None), rows)
    with pytest.raises(StageError, match=told) as caught:
        stage.run(ctx)
    assert "science.grpo" in caught.value.hint


# ---- with verl -------------------------------------------------------------------------


@dataclass
class Run:
    """A finished run and what was seen of it."""

    output: StageOutput
    judge: ScriptedJudge
    kept: Path
    """verl's own dumps and our journal of the second try."""
    start: Path
    left_after_kill: list[str]
    left_after_end: list[str]

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_bytes(name).splitlines()]


def engines(
    marks: tuple[str, ...] = ("verl.trainer", "raylet", "gcs_server", "ray::", "VLLM::"),
) -> list[str]:
    """Processes of verl, Ray and vLLM on this machine."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        told = " ".join(process.info["cmdline"] or [])
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(mark in told for mark in marks):
            found.append(told[:80])
    return found


def _wait(condition: Any, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("grpo")
    start = learn_by_heart(folder / "start")
    patch = pytest.MonkeyPatch()
    patch.setenv("TEST_JUDGE_KEY", "not-a-real-key")
    with ScriptedJudge() as judge:
        ctx = context(folder, a_slice(), ROWS, judge.url)
        inputs = {"trainset": "trainset" * 8, "sft": "sft" * 8}
        given(ctx.store, "sft", {}, start)
        job = StageJob(
            stage="grpo", science=a_slice().model_dump(mode="json"), placement=ctx.placement, inputs=inputs
        )
        before = set(engines())
        path = folder / "job.json"
        path.write_text(job.model_dump_json())
        left_after_kill = _killed_after_a_checkpoint(path, folder / "store", before)

        def keeping(job: GrpoJob, rows: Any) -> GrpoOutcome:
            outcome = train(job, rows)
            for name in ("rollouts", "journal"):
                shutil.copytree(job.work / name, folder / "kept" / name)
            return outcome

        patch.setattr(stage, "train", keeping)
        output = run_job(job)
        yield Run(output, judge, folder / "kept", start, left_after_kill, sorted(set(engines()) - before))
    patch.undo()


def _killed_after_a_checkpoint(job: Path, store: Path, before: set[str]) -> list[str]:
    code = (
        "import sys; from pathlib import Path; from fundus_r1.stages.execute import run_job; "
        "from fundus_r1.stages.job import StageJob; "
        "run_job(StageJob.model_validate_json(Path(sys.argv[1]).read_bytes()))"
    )
    with (job.parent / "first.log").open("w") as log:
        first = subprocess.Popen([sys.executable, "-c", code, str(job)], stdout=log, stderr=log)
        _wait(
            lambda: first.poll() is not None or list(store.glob("grpo/*/checkpoints/*/manifest.json")),
            400,
            "the first checkpoint",
        )
        assert first.poll() is None, (job.parent / "first.log").read_text()[-3000:]
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    _wait(lambda: not set(engines()) - before, 30, "the killed run's processes to end")
    return sorted(set(engines()) - before)


@pytest.mark.engines
def test_every_branch_arrives_with_its_value_in_the_reward_that_verl_trains_on(run: Run) -> None:
    """verl's dumps (what it trained on) against the script (what the judge said)."""
    seen: dict[str, set[str]] = {}
    journal = {}
    for path in (run.kept / "journal").glob("*.jsonl"):
        journal |= {line["uid"]: line for line in map(json.loads, path.read_text().splitlines())}
    dumped = [
        json.loads(line)
        for path in (run.kept / "rollouts").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len(dumped) == len(journal) == 16 * (STEPS - int(run.output.record.counts["resumed_from"] or 0))
    for line in dumped:
        told = journal[line["uid"]]
        case = CASES[told["triplet_id"]]
        assert f"Question {case.question}:" in line["input"]
        assert line["output"] == told["text"]
        assert line["score"] == pytest.approx(told["answer"] + told["format"] + told["process"])
        if line["output"] == case.response:
            assert line["score"] == pytest.approx(sum(case.parts)), case.question
            assert told[case.branch] == 1
            seen.setdefault(case.branch, set()).add(case.question)
    assert seen == {
        "findings_plausible": {"one"}, "findings_tenuous": {"two"}, "findings_flawed": {"three"},
        "knowledge_plausible": {"four"}, "knowledge_implausible": {"five"},
        "not_judged": {"six", "seven", "eight"},
    }  # fmt: skip


@pytest.mark.engines
def test_the_two_references_are_never_used_together(run: Run) -> None:
    for line in run.lines("rollouts.jsonl"):
        verdicts = [key for key in line if key.startswith(("findings_", "knowledge_")) and line[key]]
        assert len(verdicts) == 1 - line["not_judged"]
        if line["answer"]:
            assert not line["knowledge_plausible"] and not line["knowledge_implausible"]
        else:
            assert not any(line[key] for key in line if key.startswith("findings_"))


@pytest.mark.engines
def test_vllm_and_the_trainer_have_the_same_weights_after_each_step(run: Run) -> None:
    """The student is sure of its words, so wrong weights, or a blind vision tower, would show."""
    assert float(run.output.record.counts["rollout_agreement"] or 0) > 0.99


@pytest.mark.engines
def test_the_judge_was_asked_over_http_with_the_key_and_nothing_keeps_the_key(run: Run) -> None:
    assert {request["key"] for request in run.judge.asked} == {"Bearer not-a-real-key"}
    assert {request["model"] for request in run.judge.asked} == {"scripted-judge"}
    for name in run.output.names():
        assert b"not-a-real-key" not in run.output.read_bytes(name), name


@pytest.mark.engines
def test_rewards_go_on_after_the_kill_without_a_gap_or_a_double(run: Run) -> None:
    rows = run.lines("rewards.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert all(row["rollouts"] == 16 for row in rows)
    for row in rows:
        assert row["score"] == pytest.approx(row["answer"] + row["format"] + row["process"])
        mine = [line for line in run.lines("rollouts.jsonl") if line["step"] == row["step"]]
        assert len({line["uid"] for line in mine}) == 16
        assert row["response_length"] == pytest.approx(np.mean([line["response_length"] for line in mine]))
    for epoch in (0, 2):
        prompts = {
            line["triplet_id"]
            for line in run.lines("rollouts.jsonl")
            if line["step"] in (epoch + 1, epoch + 2)
        }
        assert prompts == set(CASES), "each epoch sees every prompt once"
    counts = run.output.record.counts
    assert int(counts["resumed_from"] or 0) >= 1
    assert (counts["trained"], counts["steps"], counts["too_long"]) == (8, STEPS, 0)
    assert (counts["first_score"], counts["last_score"]) == (rows[0]["score"], rows[-1]["score"])


@pytest.mark.engines
def test_the_trained_model_loads_and_has_learnt(run: Run, tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = run.output.download_folder("model", tmp_path / "model")
    AutoProcessor.from_pretrained(folder)
    assert AutoModelForImageTextToText.from_pretrained(folder).num_parameters() > 0
    assert float(run.output.record.counts["weights_changed"] or 0) > 0.5
    without_weights = {path.name for path in run.start.iterdir()} - {"model.safetensors"}
    assert without_weights <= {path.name for path in folder.iterdir()}


@pytest.mark.engines
def test_the_output_tells_how_it_came_about_and_keeps_no_checkpoint(run: Run) -> None:
    import yaml

    configuration = yaml.safe_load(run.output.read_bytes("verl.yaml"))
    assert configuration["actor_rollout_ref"]["rollout"]["n"] == 4
    assert configuration["actor_rollout_ref"]["rollout"]["prompt_length"] == 256
    assert b"Training Progress" in run.output.read_bytes("verl.log")
    assert run.output.record.models == {"student": "tiny-64x2-seed0", "judge": "scripted-judge-1"}
    assert not list(run.output.store.list(f"{run.output.record.prefix}/checkpoints/"))


@pytest.mark.engines
def test_no_process_outlives_the_kill_or_the_end(run: Run) -> None:
    assert run.left_after_kill == []
    assert run.left_after_end == []
