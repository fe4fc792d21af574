"""Prints an image's way through a run, as `fundus-r1 show` does.

What models, datasets and sources wrote is printed as text: no markup of it is read, and control
characters, with which a text could write over the terminal, are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.plots.highlight import pieces
from fundus_r1.rows import Knowledge, Passage, Reason, Verdict
from fundus_r1.stages.show import Asked, Rollout, Way

ROLLOUTS_SHOWN = 8
STYLES = {"plain": "", "present": "bold green", "unseen": "bold yellow", "denied": "dim strike"}

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """A text that cannot steer a terminal."""
    return _CONTROL.sub("\ufffd", text)


def _names(keys: Iterable[str]) -> str:
    return ", ".join(FINDINGS[key].name if key in FINDINGS else key for key in keys) or "none"


class _Printer:
    def __init__(self, console: Console):
        self._console = console

    def heading(self, text: str) -> None:
        self._console.print()
        self._console.print(Text(clean(text), style="bold"))

    def put(self, what: RenderableType, indent: int = 2) -> None:
        self._console.print(Padding(what, (0, 0, 0, indent), expand=False))

    def field(self, name: str, value: str | Text) -> None:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(min_width=11, style="dim")
        grid.add_column(overflow="fold")
        grid.add_row(name, value if isinstance(value, Text) else Text(clean(value)))
        self.put(grid)

    def absent(self, stage: str, missing: Sequence[str], what: str) -> None:
        why = f"the stage {stage} is not in the store yet" if stage in missing else what
        self.put(Text(why, style="italic dim"))


def print_way(way: Way, console: Console) -> None:
    """Prints it from the sample to the rewards."""
    out = _Printer(console)
    _sample(way, out)
    _knowledge(way, out)
    _findings(way, out)
    for asked in way.asked:
        _question(asked, way, out)
    if not way.asked:
        out.heading("Question")
        out.absent("index", way.missing, "no question is asked about this image")
    if way.missing:
        out.heading("Not there yet")
        out.put(Text(", ".join(way.missing)))


def _sample(way: Way, out: _Printer) -> None:
    sample = way.sample
    out.heading(sample.sample_id)
    out.field("image", f"{sample.modality}, {sample.width} x {sample.height}, {sample.path}")
    out.field("dataset", f"{sample.dataset}, {sample.split}")
    out.field("patient", f"{sample.patient}{f', {sample.eye} eye' if sample.eye else ''}")
    out.field("labels", ", ".join(LABELS[label].name for label in sample.labels))
    out.field("masks", "none" if sample.findings is None else f"show {_names(sample.findings)}")


def _knowledge(way: Way, out: _Printer) -> None:
    out.heading("Knowledge D[y, m]")
    if not way.knowledge:
        out.absent("knowledge", way.missing, "the run has no knowledge of this image's labels")
    for known in way.knowledge:
        numbers = {passage: number for number, passage in enumerate(known.passages, start=1)}
        out.field(LABELS[known.label].name, known.description)
        for group, keys in (
            ("required", known.required),
            ("supportive", known.supportive),
            ("absent", known.absent),
        ):
            if keys:
                out.field(group, "; ".join(_supported(key, known, numbers) for key in keys))
        for passage, number in numbers.items():
            out.field(f"[{number}]", _source(way.passages.get(passage), passage))


def _supported(key: str, known: Knowledge, numbers: dict[str, int]) -> str:
    found = [str(numbers[passage]) for passage in known.evidence.get(key, ()) if passage in numbers]
    return f"{_names([key])} [{', '.join(found)}]" if found else _names([key])


def _source(passage: Passage | None, passage_id: str) -> str:
    if passage is None:
        return passage_id
    return f"{passage.source}: {passage.title}, {passage.section}. {passage.reference} ({passage.licence})"


def _findings(way: Way, out: _Printer) -> None:
    out.heading("Findings VF(x)")
    found = way.findings
    if found is None:
        out.absent("findings", way.missing, "the run has no findings of this image")
        return
    out.field("kept", _names(found.present))
    if found.source == "pixel":
        out.field("source", f"lesion masks; the vote alone would keep: {_names(found.observed)}")
    else:
        out.field("source", f"{found.rollouts} rollouts of {found.model}")
    table = Table(box=None, pad_edge=False)
    for title in ("asked", "votes", "unreadable", ""):
        table.add_column(title, justify="right" if title in ("votes", "unreadable") else "left")
    for key in found.asked:
        kept = "kept" if key in found.present else ""
        votes, unread = found.votes.get(key, 0), found.abstentions.get(key, 0)
        style = "green" if kept else "" if votes else "dim"
        table.add_row(_names([key]), f"{votes}/{found.rollouts}", str(unread or ""), kept, style=style)
    if found.asked:
        out.put(table)


def _question(asked: Asked, way: Way, out: _Printer) -> None:
    triplet, trace = asked.triplet, asked.trace
    out.heading(f"Question ({triplet.task})")
    out.field("asked", triplet.question)
    for letter, text in triplet.options.items():
        out.field("", f"{letter}. {text}{'  <- right' if text == triplet.answer else ''}")
    if not triplet.options:
        out.field("right", triplet.answer)
    out.heading("Trace")
    if trace is None:
        out.absent("traces", way.missing, "no trace was composed for this question")
    else:
        marked = Text()
        for piece in pieces(clean(trace.text), trace.findings):
            marked.append(piece.text, style=STYLES[piece.kind])
        out.put(marked)
        out.field("composed", f"{'free-form ' if trace.mode == 'free' else ''}by {trace.model}")
    out.heading("Verdict")
    if asked.verdict is None:
        out.absent("quality", way.missing, "no verdict was given on this question")
    else:
        _verdict(asked.verdict, out)
    out.heading("Rewards")
    if own := asked.own_rewards:
        out.field("the trace", f"answer {own[0]:g}, format {own[1]:g}, by the rewards' own rules")
    if asked.rollouts:
        _rollouts(asked.rollouts, out)
    else:
        out.absent("grpo", way.missing, "no kept rollout of GRPO is about this question")


def _verdict(verdict: Verdict, out: _Printer) -> None:
    yes = verdict.accepted
    out.field("together", Text("accepted" if yes else "rejected", style="bold green" if yes else "bold red"))
    out.field("rules", _opinion("rejected" if verdict.rules else "accepted", verdict.rules))
    who = f" ({verdict.model})" if verdict.model else ""
    out.field("writer", _opinion(f"{verdict.writer.replace('_', ' ')}{who}", verdict.objections))


def _opinion(word: str, reasons: Iterable[tuple[Reason, str]]) -> str:
    told = "".join(f"\n- {reason.value.replace('_', ' ')}: {detail}" for reason, detail in reasons)
    return word + told


def _rollouts(rollouts: Sequence[Rollout], out: _Printer) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("step", "score", "answer", "format", "process"):
        table.add_column(title, justify="right")
    table.add_column("rollout", overflow="fold")
    for row in rollouts[:ROLLOUTS_SHOWN]:
        figures = [f"{value:g}" for value in (row.score, row.answer, row.format, row.process)]
        table.add_row(str(row.step), *figures, Text(clean(" ".join(row.text.split()))))
    out.put(table)
    if len(rollouts) > ROLLOUTS_SHOWN:
        out.put(Text(f"and {len(rollouts) - ROLLOUTS_SHOWN} more in rollouts.jsonl", style="dim"))
