"""Starts a run on a server of Kubeflow Pipelines: a version of the pipeline, with a placement.

A version is named by the digest of its bytes, so it is uploaded once. What is not pinned is refused, or
stands in the run's name and description for good.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fundus_r1.errors import SpecError
from fundus_r1.local.kubeflow import Kubeflow
from fundus_r1.local.pipelines import held_by
from fundus_r1.local.version import compile_version, parameters
from fundus_r1.spec import Placement, RunSpec
from fundus_r1.spec.pins import Pin, by_digest, unpinned
from fundus_r1.spec.places import FILE, scheme_of
from fundus_r1.stages.resolve import refuse_unpinned, resolve


@dataclass(frozen=True)
class Server:
    """A server, and how runs are started on it."""

    host: str
    experiment: str = "fundus-r1"
    """Group of runs; made if it is not there."""
    namespace: str | None = None
    """Of a server that several share."""
    token_env: str | None = None
    """Name of the environment variable that holds the server's token."""
    service_account: str | None = None
    """Kubernetes account of the steps' pods; None takes the server's choice."""

    def connect(self) -> Kubeflow:
        """The server, spoken to.

        Raises:
            SpecError: the token is not there.
            ClusterError: the server does not answer, or does not let us in.
        """
        return Kubeflow(self.host, namespace=self.namespace, token=_token(self.token_env))


@dataclass(frozen=True)
class Submitted:
    """A run that was started."""

    kubeflow: Kubeflow
    run: str
    """Its id."""
    version: str
    """Name of the pipeline's version that it runs."""
    uploaded: bool
    """Whether the version is new on the server."""
    images: dict[str, str]
    """Name in the lock -> image."""

    @property
    def link(self) -> str:
        return self.kubeflow.link(self.run)


def submit(spec: RunSpec, placement: Placement, server: Server, *, anyway: bool = False) -> Submitted:
    """Starts a run.

    Args:
        spec: resolved; what is compiled.
        placement: of this run.
        server: where.
        anyway: also if something is not pinned; the run's name then says so.

    Raises:
        SpecError: something is not pinned; or the placement names no store that a cluster could reach, or
            no data; or the token is not there.
        ClusterError: the server refused, or could not be reached.
    """
    with tempfile.TemporaryDirectory(prefix="fr1-submit-") as folder:
        version = compile_version(spec, placement, Path(folder))
        given = parameters(version.spec.placement, placement)
        held = held_by(version.package)
        left_open = [*unpinned(spec.science), *_by_tag(held.images, placement)]
        if not anyway:
            refuse_unpinned(
                left_open,
                "The run is not pinned, so it could not be made again",
                "pin each (fundus-r1 pin), or say --unpinned: the run then says that it is not pinned",
            )
        _demand_reachable(spec, placement)
        said = _said(spec, left_open)
        kubeflow = server.connect()
        pipeline = kubeflow.pipeline(held.pipeline, "Fundus-R1: a version for each pinned run")
        version_id, uploaded = kubeflow.version(
            pipeline, version.name, version.package, f"{said}; sha256:{version.digest}"
        )
    run = kubeflow.start(
        name=f"{spec.name} (unpinned)" if left_open else spec.name,
        description=said,
        experiment=kubeflow.experiment(server.experiment),
        pipeline=pipeline,
        version=version_id,
        parameters=given,
        service_account=server.service_account,
    )
    return Submitted(kubeflow, run, version.name, uploaded, held.images)


def resolved_here(spec: RunSpec) -> RunSpec:
    """The spec with the digests that can be had on this machine.

    Data in a bucket or on a volume are digested by the run itself, before any stage: it can be a long way
    from here to them.

    Raises:
        FundusError: as `resolve` does.
    """
    place = spec.placement
    if all(scheme_of(entry) == FILE for entry in place.data):
        return resolve(spec)
    near = spec.model_copy(update={"placement": place.model_copy(update={"data": ()})})
    return resolve(near).model_copy(update={"placement": place})


def _demand_reachable(spec: RunSpec, placement: Placement) -> None:
    if not placement.store.is_placed or placement.store.kind == "folder":
        raise SpecError(
            "The run has no store that the cluster's pods could reach",
            where="placement.store",
            hint="name an S3 endpoint and bucket, for example in a file that you give with --placement",
        )
    index = spec.science.index
    needs_data = index.synthetic is None and (index.datasets or index.benchmarks)
    if needs_data and index.data_digest is None and not placement.data:
        raise SpecError(
            "The run does not know its data: no place with datasets or benchmarks is named",
            where="placement.data",
            hint="name where the cluster's pods find them: s3://bucket/prefix, pvc://claim/path, or a folder "
            "that they have under the same path",
        )


def _by_tag(images: dict[str, str], placement: Placement) -> list[Pin]:
    """Images without a digest: those of the lock, and the one that the placement names for jobs."""
    named = {f"images.{name}": image for name, image in images.items()}
    if placement.cluster and placement.cluster.image:
        named["placement.cluster.image"] = placement.cluster.image
    return [
        Pin(
            path=path,
            kind="image",
            what=f"the image behind the tag {image}",
            hint="push it and write the digest that the registry gives it into images/images.lock",
        )
        for path, image in named.items()
        if not by_digest(image)
    ]


def _said(spec: RunSpec, left_open: list[Pin]) -> str:
    said = f"{spec.name}: setup {spec.science.setup} of the paper's Tab. 5"
    return said + (f"; not pinned: {', '.join(pin.path for pin in left_open)}" if left_open else "")


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        raise SpecError(
            "The variable that should hold the server's token is empty", where=variable, hint="set it"
        )
    return token
