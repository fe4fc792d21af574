"""A small case for stage 8: questions, a student, a judge with a script, and what stands before the stage."""

from __future__ import annotations

import datetime
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from by_heart import picture

from fundus_r1.prompts.student import student_response
from fundus_r1.rows import Modality, Prompt, Split
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.models import Chat, Models, TinyModel
from fundus_r1.spec.placement import Endpoint, Endpoints, GrpoPlace, StorePlace
from fundus_r1.spec.training import GrpoScience, Pixels
from fundus_r1.stages import grpo as stage
from fundus_r1.stages.base import Context
from fundus_r1.storage import open_store
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import to_parquet

OPTIONS = {"A": "No DR", "B": "Mild NPDR", "C": "Severe NPDR", "D": "PDR"}
LABELS = {"A": "no_dr", "B": "mild_npdr", "C": "severe_npdr", "D": "pdr"}
TEXTS = {f"{label}|CFP": f"What is known of {label}." for label in LABELS.values()}
VALUES = {"plausible": 1.0, "tenuous": 0.5, "flawed": 0.25, "plausible_if_wrong": 0.125}
SCIENCE = GrpoScience(
    rollouts=4, epochs=3, learning_rate=1e-5, batch_size=4, mini_batch_size=4,
    max_prompt_length=256, max_response_length=64, precision="fp32", **VALUES,
)  # fmt: skip
STUDENT = TinyModel(hidden=64, layers=2)
STEPS, SAVE_STEPS = 6, 1
PIXELS = Pixels(min_pixels=56 * 56, max_pixels=56 * 56)


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
    endpoint = Endpoint(url=judge, api_key_env="TEST_JUDGE_KEY", concurrency=3) if judge else None
    return Placement(
        store=StorePlace(kind="folder", path=str(folder / "store")),
        cache=str(folder / "cache"),
        endpoints=Endpoints(judge=endpoint),
        grpo=GrpoPlace(
            device="cpu", processes=1, micro_batch_size=4, max_model_len=512, save_steps=SAVE_STEPS,
            stall_s=240,
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
