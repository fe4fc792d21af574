"""The exit handler's component: runs after success, failure and (on a cluster) termination."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finish(run: str, fingerprints: str, placement: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Notes in the store how the run ended, and which outputs it stands for.

    Args:
        run: the run's name.
        fingerprints: JSON of stage -> fingerprint.
        placement: JSON of where and how big.
        status: filled in by the pipeline.
    """
    from fundus_r1.stages.ending import note_ending

    note_ending(run, fingerprints, placement, state=status.state, error=status.error_message or "")
