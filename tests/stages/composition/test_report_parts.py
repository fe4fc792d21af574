"""What the report says of findings and traces, as values and as the page shows them."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.models.rules import RulesModel
from fundus_r1.plots.page import environment
from fundus_r1.prompts.material import check_answer
from fundus_r1.rows import FindingQuality, Reason
from fundus_r1.spec import Science
from fundus_r1.stages import report_view as view
from fundus_r1.stages import writing
from fundus_r1.stages.quality import STAGE as QUALITY
from fundus_r1.stages.report_results import PAPER_FUNNEL, paper_finding_quality
from fundus_r1.stages.traces import STAGE as TRACES


def rendered(section: str, **values: object) -> str:
    """One section of the page as text without tags."""
    template = files("fundus_r1.plots").joinpath("report.html.j2").read_text(encoding="utf-8")
    macros = "".join(re.findall(r"{%-? macro .*?endmacro -?%}", template))
    part = re.search(rf'<section id="{section}">.*?</section>', template, re.DOTALL)
    assert part
    page = environment().from_string(macros + part[0]).render(**values)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def row(method: str, finding: str, sensitivity: float | None, specificity: float | None) -> FindingQuality:
    return FindingQuality.model_validate(
        {
            "method": method, "finding": finding, "images": 4, "positives": 2, "sensitivity": sensitivity,
            "specificity": specificity, "s2": sensitivity,
        }
    )  # fmt: skip


BOTH = [
    row("ours", "microaneurysm", 0.5, 1.0),
    row("ours", "hard_exudate", 1.0, None),
    row("free", "microaneurysm", 0.25, 0.75),
    row("free", "hard_exudate", 0.0, None),
]


def test_both_methods_stand_in_one_row_of_a_finding_and_averages_are_of_what_is_defined() -> None:
    exudate, aneurysm, average = view.finding_table(BOTH)
    assert (exudate["finding"], exudate["figures"]) == ("hard exudate", [100, None, 100, 0, None, 0])
    assert (aneurysm["images"], aneurysm["figures"]) == (4, [50, 100, 50, 25, 75, 25])
    assert (average["finding"], average["figures"]) == ("average", [75, 100, 75, 12.5, 75, 12.5])


def test_without_free_form_traces_their_columns_are_empty() -> None:
    aneurysm, _ = view.finding_table(BOTH[:1])
    assert aneurysm["figures"] == [50, 100, 50, None, None, None]
    assert view.finding_table([]) == []


def test_table_6_shows_the_paper_s_figures_as_not_comparable() -> None:
    text = rendered(
        "findings",
        findings={
            "sentence": "", "rollouts": 5, "votes_over": 2, "histogram": "", "paper": paper_finding_quality(),
            "quality": view.finding_table(BOTH), "observer": "looker", "free_form": "rambler",
        },
    )  # fmt: skip
    assert "microaneurysm 4 2 50.0 100.0 50.0 25.0 75.0 25.0" in text
    paper = text.partition("Not comparable")[2]
    assert "microaneurysm 78.3 49.5 60.7 58.4 23.3 33.3" in paper
    assert "average 66.2 64.7 62.6 42.6 63.1 46.8" in paper
    assert "By vote: looker. Free-form: rambler." in text


class Strict(RulesModel):
    """Composes by rules and, as checker, objects to everything."""

    def complete(self, requests: list[ChatRequest]) -> list[ChatAnswer]:
        objection = check_answer([(Reason.OTHER, "<b>too vague</b>")])
        return [
            ChatAnswer(objection, "strict") if request.task == "check" else answer
            for request, answer in zip(requests, super().complete(requests), strict=True)
        ]


@pytest.fixture
def checked(world: Any, science: Science, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    def section(**quality: object) -> str:
        monkeypatch.setattr(writing, "open_chat", lambda *_, **__: Strict())
        tree = science.model_dump()
        tree["quality"] |= quality
        world.run(TRACES, science)
        world.run(QUALITY, Science.model_validate(tree))
        return rendered("quality", quality=view.quality(world.outputs, PAPER_FUNNEL))

    return section


def test_the_disagreement_of_rules_and_writer_is_shown(checked: Callable[..., str]) -> None:
    text = checked(checks="rules+writer", audit_share=1.0)
    assert "Both have an opinion of 84 traces; the writer is strict." in text
    assert "rules accept 0 48 rules reject 0 36" in text
    assert "incorrect finding 0 24 0" in text and "other 0 0 84" in text
    assert "Traces were composed from findings and knowledge by rules; 0 were not of the form" in text


def test_without_a_writer_the_page_says_that_the_rules_checked_alone(checked: Callable[..., str]) -> None:
    text = checked(checks="rules")
    assert "no writer was asked" in text and "Rules against writer" not in text
