"""The component of the stage ``trainset``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def trainset(
    science: str,
    placement: str,
    index: dsl.Input[dsl.Artifact],
    knowledge: dsl.Input[dsl.Artifact],
    findings: dsl.Input[dsl.Artifact],
    traces: dsl.Input[dsl.Artifact],
    quality: dsl.Input[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
) -> None:
    """Makes the SFT conversations and GRPO prompts of the run's setup (paper, Sec. 3.4, Tab. 5).

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        index: record of the stage index.
        knowledge: record of the stage knowledge.
        findings: record of the stage findings.
        traces: record of the stage traces.
        quality: record of the stage quality.
        record: where the output lies, and what made it.
    """
    from fundus_r1.stages.launch import launch

    launch(
        "trainset",
        science,
        placement,
        [index.path, knowledge.path, findings.path, traces.path, quality.path],
        record.path,
    )
