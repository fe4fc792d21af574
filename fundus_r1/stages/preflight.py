"""Whether a run would find all that it needs: its store, models, data, and the cluster's part.

All is looked at, also after something is missing, so one look is enough to know what to do. Nothing is
computed, and nothing stays behind. Without a cluster in the placement Kubernetes is not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fundus_r1.cluster.check import Check, looked
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.preflight import check_cluster
from fundus_r1.datasets.bucket import look_at
from fundus_r1.spec import RunSpec
from fundus_r1.spec.pins import by_digest
from fundus_r1.spec.places import PVC, local_folder, scheme_of
from fundus_r1.stages.preflight_models import check_endpoints, check_weights
from fundus_r1.stages.preflight_store import check_store
from fundus_r1.storage.protocol import Store

__all__ = ["Check", "missing", "preflight"]


def preflight(spec: RunSpec, *, cluster: Cluster | None) -> list[Check]:
    """What there is of all that a run needs, as rows of one table.

    Args:
        spec: the run.
        cluster: the namespace of its jobs; None leaves Kubernetes out.
    """
    checks = [] if cluster is None else check_cluster(cluster, spec)
    if spec.placement.cluster is not None:
        checks += _image(spec.placement.cluster.image)
    of_store, store = check_store(spec.placement)
    checks += of_store
    checks += check_endpoints(spec)
    checks += looked("weights", "there", partial(check_weights, spec, store))
    checks += _named_data(spec)
    for entry in spec.placement.data:
        checks += looked(f"data {entry}", "there", partial(_data, entry, store))
    return checks


def missing(checks: Sequence[Check]) -> list[Check]:
    """What a run would lack; warnings hold it back from nothing."""
    return [check for check in checks if check.ok is False]


def _image(image: str | None) -> list[Check]:
    what, needed = "image of the jobs", "by digest"
    if image is None:
        return [Check(what, needed, "that of the pipeline's lock", None)]
    pinned = by_digest(image)
    todo = "" if pinned else "name it by its digest: what a tag names may change"
    return [Check(what, needed, image, True if pinned else None, todo)]


def _named_data(spec: RunSpec) -> list[Check]:
    """A run that draws no collection needs one, or at least benchmarks."""
    index = spec.science.index
    if spec.placement.data or index.synthetic is not None or not (index.datasets or index.benchmarks):
        return []
    needed = f"{len(index.datasets)} datasets, {len(index.benchmarks)} benchmarks"
    todo = "name the folders, buckets or claims that hold them: placement.data"
    return [Check("data", needed, "none is named", False, todo)]


def _data(entry: str, store: Store | None) -> list[Check]:
    what = f"data {entry}"
    folder = local_folder(entry)
    if scheme_of(entry) == PVC and (folder is None or not folder.is_dir()):
        return [Check(what, "there", "its volume is not mounted here", None, "see the row of its claim")]
    return [Check(what, "there", look_at(entry, store), True)]
