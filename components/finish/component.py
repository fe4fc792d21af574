"""The exit handler's component: runs after success, failure and (on a cluster) termination."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finish(
    run: str,
    run_id: str,
    status: dsl.PipelineTaskFinalStatus,
    ending: dsl.Output[dsl.Markdown],
    store_endpoint: str = "",
    bucket: str = "",
    prefix: str = "",
    placement: str = "",
) -> None:
    """Closes the run's record: how it ended. Lets go of jobs that the run left on the cluster.

    Args:
        run: JSON of what the pipeline holds of its run.
        run_id: the run's id.
        status: filled in by the pipeline.
        ending: how the run ended, and why: what was missing, what happened to its jobs.
        store_endpoint: parameter of the pipeline.
        bucket: parameter of the pipeline.
        prefix: parameter of the pipeline.
        placement: parameter of the pipeline.
    """
    from fundus_r1.stages.ending import end_run

    given = {"store_endpoint": store_endpoint, "bucket": bucket, "prefix": prefix, "placement": placement}
    end_run(run, run_id, given, ending.path, state=status.state, error=status.error_message or "")
