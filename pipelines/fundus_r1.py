"""The pipeline of the paper: ten stages, findings spread over workers, an exit handler.

`build` closes over the science of one resolved spec, so a compiled pipeline is one pinned run.
Its parameter is the placement, which changes no result.
"""

# No `from __future__ import annotations` here: kfp reads the annotations of pipelines as objects.
import json
from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.evaluate.component import evaluate
from components.findings.component import findings_merge, findings_plan, findings_worker
from components.finish.component import finish
from components.grpo.component import grpo
from components.index.component import index
from components.knowledge.component import knowledge
from components.quality.component import quality
from components.report.component import report
from components.sft.component import sft
from components.traces.component import traces
from components.trainset.component import trainset
from fundus_r1.spec import RunSpec, Science
from fundus_r1.spec.pins import unpinned
from fundus_r1.stages.job import fingerprints, slices


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _step(task: dsl.PipelineTask, title: str) -> dsl.PipelineTask:
    # Kubeflow's cache knows image strings and parameter values only; our store knows better.
    return task.set_caching_options(False).set_display_name(title)


def _left_open(science: Science) -> str:
    """What is not pinned, for whoever looks at the run later."""
    pins = unpinned(science)
    return f"; not pinned: {', '.join(pin.path for pin in pins)}" if pins else ""


def build(spec: RunSpec) -> Callable[..., Any]:
    """The pipeline of a resolved spec, for `kfp.compiler` and for `kfp.local`."""
    science = {name: _text(part) for name, part in slices(spec.science).items()}

    # An empty loop beside steps that wait for it works in a nested pipeline only.
    @dsl.pipeline(name="fundus-r1-findings")
    def observe(
        workers: list,
        placement: str,
        index_record: dsl.Input[dsl.Artifact],
        knowledge_record: dsl.Input[dsl.Artifact],
    ) -> None:
        with dsl.ParallelFor(workers) as worker:
            _step(
                findings_worker(
                    science=science["findings"],
                    placement=placement,
                    index=index_record,
                    knowledge=knowledge_record,
                    worker=worker,
                ),
                "findings: worker",
            )

    @dsl.pipeline(
        name="fundus-r1",
        description=f"{spec.name}: setup {spec.science.setup} of the paper's Tab. 5"
        + _left_open(spec.science),
    )
    def fundus_r1(placement: str = _text(spec.placement.model_dump(mode="json"))) -> None:
        """Fundus-R1, from public datasets to a report.

        Args:
            placement: JSON of where and how big; changes no result.
        """
        ending = _step(
            finish(run=spec.name, fingerprints=_text(fingerprints(spec.science)), placement=placement),
            "finish",
        )
        with dsl.ExitHandler(ending, name="run"):
            records: dict[str, Any] = {}

            def stage(component: Any, title: str, *before: str) -> dsl.PipelineTask:
                task = component(
                    science=science[title.partition(":")[0]],
                    placement=placement,
                    **{name: records[name] for name in before},
                )
                if "record" in task.outputs:
                    records[title] = task.outputs["record"]
                return _step(task, title)

            stage(index, "index")
            stage(knowledge, "knowledge")
            wanted = stage(findings_plan, "findings: plan", "index", "knowledge")
            observed = _step(
                observe(
                    workers=wanted.output,
                    placement=placement,
                    index_record=records["index"],
                    knowledge_record=records["knowledge"],
                ),
                "findings: workers",
            )
            stage(findings_merge, "findings", "index", "knowledge").after(observed)
            stage(traces, "traces", "index", "knowledge", "findings")
            stage(quality, "quality", "index", "knowledge", "findings", "traces")
            stage(trainset, "trainset", "index", "knowledge", "findings", "traces", "quality")
            stage(sft, "sft", "trainset")
            stage(grpo, "grpo", "trainset", "sft")
            stage(evaluate, "evaluate", "index", "findings", "traces", "sft", "grpo")
            stage(report, "report", *(name for name in records if name != "report"))

    return fundus_r1
