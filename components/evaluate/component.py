"""The component of the stage ``evaluate``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    science: str,
    placement: str,
    index: dsl.Input[dsl.Artifact],
    findings: dsl.Input[dsl.Artifact],
    traces: dsl.Input[dsl.Artifact],
    sft: dsl.Input[dsl.Artifact],
    grpo: dsl.Input[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    masks: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Scores the student before and after training on the benchmarks, and the findings against masks
    (paper, Sec. 4).

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        index: record of the stage index.
        findings: record of the stage findings.
        traces: record of the stage traces.
        sft: record of the stage sft.
        grpo: record of the stage grpo.
        record: where the output lies, and what made it.
        metrics: the record's figures, for the comparison of runs.
        masks: the observer's findings against the masks, where images have masks.
    """
    from fundus_r1.stages.launch import launch
    from fundus_r1.stages.summary import confusion
    from fundus_r1.stages.summary import metrics as figures

    before = [index.path, findings.path, traces.path, sft.path, grpo.path]
    done = launch("evaluate", science, placement, before, record.path)
    for name, value in figures(done).items():
        metrics.log_metric(name, value)
    if matrix := confusion(done):
        masks.log_confusion_matrix(*matrix)
