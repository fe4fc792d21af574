"""The component of the stage ``report``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
    science: str,
    placement: str,
    index: dsl.Input[dsl.Artifact],
    knowledge: dsl.Input[dsl.Artifact],
    findings: dsl.Input[dsl.Artifact],
    traces: dsl.Input[dsl.Artifact],
    quality: dsl.Input[dsl.Artifact],
    trainset: dsl.Input[dsl.Artifact],
    sft: dsl.Input[dsl.Artifact],
    grpo: dsl.Input[dsl.Artifact],
    evaluate: dsl.Input[dsl.Artifact],
    record: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    gallery: dsl.Output[dsl.HTML],
) -> None:
    """Writes the run's report, one self-contained page, and the gallery of its traces.

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        index: record of the stage index.
        knowledge: record of the stage knowledge.
        findings: record of the stage findings.
        traces: record of the stage traces.
        quality: record of the stage quality.
        trainset: record of the stage trainset.
        sft: record of the stage sft.
        grpo: record of the stage grpo.
        evaluate: record of the stage evaluate.
        record: where the output lies, and what made it.
        page: the report.
        gallery: some of the traces, as one page; the output holds all of them.
    """
    from pathlib import Path

    from fundus_r1.stages.launch import launch

    before = [index, knowledge, findings, traces, quality, trainset, sft, grpo, evaluate]
    done = launch("report", science, placement, [artifact.path for artifact in before], record.path)
    done.download_file("report.html", Path(page.path))
    done.download_file("gallery.html", Path(gallery.path))
