"""The pipeline of the paper: preflight, mirror, ten stages, findings spread over workers, an exit handler.

`build` closes over one spec, so a compiled pipeline is one pinned run: its science stands in each step. Its
parameters are the placement (`fundus_r1.spec.placing`), which changes no result. What the data say
themselves, the digest in the slices of `index` and `report`, comes from the step `mirror`.
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
from components.mirror.component import mirror
from components.preflight.component import preflight
from components.quality.component import quality
from components.report.component import report
from components.sft.component import sft
from components.traces.component import traces
from components.trainset.component import trainset
from fundus_r1.spec import RunSpec
from fundus_r1.spec.pins import unpinned
from fundus_r1.spec.placing import Parameters, parameters_of
from fundus_r1.stages.job import slices
from fundus_r1.stages.runs import PIPELINE, PinnedRun
from pipelines.images import image_names, read_images, unpinned_images
from pipelines.pods import WORKER, GpuPods, Pods, Secrets


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _described(spec: RunSpec, by_tag: list[str]) -> str:
    """What the run is, and what is not pinned, for whoever looks at it later."""
    said = f"{spec.name}: setup {spec.science.setup} of the paper's Tab. 5"
    if pins := unpinned(spec.science):
        said += f"; not pinned: {', '.join(pin.path for pin in pins)}"
    return said + (f"; images named by their tags: {', '.join(by_tag)}" if by_tag else "")


def _documented() -> str:
    """The docstring from which the UI takes the description of each parameter."""
    told = [
        f"    {name}: {' '.join((field.description or '').split())}"
        for name, field in Parameters.model_fields.items()
    ]
    return "\n".join(["Fundus-R1, from public datasets to a report.", "", "Args:", *told, ""])


def build(spec: RunSpec) -> Callable[..., Any]:
    """The pipeline of a spec whose models are resolved, for `kfp.compiler` and for `kfp.local`."""
    science = {name: _text(part) for name, part in slices(spec.science).items()}
    images = read_images()
    run = PinnedRun(spec=spec, images=image_names(images)).model_dump_json()
    proposed = parameters_of(spec.placement)
    pods = Pods(spec, image_names(images))

    # An empty loop beside steps that wait for it works in a nested pipeline only.
    @dsl.pipeline(name="fundus-r1-findings")
    def observe(
        numbers: list,
        placement: str,
        store_secret: str,
        models_secret: str,
        gpus: str,
        cpu: str,
        memory: str,
        nodes: dict,
        tolerations: list,
        index_record: dsl.Input[dsl.Artifact],
        knowledge_record: dsl.Input[dsl.Artifact],
    ) -> None:
        with dsl.ParallelFor(numbers) as worker:
            pods.step(
                findings_worker(
                    science=science["findings"],
                    placement=placement,
                    index=index_record,
                    knowledge=knowledge_record,
                    worker=worker,
                ),
                WORKER,
                Secrets(store_secret, models_secret),
                GpuPods(gpus, cpu, memory, nodes, tolerations),
            )

    def fundus_r1(
        store_endpoint: str = proposed.store_endpoint,
        bucket: str = proposed.bucket,
        prefix: str = proposed.prefix,
        store_secret: str = proposed.store_secret,
        data: str = proposed.data,
        writer_url: str = proposed.writer_url,
        judge_url: str = proposed.judge_url,
        models_secret: str = proposed.models_secret,
        queue: str = proposed.queue,
        gpu_type: str = proposed.gpu_type,
        sft_nodes: int = proposed.sft_nodes,
        grpo_nodes: int = proposed.grpo_nodes,
        gpus_per_node: int = proposed.gpus_per_node,
        workers: int = proposed.workers,
        placement: str = proposed.placement,
    ) -> None:
        secrets = Secrets(store_secret, models_secret)
        store = {"store_endpoint": store_endpoint, "bucket": bucket, "prefix": prefix, "placement": placement}
        this = {"run": run, "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER}
        ending = finish(**this, **store)
        with dsl.ExitHandler(pods.step(ending, "finish", secrets), name="run"):
            placed = pods.step(
                preflight(
                    store_secret=store_secret,
                    data=data,
                    writer_url=writer_url,
                    judge_url=judge_url,
                    models_secret=models_secret,
                    queue=queue,
                    gpu_type=gpu_type,
                    sft_nodes=sft_nodes,
                    grpo_nodes=grpo_nodes,
                    gpus_per_node=gpus_per_node,
                    workers=workers,
                    **this,
                    **store,
                ),
                "preflight",
                secrets,
            )
            place = placed.outputs["placement"]
            asked = {name: placed.outputs[name] for name in ("gpus", "cpu", "memory", "nodes", "tolerations")}
            brought = pods.step(mirror(placement=place, **this), "mirror", secrets)
            known = {**science, **{name: brought.outputs[name] for name in ("index", "report")}}
            records: dict[str, Any] = {}

            def stage(component: Any, title: str, *before: str) -> dsl.PipelineTask:
                task = component(
                    science=known[title.partition(":")[0]],
                    placement=place,
                    **{name: records[name] for name in before},
                )
                if "record" in task.outputs:
                    records[title] = task.outputs["record"]
                return pods.step(task, title, secrets, GpuPods(**asked))

            stage(index, "index")
            stage(knowledge, "knowledge").after(brought)
            wanted = stage(findings_plan, "findings: plan", "index", "knowledge")
            observed = observe(
                numbers=wanted.output,
                placement=place,
                store_secret=store_secret,
                models_secret=models_secret,
                index_record=records["index"],
                knowledge_record=records["knowledge"],
                **asked,
            )
            observed.set_caching_options(False).set_display_name("findings: workers")
            stage(findings_merge, "findings", "index", "knowledge").after(observed)
            stage(traces, "traces", "index", "knowledge", "findings")
            stage(quality, "quality", "index", "knowledge", "findings", "traces")
            stage(trainset, "trainset", "index", "knowledge", "findings", "traces", "quality")
            stage(sft, "sft", "trainset")
            stage(grpo, "grpo", "trainset", "sft")
            stage(evaluate, "evaluate", "index", "findings", "traces", "sft", "grpo")
            stage(report, "report", *(name for name in records if name != "report"))

    fundus_r1.__doc__ = _documented()
    return dsl.pipeline(
        name=PIPELINE,
        display_name=f"Fundus-R1: {spec.name}",
        description=_described(spec, unpinned_images(images)),
    )(fundus_r1)
