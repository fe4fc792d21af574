"""The first step of a run: where it runs, and whether it would find all that it needs."""

from typing import NamedTuple

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preflight(
    run: str,
    run_id: str,
    table: dsl.Output[dsl.Markdown],
    store_endpoint: str = "",
    bucket: str = "",
    prefix: str = "",
    store_secret: str = "",
    data: str = "",
    writer_url: str = "",
    judge_url: str = "",
    models_secret: str = "",
    queue: str = "",
    gpu_type: str = "",
    sft_nodes: int = 0,
    grpo_nodes: int = 0,
    gpus_per_node: int = 0,
    workers: int = 0,
    placement: str = "",
) -> NamedTuple(  # type: ignore[valid-type]
    "Placed",
    [
        ("placement", str),
        ("gpus", str),
        ("cpu", str),
        ("memory", str),
        ("nodes", dict),
        ("tolerations", list),
    ],
):
    """Makes the run's placement of its parameters, and looks whether store, endpoints, rights, GPUs, weights
    and data are there.

    Args:
        run: JSON of what the pipeline holds of its run.
        run_id: the run's id.
        table: what was looked at, what was found, and what to do.
        store_endpoint: parameter of the pipeline.
        bucket: parameter of the pipeline.
        prefix: parameter of the pipeline.
        store_secret: parameter of the pipeline.
        data: parameter of the pipeline.
        writer_url: parameter of the pipeline.
        judge_url: parameter of the pipeline.
        models_secret: parameter of the pipeline.
        queue: parameter of the pipeline.
        gpu_type: parameter of the pipeline.
        sft_nodes: parameter of the pipeline.
        grpo_nodes: parameter of the pipeline.
        gpus_per_node: parameter of the pipeline.
        workers: parameter of the pipeline.
        placement: parameter of the pipeline.

    Returns:
        JSON of where and how big, which every later step is given; and what pods with a GPU ask for.
    """
    from fundus_r1.stages.beginning import check_run

    given = {
        "store_endpoint": store_endpoint, "bucket": bucket, "prefix": prefix, "store_secret": store_secret,
        "data": data, "writer_url": writer_url, "judge_url": judge_url, "models_secret": models_secret,
        "queue": queue, "gpu_type": gpu_type, "sft_nodes": sft_nodes, "grpo_nodes": grpo_nodes,
        "gpus_per_node": gpus_per_node, "workers": workers, "placement": placement,
    }  # fmt: skip
    return check_run(run, run_id, given, table.path)
