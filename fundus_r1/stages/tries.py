"""Whether another try of a launcher's step is worth its GPUs.

Kubeflow tries a failed step again whatever it failed of. So a launcher leaves in the store whether another
try may help, and a step that Kubeflow tries again looks there before it makes a job. Whoever has mended the
cause and retries the run by hand begins with a first try, which asks nobody.
"""

from __future__ import annotations

import os
import re

from pydantic import BaseModel, ConfigDict

from fundus_r1.cluster.child import PODS
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.launch import JobError
from fundus_r1.cluster.owners import POD_NAME
from fundus_r1.errors import StageError
from fundus_r1.storage.protocol import Store

NODE = "workflows.argoproj.io/node-name"
"""Annotation of a step's pod; Argo ends it with the number of the try, ``(0)``, ``(1)``, ..."""
_TRY = re.compile(r"\((\d+)\)$")


class LastFailure(BaseModel):
    """How the last attempt of a job failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    """Name of the attempt."""
    transient: bool
    """Whether another try may help."""
    what: str
    hint: str


def tried_before(cluster: Cluster) -> int:
    """How often Kubeflow has tried this step before; 0 in a first try and outside of Kubeflow Pipelines.

    Raises:
        ClusterError: the step's own pod cannot be read.
    """
    name = os.environ.get(POD_NAME)
    pod = cluster.get(PODS, name) if name else None
    annotations = pod["metadata"].get("annotations") if pod else None
    found = _TRY.search((annotations or {}).get(NODE, ""))
    return int(found[1]) if found else 0


def keep_verdict(store: Store, job: str, error: JobError) -> None:
    """Leaves how the last attempt of a job failed.

    Args:
        store: the run's.
        job: name of the job's first attempt.
        error: of the last.
    """
    last = LastFailure(job=error.name, transient=error.transient, what=error.what, hint=error.hint)
    store.put(_key(job), last.model_dump_json(indent=1).encode())


def refuse_hopeless(store: Store, job: str, cluster: Cluster) -> None:
    """Refuses a further try of a step whose last job failed of what no other try can cure.

    Args:
        store: the run's.
        job: name of the job's first attempt.
        cluster: where the step's own pod is.

    Raises:
        StageError: it did.
        ClusterError: the step's own pod cannot be read.
    """
    if not tried_before(cluster):
        # What an earlier run left says nothing of this one.
        store.delete(_key(job))
        return
    data = store.get(_key(job))
    last = None if data is None else LastFailure.model_validate_json(data)
    if last is not None and not last.transient:
        raise StageError(
            f"Not tried again, since another try cannot help: {last.what}",
            where=last.job,
            hint=f"{last.hint or 'mend the cause'}; then retry the run",
        )


def _key(job: str) -> str:
    return f"jobs/{job}.verdict.json"
