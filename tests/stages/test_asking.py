from __future__ import annotations

from typing import Any

import pytest

from fundus_r1.benchmarks.scores import scores
from fundus_r1.errors import ModelError
from fundus_r1.models.protocol import VisionAnswer, VisionRequest
from fundus_r1.rows import Question
from fundus_r1.stages import asking
from fundus_r1.stages.asking import Contender, ask, choose, figures


class Scripted:
    """A vision model that says what a test tells it, and remembers what it was asked."""

    def __init__(self, text: str, log: list[str] | None = None):
        self.text, self.log = text, log if log is not None else []
        self.requests: list[VisionRequest] = []
        self.calls: list[int] = []
        self.log.append(f"open {text}")

    def generate(self, requests: list[VisionRequest]) -> list[VisionAnswer]:
        self.requests += requests
        self.calls.append(len(requests))
        if self.text == "fail":
            raise ModelError("it failed")
        return [VisionAnswer((self.text,), "scripted") for _ in requests]

    def close(self) -> None:
        self.log.append(f"close {self.text}")


def question(number: int, **changes: Any) -> Question:
    values = {
        "question_id": f"q{number}", "benchmark": "funbench", "source": "synthetic", "task": "L4a",
        "subtask": "L4a-x", "question": f"Sick {number}?", "options": {"A": "Yes", "B": "No"},
        "answers": ("A",), "image": "x.png", "digest": "", "pixels": "", "media_type": "image/png",
    }  # fmt: skip
    return Question(**{**values, **changes})


def items(*questions: Question, limit: int | None = None):
    return choose([(asked, lambda q=asked: q.question_id.encode()) for asked in questions], limit)


def test_limit_holds_for_each_benchmark_and_source():
    asked = [
        question(number, benchmark=benchmark, source=source)
        for benchmark in ("funbench", "omnimedvqa")
        for source in ("synthetic", "given")
        for number in range(3)
    ]
    kept = [item.question for item in items(*asked, limit=2)]
    assert len(kept) == 8
    assert {one.question_id for one in kept} == {"q0", "q1"}
    assert len(items(*asked)) == 12


def test_a_file_is_multi_label_even_if_the_limit_cuts_off_the_question_that_shows_it():
    kept = items(question(0), question(1, answers=("A", "B")), question(2, subtask="L4a-y"), limit=1)
    assert [item.several for item in kept] == [True]
    assert [item.several for item in items(question(0), question(1, answers=("A", "B")))] == [True, True]


def test_all_models_get_the_same_requests_one_model_after_the_other():
    log: list[str] = []
    models: dict[str, Scripted] = {}

    def opening(name: str, text: str) -> Contender:
        def start() -> Scripted:
            models[name] = Scripted(text, log)
            return models[name]

        return Contender(name, start)

    said = ask(
        [opening("base", "No"), opening("grpo", "<think>x</think> <answer>Yes</answer>")],
        items(question(0), question(1)), max_tokens=7, seed=5,
    )  # fmt: skip
    assert log == [
        "open No", "close No",
        "open <think>x</think> <answer>Yes</answer>", "close <think>x</think> <answer>Yes</answer>",
    ]  # fmt: skip
    assert models["base"].requests == models["grpo"].requests
    first = models["base"].requests[0]
    assert (first.image, first.n, first.max_tokens, first.temperature, first.seed) == (b"q0", 1, 7, 0.0, 5)
    assert "Sick 0?" in first.prompt
    assert "A. Yes" in first.prompt
    assert "<think>" in first.prompt
    assert [(a.prediction.model, a.prediction.question_id, a.prediction.correct) for a in said] == [
        ("base", "q0", False), ("base", "q1", False), ("grpo", "q0", True), ("grpo", "q1", True),
    ]  # fmt: skip


def test_images_are_read_in_chunks(monkeypatch):
    monkeypatch.setattr(asking, "CHUNK", 2)
    model = Scripted("Yes")
    said = ask([Contender("m", lambda: model)], items(*[question(n) for n in range(5)]), max_tokens=1, seed=0)
    assert model.calls == [2, 2, 1]
    assert [answer.prediction.question_id for answer in said] == [f"q{n}" for n in range(5)]


def test_without_questions_no_model_is_opened():
    def never() -> Scripted:
        raise AssertionError("opened")

    assert ask([Contender("base", never)], [], max_tokens=1, seed=0) == []


def test_a_model_that_fails_is_closed():
    log: list[str] = []
    with pytest.raises(ModelError):
        ask([Contender("m", lambda: Scripted("fail", log))], items(question(0)), max_tokens=1, seed=0)
    assert log == ["open fail", "close fail"]


def test_figures_of_one_source():
    asked = items(question(0), question(1, answers=("B",)), question(2, benchmark="omnimedvqa", task="DD"))
    said = ask([Contender("base", lambda: Scripted("Yes")), Contender("sft", lambda: Scripted("?"))],
               asked, max_tokens=1, seed=0)  # fmt: skip
    assert figures(said, scores(said)) == {
        "questions": 3,
        "funbench_f1_base": 0.0,
        "omnimedvqa_accuracy_base": 1.0,
        "unread_base": 0,
        "funbench_f1_sft": 0.0,
        "omnimedvqa_accuracy_sft": 0.0,
        "unread_sft": 3,
    }


def test_figures_name_the_source_where_there_are_two():
    asked = items(question(0), question(0, source="given"))
    said = ask([Contender("base", lambda: Scripted("Yes"))], asked, max_tokens=1, seed=0)
    assert figures(said, scores(said)) == {
        "questions": 2, "funbench_f1_base_given": 1.0, "funbench_f1_base_synthetic": 1.0, "unread_base": 0,
    }  # fmt: skip
    assert figures([], []) == {"questions": 0}


def test_a_limit_is_spread_over_the_subtasks_and_keeps_the_order() -> None:
    parts = ["L1a"] * 5 + ["L3a0"] * 1 + ["L4c"] * 5
    asked = [question(n).model_copy(update={"subtask": part}) for n, part in enumerate(parts)]
    kept = [item.question for item in choose([(q, lambda: b"") for q in asked], 5)]
    assert [q.subtask for q in kept] == ["L1a", "L1a", "L3a0", "L4c", "L4c"]
    assert kept == [asked[0], asked[1], asked[5], asked[6], asked[7]]
