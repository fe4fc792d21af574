"""The component of the stage ``traces``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def traces(
    science: str,
    placement: str,
    index: dsl.Input[dsl.Artifact],
    knowledge: dsl.Input[dsl.Artifact],
    findings: dsl.Input[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
) -> None:
    """Composes a reasoning trace for each VQA triplet from its findings and the knowledge (paper, Sec.
    3.2.3).

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        index: record of the stage index.
        knowledge: record of the stage knowledge.
        findings: record of the stage findings.
        record: where the output lies, and what made it.
    """
    from fundus_r1.stages.launch import launch

    launch("traces", science, placement, [index.path, knowledge.path, findings.path], record.path)
