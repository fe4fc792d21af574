"""Tab. 5 of any runs: what each trains, its scores, and the paper's own figures beside them.

A run stands in the table with the model that it trained furthest. The paper's figures stand beside a run
only where setup and student are the paper's and the questions are the benchmarks' own. A result that is
not there is a row that says why; it is never left out, and no mean is taken of fewer than three benchmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fundus_r1.benchmarks import paper_tables as paper
from fundus_r1.benchmarks.metrics import mean
from fundus_r1.models.weights import model_id
from fundus_r1.record import Record
from fundus_r1.rows import Score
from fundus_r1.spec import SETUPS, Recipe, RunSpec
from fundus_r1.spec.models import HubModel, ModelRef
from fundus_r1.stages.compare import compare
from fundus_r1.stages.evaluate import STAGE as EVALUATE
from fundus_r1.stages.evaluate import EvaluateSlice
from fundus_r1.stages.report import setup_words
from fundus_r1.stages.report_results import MODELS, SOURCES, TITLES
from fundus_r1.stages.report_view import percent
from fundus_r1.storage.output import StageOutput, find_record
from fundus_r1.storage.protocol import Store

BENCHMARKS = tuple(TITLES)
GIVEN = "given"
"""Source of the benchmarks' own questions; drawn ones are not the paper's."""
_QWEN = {"Qwen2.5-VL-3B-Instruct": "3B", "Qwen2.5-VL-7B-Instruct": "7B"}
_OF_SETUPS = {("A", "7B"): "Qwen2.5-VL-7B", ("G", "7B"): "Fundus-R1-7B"}
"""Where the paper tells of 7B: in Tab. 7."""


@dataclass(frozen=True)
class Run:
    """A run, as far as it is known."""

    label: str
    side: RunSpec | Record
    """Its spec; or the record of its evaluation, where no more is known."""
    student: ModelRef
    recipe: Recipe | None
    """What it trains; None where that cannot be known."""
    evaluation: Record | None = None
    scores: tuple[Score, ...] = ()
    missing: str = ""
    """Why it has no scores."""

    @property
    def setup(self) -> str | None:
        """The paper's setup, A to J."""
        if isinstance(self.side, RunSpec):
            return self.side.science.setup
        return next((name for name, recipe in SETUPS.items() if recipe == self.recipe), None)


@dataclass(frozen=True)
class Figure:
    """A benchmark's overall score."""

    value: float | None
    """Percent; None where it is not defined."""
    questions: int


@dataclass(frozen=True)
class PaperRow:
    """What the paper prints, in percent."""

    name: str
    table: int
    values: tuple[float, ...]
    """Of FunBench, Omni-Fundus, GMAI-Fundus."""
    average: float


@dataclass(frozen=True)
class Row:
    """One run on one source of questions."""

    label: str
    setup: str | None
    trains: str
    student: str
    model: str = ""
    """The model that was scored: ``base``, ``after SFT``, ``after GRPO``."""
    source: str = ""
    figures: tuple[Figure | None, ...] = (None,) * len(BENCHMARKS)
    """In the order of `BENCHMARKS`; None where a benchmark was not asked."""
    average: float | None = None
    paper: PaperRow | None = None
    missing: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the wire."""
        figures = {
            name: None if figure is None else vars(figure)
            for name, figure in zip(BENCHMARKS, self.figures, strict=True)
        }
        beside = self.paper and {
            "name": self.paper.name,
            "table": self.paper.table,
            **dict(zip(BENCHMARKS, self.paper.values, strict=True)),
            "average": self.paper.average,
        }
        return {**vars(self), "figures": figures, "paper": beside}


def run_of(
    label: str, side: RunSpec | Record, store: Store | None, fingerprint: str | None, missing: str = ""
) -> Run:
    """A run with its scores.

    Args:
        label: what it is called in the table.
        side: its spec, or the record of its evaluation.
        store: where its outputs lie; None where that cannot be reached.
        fingerprint: of its evaluation; None where it is not known.
        missing: why there is no store, or no fingerprint.

    Raises:
        StoreError: the store fails.
    """
    if isinstance(side, RunSpec):
        student: ModelRef = side.science.models.student
        recipe: Recipe | None = side.science.recipe
        record = find_record(store, EVALUATE.name, fingerprint) if store and fingerprint else None
    else:
        student = EvaluateSlice.model_validate(side.science).student
        recipe, record = _recipe(side, store) if store else None, side
    if record is None or store is None:
        return Run(label, side, student, recipe, missing=missing or "its stage evaluate has not ended")
    scores = tuple(StageOutput(store, record).read_rows("scores.jsonl", Score))
    why = "" if scores else "no benchmark was given"
    return Run(label, side, student, recipe, record, scores, why)


def _recipe(evaluation: Record, store: Store) -> Recipe | None:
    """What a run trains, from the records of its training; None where one is not in the store."""
    sft = find_record(store, "sft", evaluation.inputs["sft"])
    grpo = find_record(store, "grpo", evaluation.inputs["grpo"])
    trainset = grpo and find_record(store, "trainset", grpo.inputs["trainset"])
    if sft is None or grpo is None or trainset is None:
        return None
    return Recipe(
        sft=sft.science["train"],
        traces=trainset.science["traces"],
        grpo=grpo.science["train"],
        process=grpo.science["process"],
    )


def paper_row(setup: str | None, student: ModelRef) -> PaperRow | None:
    """The paper's row for a setup and a student; None where it has none.

    A released model that is scored as it is has the row of the run that made it.
    """
    if not isinstance(student, HubModel) or setup is None:
        return None
    name = student.name.rpartition("/")[2]
    size = _QWEN.get(name)
    if size == "3B":
        row = next(row for row in paper.TABLE_5 if row.setup == setup)
        values = (row.funbench, row.omni_fundus, row.gmai_fundus)
        return PaperRow(f"{row.setup}: {row.name}", row.table, values, row.average)
    wanted = _OF_SETUPS.get((setup, size or "")) or (name if setup == "A" else None)
    for model in paper.TABLE_7:
        if model.model == wanted:
            values = (model.funbench, model.omni_fundus, model.gmai_fundus)
            return PaperRow(model.model, model.table, values, model.average)
    return None


def rows(runs: Sequence[Run]) -> list[Row]:
    """The table: the runs in the order of their setups, one row for each source of questions."""
    ordered = sorted(runs, key=lambda run: run.setup or "~")
    return [row for run in ordered for row in _rows(run)]


def _rows(run: Run) -> list[Row]:
    trains = setup_words(run.recipe) if run.recipe else "not known: the records of its training are away"
    head = Row(run.label, run.setup, trains, model_id(run.student), missing=run.missing)
    if run.missing:
        return [head]
    overall = [score for score in run.scores if score.level == "overall"]
    found = []
    for source in sorted({score.source for score in overall}):
        mine = [score for score in overall if score.source == source]
        model = max((score.model for score in mine), key=[*MODELS].index)
        of = {score.benchmark: score for score in mine if score.model == model}
        figures = tuple(
            Figure(percent(of[name].value), of[name].questions) if name in of else None for name in BENCHMARKS
        )
        values = [figure.value for figure in figures if figure and figure.value is not None]
        found.append(
            replace(
                head,
                model=MODELS[model],
                source=SOURCES[source],
                figures=figures,
                average=mean(values) if len(values) == len(BENCHMARKS) else None,
                paper=paper_row(run.setup, run.student) if source == GIVEN else None,
            )
        )
    return found


def unlike(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Label -> in which fields, beside the setup, a run is not like the first one; only those that are not.

    Also named are the revision and the prompts by which the answers were scored.
    """
    first, *others = runs
    found = {run.label: [*_fields(first, run), *_scoring(first, run)] for run in others}
    return {label: fields for label, fields in found.items() if fields}


def _fields(first: Run, other: Run) -> list[str]:
    return [
        row.path
        for row in compare(first.side, other.side).fields
        if row.changes_results and row.path != "science.setup" and ".inputs." not in row.path
    ]


def _scoring(first: Run, other: Run) -> list[str]:
    """What two specs cannot say: by which program the answers were scored."""
    one, two = first.evaluation, other.evaluation
    if (
        one is None
        or two is None
        or not (isinstance(first.side, RunSpec) and isinstance(other.side, RunSpec))
    ):
        return []
    return [
        row.path
        for row in compare(one, two).fields
        if row.path.startswith((f"{EVALUATE.name}.revision", f"{EVALUATE.name}.prompts."))
    ]
