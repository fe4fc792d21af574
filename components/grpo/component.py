"""The component of the stage ``grpo``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def grpo(
    science: str,
    placement: str,
    trainset: dsl.Input[dsl.Artifact],
    sft: dsl.Input[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Trains the student further by GRPO with the process reward (paper, Sec. 3.3).

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        trainset: record of the stage trainset.
        sft: record of the stage sft.
        record: where the output lies, and what made it.
        metrics: the record's figures, for the comparison of runs.
        summary: the record for people; where a job on the cluster failed, why.
    """
    from fundus_r1.stages.launch import launch
    from fundus_r1.stages.summary import markdown
    from fundus_r1.stages.summary import metrics as figures

    done = launch("grpo", science, placement, [trainset.path, sft.path], record.path, summary.path)
    for name, value in figures(done).items():
        metrics.log_metric(name, value)
    with open(summary.path, "w", encoding="utf-8") as file:
        file.write(markdown(done))
