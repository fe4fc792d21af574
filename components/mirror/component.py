"""The second step of a run: weights and data come to where the other steps find them."""

from typing import NamedTuple

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def mirror(run: str, placement: str, run_id: str) -> NamedTuple(  # type: ignore[valid-type]
    "Brought", [("index", str), ("report", str)]
):
    """Brings weights into the store, holds the data against what is pinned, and begins the run's record.

    Args:
        run: JSON of what the pipeline holds of its run.
        placement: JSON of where and how big.
        run_id: the run's id.

    Returns:
        The slices of the spec that depend on the data themselves: those of index and report.
    """
    from fundus_r1.stages.beginning import bring

    return bring(run, placement, run_id)
