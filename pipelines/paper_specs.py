"""The specs of the paper's runs, written from one table so that they stay in step.

Setups A to J (Tab. 5) differ in `science.setup` and the name alone, the two sizes in the student. Each
file is complete: every field of the science stands in it, also where it is the default, so that a
change of a default changes no pinned run. A test compares the files in ``specs/paper/`` with what is
written here; ``make golden`` renews them.

What could not be looked up where this was written is ``unpinned``. Whoever pins it for good does so in
`REVISIONS`, `SNAPSHOT` and `MANIFESTS`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from fundus_r1.benchmarks.paper_tables import TABLE_5, TABLE_7
from fundus_r1.spec import SETUPS, Assumed, Placement, RunSpec, Science, assumed_values
from fundus_r1.spec.base import UNPINNED
from fundus_r1.spec.cluster import ChildJob, Cluster, PodResources
from fundus_r1.spec.models import Chat, HubModel, Models, ServedModel
from fundus_r1.spec.placement import Engine, GrpoPlace, SftPlace, Workers
from fundus_r1.spec.science import Benchmark, Dataset, Index, KnowledgeScience, QualityScience
from fundus_r1.spec.setups import Setup
from fundus_r1.stages.report import setup_words
from fundus_r1.stages.resolve import prompts_of_the_stages

FOLDER = Path(__file__).parent / "specs" / "paper"
WIDTH = 110

REVISIONS: dict[str, str] = dict.fromkeys(
    (
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Qwen/Qwen2.5-VL-32B-Instruct",
        "Kimokcheon/Fundus-R1-3B",
        "Kimokcheon/Fundus-R1-7B",
    ),
    UNPINNED,
)
"""Repository on the hub -> its commit."""
SNAPSHOT = UNPINNED
"""Of the pages of EyeWiki, AAO and PMC."""
MANIFESTS: dict[Dataset | Benchmark, str] = dict.fromkeys(
    (*get_args(Dataset), *get_args(Benchmark)), UNPINNED
)
"""Dataset of Tab. 2 or benchmark of Tab. 4 -> its manifest."""

_NODE = PodResources(cpu="64", memory="768Gi", shared_memory="64Gi", scratch="500Gi")
"""Of a pod that has all eight GPUs of a machine to itself."""
PLACEMENT = Placement(
    findings=Workers(workers=4),
    engine=Engine(dtype="bfloat16", tensor_parallel=2),
    sft=SftPlace(launcher="torchrun", processes=8, deepspeed="zero2", micro_batch_size=2),
    grpo=GrpoPlace(device="cuda", processes=8),
    cluster=Cluster(
        findings=PodResources(cpu="16", memory="128Gi"),
        sft=ChildJob(resources=_NODE),
        grpo=ChildJob(resources=_NODE),
    ),
)
"""Eight GPUs of 80 GB, as in Sec. 4.1."""
PLACEMENT_WORDS = """\
Where and how big: changes no result. Eight GPUs of 80 GB, as the paper had for training (Sec. 4.1); for
extraction and evaluation two of them share a model, so that the observer of 32B fits. On a cluster stages 7
and 8 are jobs of their own; on one machine say --set placement.cluster=null. Still to be named, here, in a
file for --placement or as parameters of the pipeline: the store, the data, and who answers as writer and
judge.
  store: {endpoint: https://s3.example.org, bucket: fundus-r1}
  data: [/data/fundus]
  endpoints:
    writer: {url: https://llm.example.org/v1, api_key_env: WRITER_KEY, concurrency: 64}
    judge: {url: https://llm.example.org/v1, api_key_env: WRITER_KEY, concurrency: 128}
    free_form: {url: https://llm.example.org/v1, api_key_env: WRITER_KEY}
  retrieval: {contact: you@example.org}"""
EVALUATION_PLACEMENT = Placement(engine=Engine(dtype="bfloat16"), cluster=Cluster())
"""One GPU; the paper inferred on an RTX 3090 (Sec. 4.1)."""
EVALUATION_WORDS = """\
Where and how big: changes no result. One GPU with room for the model; on a machine without a cluster say
--set placement.cluster=null. Still to be named, here, in a file for --placement or as parameters of the
pipeline: the store, and the folders that hold the benchmarks.
  store: {endpoint: https://s3.example.org, bucket: fundus-r1}
  data: [/data/benchmarks]"""


@dataclass(frozen=True)
class PaperRun:
    """One of the paper's runs."""

    file: str
    """Name in `FOLDER`."""
    setup: Setup
    student: str
    """Repository on the hub."""
    words: str
    """What it is."""
    row: str
    """The paper's own row, in words."""
    trains: bool = True
    """Whether it is a run of the whole pipeline; else it evaluates alone."""


def _figures(average: float, funbench: float, omni: float, gmai: float, table: int) -> str:
    return (
        f"Tab. {table}: FunBench {funbench} (F1), Omni-Fundus {omni}, GMAI-Fundus {gmai} (accuracy), "
        f"average {average}, in percent."
    )


def _of_table_7(model: str) -> str:
    row = next(row for row in TABLE_7 if row.model == model)
    return _figures(row.average, row.funbench, row.omni_fundus, row.gmai_fundus, row.table)


def runs() -> list[PaperRun]:
    """All runs of Tab. 5, the 7B run and the released weights of Tab. 7."""
    found = [
        PaperRun(
            file=f"3b-setup-{row.setup.lower()}.yaml",
            setup=row.setup,
            student="Qwen/Qwen2.5-VL-3B-Instruct",
            words=f"Setup {row.setup} of Tab. 5 ({row.name}), 3B: {setup_words(SETUPS[row.setup])}.",
            row=_figures(row.average, row.funbench, row.omni_fundus, row.gmai_fundus, row.table),
        )
        for row in TABLE_5
    ]
    found.append(
        PaperRun(
            file="7b-setup-g.yaml",
            setup="G",
            student="Qwen/Qwen2.5-VL-7B-Instruct",
            words=f"Setup G with the student of 7B (Fundus-R1-7B): {setup_words(SETUPS['G'])}.",
            row=_of_table_7("Fundus-R1-7B"),
        )
    )
    for size in ("3B", "7B"):
        found.append(
            PaperRun(
                file=f"released-{size.lower()}.yaml",
                setup="A",
                student=f"Kimokcheon/Fundus-R1-{size}",
                words=f"The weights of Fundus-R1-{size} that its authors published: evaluated, nothing "
                "trained. Without a training collection nobody is asked but the student.",
                row=_of_table_7(f"Fundus-R1-{size}"),
                trains=False,
            )
        )
    return found


def spec_of(run: PaperRun) -> RunSpec:
    """The spec of a run."""
    datasets: tuple[Dataset, ...] = get_args(Dataset) if run.trains else ()
    benchmarks: tuple[Benchmark, ...] = get_args(Benchmark)
    science = Science(
        setup=run.setup,
        models=Models(
            observer=_pinned("Qwen/Qwen2.5-VL-32B-Instruct"),
            free_form=ServedModel(name="qwen3-vl-plus"),
            writer=Chat(engine="openai", model="qwen3-max"),
            judge=Chat(engine="openai", model="qwen3-max"),
            student=_pinned(run.student),
        ),
        prompts=prompts_of_the_stages(),
        index=Index(
            datasets=datasets,
            benchmarks=benchmarks,
            manifests={name: MANIFESTS[name] for name in (*datasets, *benchmarks)},
        ),
        knowledge=KnowledgeScience(snapshot=SNAPSHOT),
        # Sec. 3.2.3 prompts the writer; the rules before it cost nothing and can be read.
        quality=QualityScience(checks="rules+writer"),
    )
    return RunSpec(
        name=f"paper-{run.file.removesuffix('.yaml')}",
        science=science,
        placement=PLACEMENT if run.trains else EVALUATION_PLACEMENT,
    )


def _pinned(name: str) -> HubModel:
    return HubModel(name=name, revision=REVISIONS[name])


def written(run: PaperRun) -> str:
    """The file of a run: a header, the whole science, and the placement where it is not the default."""
    spec = spec_of(run)
    lines = [
        *_comment(f"{run.words}\n{run.row}"),
        "#",
        *_comment(
            f"Written by pipelines/paper_specs.py (make golden). A value below a comment `assumed` is not in "
            f"the paper; the comment says where it comes from. What is `{UNPINNED}` could not be looked up: "
            f"fundus-r1 pin does it where there is a network. See docs/specs.md."
        ),
        f"name: {spec.name}",
        "",
        "science:",
        *_fields(spec.science, "  "),
        "",
        *_comment(PLACEMENT_WORDS if run.trains else EVALUATION_WORDS, keep=True),
        "placement:",
        *_indented(spec.placement.model_dump(mode="json", exclude_unset=True), "  "),
    ]
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str = "", *, keep: bool = False) -> list[str]:
    lines = text.splitlines()
    if not keep:
        lines = [part for line in lines for part in textwrap.wrap(line, WIDTH - len(indent) - 2)]
    return [f"{indent}# {line}" for line in lines]


def _fields(spec: BaseModel, indent: str) -> Iterator[str]:
    """Each field of a part of the spec, assumed ones below their reason."""
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        for mark in field.metadata:
            if isinstance(mark, Assumed):
                yield from _comment(f"assumed: {mark.reason}", indent)
        if isinstance(value, BaseModel) and (len(indent) == 2 or assumed_values(value)):
            yield f"{indent}{name}:"
            yield from _fields(value, indent + "  ")
        else:
            yield from _indented(spec.model_dump(mode="json", include={name}), indent)


def _indented(tree: dict[str, Any], indent: str) -> list[str]:
    """A mapping, one key a line; what is below a key stands in braces, unless it is a table of texts."""
    lines = []
    for key, value in tree.items():
        table = isinstance(value, dict) and len(value) > 4
        text = yaml.safe_dump(
            {key: value},
            sort_keys=False,
            allow_unicode=True,
            width=WIDTH - len(indent),
            default_flow_style=None if isinstance(value, list | dict) and not table else False,
        )
        lines += textwrap.indent(text.rstrip("\n"), indent).splitlines()
    return lines
