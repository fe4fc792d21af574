"""What `fundus-r1 show` prints."""

from __future__ import annotations

import io

from made_run import MadeRun, knowledge_rows
from rich.console import Console

from fundus_r1.cli.way import clean, print_way
from fundus_r1.rows import Trace
from fundus_r1.stages.show import Asked, Rollout, Way

NUMBER = 1
"""An image of mild NPDR whose trace states cotton-wool spots that it does not have."""


def way(made: MadeRun, **changes: object) -> Way:
    known, passages = knowledge_rows()
    mine = tuple(row for row in known if row.label == made.trace(NUMBER).label)
    rollout = Rollout(
        step=7, triplet_id=made.triplet(NUMBER).triplet_id, text="<think>[red]seen[/]</think>", score=2.5,
        answer=1.0, format=1.0, process=0.5,
    )  # fmt: skip
    asked = Asked(made.triplet(NUMBER), made.trace(NUMBER), made.verdict(NUMBER), (rollout,))
    whole = {
        "sample": made.sample(NUMBER), "knowledge": mine, "vocabulary": (), "findings": made.findings(NUMBER),
        "passages": {row.passage_id: row for row in passages}, "asked": (asked,), "missing": (),
    }  # fmt: skip
    return Way(**(whole | changes))  # type: ignore[arg-type]


def printed(shown: Way, *, terminal: bool = False) -> str:
    target = io.StringIO()
    print_way(shown, Console(file=target, width=160, force_terminal=terminal, highlight=False))
    return target.getvalue()


def test_each_step_of_the_way_is_printed() -> None:
    text = printed(way(MadeRun()))
    for part in (
        "idrid/eye 000001.jpg", "Mild NPDR", "microaneurysm [1]", "CC BY 4.0", "microaneurysm", "4/5", "kept",
        "B. Mild NPDR  <- right", "Cotton-wool spots are visible too", "rejected", "incorrect finding:",
        "writer       accepted (checker)", "answer 1, format 1", "2.5",
    ):  # fmt: skip
        assert part in text, f"{part!r} is not in\n{text}"


def test_a_pipe_gets_plain_text_and_a_terminal_gets_marks() -> None:
    assert "\x1b" not in printed(way(MadeRun()))
    assert "\x1b[1;32mmicroaneurysms" in printed(way(MadeRun()), terminal=True)


def test_what_is_not_there_yet_is_said() -> None:
    made = MadeRun()
    asked = Asked(made.triplet(NUMBER), None, None, ())
    missing = ("knowledge", "findings", "traces", "quality", "grpo")
    text = printed(way(made, knowledge=(), findings=None, asked=(asked,), missing=missing))
    for stage in missing:
        assert f"the stage {stage} is not in the store yet" in text
    assert "Not there yet" in text


def test_a_trace_cannot_steer_the_terminal_or_the_printer() -> None:
    def hostile(trace: Trace) -> Trace:
        return trace.model_copy(update={"text": "\x1b[2Jgone [bold]\r\x07 [/nothing] \x9b1m"})

    text = printed(way(MadeRun(hostile)))
    assert "[bold]" in text and "[/nothing]" in text and "[red]seen[/]" in text
    assert not any(character in text for character in "\x1b\r\x07\x9b")
    assert clean("a\n\tb") == "a\n\tb"
