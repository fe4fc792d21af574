"""The component of the stage ``quality``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def quality(
    science: str,
    placement: str,
    index: dsl.Input[dsl.Artifact],
    knowledge: dsl.Input[dsl.Artifact],
    findings: dsl.Input[dsl.Artifact],
    traces: dsl.Input[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Checks each trace and keeps those without a reason to reject them (paper, Sec. 3.2.3).

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        index: record of the stage index.
        knowledge: record of the stage knowledge.
        findings: record of the stage findings.
        traces: record of the stage traces.
        record: where the output lies, and what made it.
        summary: the record for people.
    """
    from fundus_r1.stages.launch import launch
    from fundus_r1.stages.summary import markdown

    done = launch(
        "quality", science, placement, [index.path, knowledge.path, findings.path, traces.path], record.path
    )
    with open(summary.path, "w", encoding="utf-8") as file:
        file.write(markdown(done))
