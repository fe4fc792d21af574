"""The component of the stage ``index``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def index(
    science: str,
    placement: str,
    record: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Reads public datasets and benchmarks in their official layouts into samples, VQA triplets and
    questions, and takes training images out that leak into a benchmark (paper, Tab. 2, Tab. 4).

    Args:
        science: JSON of the stage's slice of the spec.
        placement: JSON of where and how big.
        record: where the output lies, and what made it.
        summary: the record for people.
    """
    from fundus_r1.stages.launch import launch
    from fundus_r1.stages.summary import markdown

    done = launch("index", science, placement, [], record.path)
    with open(summary.path, "w", encoding="utf-8") as file:
        file.write(markdown(done))
