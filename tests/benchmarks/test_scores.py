from __future__ import annotations

from typing import get_args

from fundus_r1.benchmarks import BENCHMARKS
from fundus_r1.benchmarks.scores import METRICS, TASKS, Answered, judge, multi_label, overall, scores
from fundus_r1.rows import Question, Score
from fundus_r1.spec.science import Benchmark


def question(number: int, task: str, subtask: str, right: str = "A", **changes) -> Question:
    values = {
        "question_id": f"{subtask}/{number}", "benchmark": "funbench", "source": "synthetic", "task": task,
        "subtask": subtask, "question": "?", "options": {"A": "Yes", "B": "No"}, "answers": tuple(right),
        "image": "x.png", "digest": "", "pixels": "", "media_type": "image/png",
    }  # fmt: skip
    return Question(**{**values, **changes})


def answer(asked: Question, raw: str, model: str = "base", several: bool = False) -> Answered:
    return Answered(asked, judge(model, asked, raw, several=several))


def by_name(found: list[Score]) -> dict[tuple[str, str], Score]:
    return {(score.level, score.name): score for score in found}


def test_judge():
    asked = question(0, "L4a", "L4a-x", "B")
    right = judge("base", asked, "<think>Yes</think><answer>No</answer>", several=False)
    assert (right.extracted, right.answers, right.correct) == (("B",), ("B",), True)
    wrong = judge("base", asked, "I do not know", several=False)
    assert (wrong.extracted, wrong.correct) == ((), False)


def test_all_of_several_answers_are_needed():
    options = {"A": "AMD", "B": "DR", "C": "Glaucoma"}
    asked = question(0, "L4b", "L4b-x", "AC", options=options)
    assert judge("m", asked, "AMD, Glaucoma", several=True).correct
    assert not judge("m", asked, "AMD", several=True).correct
    assert not judge("m", asked, "AMD, DR, Glaucoma", several=True).correct


def test_an_option_that_is_listed_twice_is_right_under_both_letters():
    asked = question(0, "L4a", "L4a-x", "A", options={"A": "Drusen", "B": "CNV", "C": "Drusen"})
    assert judge("m", asked, "C", several=False).correct


def test_multi_label_is_a_property_of_the_file():
    asked = [question(0, "L4b", "L4b-x", "A"), question(1, "L4b", "L4b-x", "AB"), question(2, "L4c", "L4c-x")]
    assert multi_label(asked) == {("funbench", "synthetic", "L4b-x")}


def test_funbench_goes_from_file_to_task_to_level_to_overall():
    def two(task: str, stem: str, first: str, second: str) -> list[Answered]:
        return [
            answer(question(0, task, stem, "A"), first),
            answer(question(1, task, stem, "B"), second),
        ]

    found = by_name(
        scores(
            [
                *two("L3a", "L3a0-x", "Yes", "No"),  # 1
                *two("L3a", "L3a1-x", "Yes", "Yes"),  # 0
                *two("L3b", "L3b0-x", "Yes", "No"),  # 1
                *two("L4a", "L4a-x", "No", "No"),  # 0
            ]
        )
    )
    assert found["subtask", "L3a0-x"].value == 1.0
    assert found["subtask", "L3a1-x"].value == 0.0
    assert found["task", "L3a"].value == 0.5
    assert found["level", "L3"].value == 0.75
    assert found["level", "L4"].value == 0.0
    assert found["overall", "overall"].value == 0.375
    assert found["overall", "overall"].questions == 8
    assert {score.metric for score in found.values()} == {"f1"}


def test_omnimedvqa_is_the_mean_of_its_tasks():
    def omni(number: int, task: str, raw: str) -> Answered:
        return answer(question(number, task, "JSIEC", "A", benchmark="omnimedvqa"), raw)

    found = scores([omni(0, "DD", "Yes"), omni(1, "DD", "No"), omni(2, "DD", "No"), omni(3, "MR", "Yes")])
    named = by_name(found)
    assert named["task", "DD"].value == 1 / 3
    assert named["task", "MR"].value == 1.0
    assert named["overall", "overall"].value == (1 + 1 / 3) / 2
    assert named["subtask", "DD JSIEC"].questions == 3
    assert [score.name for score in found if score.level == "task"] == ["MR", "DD"]
    assert overall(found, "omnimedvqa", "base", "synthetic") == (1 + 1 / 3) / 2
    assert overall(found, "omnimedvqa", "grpo", "synthetic") is None


def test_gmai_is_the_mean_of_its_five_tasks_in_the_papers_order():
    def gmai(number: int, task: str, raw: str) -> Answered:
        return answer(question(number, task, "layers", "A", benchmark="gmai"), raw)

    asked = [gmai(0, "SG", "Yes"), gmai(1, "NT", "Yes"), gmai(2, "NT", "No"), gmai(3, "AR", "No")]
    found = scores(asked)
    assert [(s.name, s.value) for s in found if s.level == "task"] == [("AR", 0.0), ("NT", 0.5), ("SG", 1.0)]
    assert overall(found, "gmai", "base", "synthetic") == 0.5
    assert {score.metric for score in found} == {"accuracy"}


def test_models_and_sources_are_kept_apart():
    asked = question(0, "L1a", "L1a-x", "A")
    given = question(0, "L1a", "L1a-x", "A", source="given")
    found = scores([answer(asked, "Yes", "base"), answer(asked, "No", "sft"), answer(given, "No", "base")])
    assert overall(found, "funbench", "base", "synthetic") == 1.0
    assert overall(found, "funbench", "sft", "synthetic") == 0.0
    assert overall(found, "funbench", "base", "given") == 0.0


def test_every_benchmark_of_a_spec_can_be_read_and_scored():
    assert set(get_args(Benchmark)) == set(BENCHMARKS) == set(METRICS)
    assert {name for name, metric in METRICS.items() if metric == "accuracy"} == set(TASKS)


def test_nothing_gives_no_scores():
    assert scores([]) == []
