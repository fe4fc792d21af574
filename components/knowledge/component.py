"""The component of the stage ``knowledge``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def knowledge(
    science: str,
    placement: str,
    record: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Retrieves ophthalmic knowledge for each (label, modality) and makes it into the vocabulary of visual
    findings (paper, Sec. 3.2.1).

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        record: where the output lies, and what made it.
        summary: the record for people.
    """
    from fundus_r1.stages.launch import launch
    from fundus_r1.stages.summary import markdown

    done = launch("knowledge", science, placement, [], record.path)
    with open(summary.path, "w", encoding="utf-8") as file:
        file.write(markdown(done))
