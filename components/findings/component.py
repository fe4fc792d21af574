"""The components of the stage ``findings``: a planner, the workers, and the merge.

The planner runs without a GPU and asks for no worker if nothing is missing. A worker claims
parts by lease, so the loop's item is only its number. The merge proves that no row is missing.
"""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def findings_plan(
    science: str,
    placement: str,
    index: dsl.Input[dsl.Artifact],
    knowledge: dsl.Input[dsl.Artifact],
) -> list:
    """Says which workers are needed for the parts that are not in the store yet.

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        index: record of the stage index.
        knowledge: record of the stage knowledge.

    Returns:
        Numbers of the workers; none if all parts are there.
    """
    from fundus_r1.stages.launch import launch_planner

    return launch_planner("findings", science, placement, [index.path, knowledge.path])


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def findings_worker(
    science: str,
    placement: str,
    index: dsl.Input[dsl.Artifact],
    knowledge: dsl.Input[dsl.Artifact],
    worker: int,
) -> None:
    """Asks the observer which findings are present, part by part (paper, Sec. 3.2.2).

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        index: record of the stage index.
        knowledge: record of the stage knowledge.
        worker: number of this worker; parts are claimed, not assigned.
    """
    from fundus_r1.stages.launch import launch_worker

    launch_worker("findings", science, placement, [index.path, knowledge.path], int(worker))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def findings_merge(
    science: str,
    placement: str,
    index: dsl.Input[dsl.Artifact],
    knowledge: dsl.Input[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Merges the parts, each row exactly once.

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        index: record of the stage index.
        knowledge: record of the stage knowledge.
        record: where the output lies, and what made it.
        summary: the record for people.
    """
    from fundus_r1.stages.launch import launch
    from fundus_r1.stages.summary import markdown

    done = launch("findings", science, placement, [index.path, knowledge.path], record.path)
    with open(summary.path, "w", encoding="utf-8") as file:
        file.write(markdown(done))
