"""Finds, compiles, runs and submits pipelines, without knowing them: they register an entry point.

Run as a module, this is the child of `local.run` in which ``kfp.local`` works:
``python -m fundus_r1.local.pipelines SPEC PIPELINE_YAML ROOT``.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from fundus_r1 import processes
from fundus_r1.errors import ClusterError, FundusError, SpecError, StageError
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.spec.pins import unpinned

GROUP = "fundus_r1.pipelines"
PIPELINE = "fundus-r1"


def _build(spec: RunSpec) -> Callable[..., Any]:
    found = importlib.metadata.entry_points(group=GROUP, name=PIPELINE)
    if not found:
        raise StageError(
            f"No pipeline {PIPELINE!r} is installed",
            hint="install the project with its pipelines, as `make setup` does",
        )
    build: Callable[[RunSpec], Callable[..., Any]] = next(iter(found)).load()
    return build(spec)


def compile_pipeline(spec: RunSpec, target: Path) -> None:
    """Writes the pipeline of a resolved spec as Kubeflow's intermediate representation (YAML).

    The same spec gives the same bytes.
    """
    from kfp import compiler

    target.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(_build(spec), str(target))


def run_pipeline(spec: RunSpec, root: Path) -> None:
    """Runs the pipeline of a resolved spec with ``kfp.local``, steps as processes.

    Raises:
        RuntimeError: kfp.local's word for a failed step.
    """
    from kfp import local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True)
    _build(spec)()


def submit_pipeline(
    spec: RunSpec, host: str, *, experiment: str, namespace: str | None = None, token_env: str | None = None
) -> str:
    """Starts a run of a resolved spec on a Kubeflow Pipelines server; returns the link to it.

    Args:
        spec: the run; its name says so if something in it is not pinned.
        host: address of the server.
        experiment: group of runs on the server; made if it is not there.
        namespace: of a server that several share.
        token_env: name of the environment variable that holds the server's token.

    Raises:
        SpecError: the placement names no store that a cluster could reach, or no data; or the token is
            not there.
        ClusterError: the server refused, or could not be reached.
    """
    import kfp_server_api
    import urllib3
    from kfp.client import Client

    if not spec.placement.store.is_placed or spec.placement.store.kind == "folder":
        raise SpecError(
            "The run has no store that the cluster's pods could reach",
            where="placement.store",
            hint="name an S3 endpoint and bucket, for example in a file that you give with --placement",
        )
    index = spec.science.index
    if index.synthetic is None and index.data_digest is None:
        raise SpecError(
            "The run does not know its data: no folder with datasets or benchmarks is named",
            where="placement.data",
            hint="name the folders (--data FOLDER), which the cluster's pods must have under the same paths",
        )
    name = f"{spec.name} (unpinned)" if unpinned(spec.science) else spec.name
    with tempfile.TemporaryDirectory(prefix="fr1-submit-") as folder, redirect_stdout(sys.stderr):
        package = Path(folder, "pipeline.yaml")
        compile_pipeline(spec, package)
        try:
            client = Client(host=host, existing_token=_token(token_env), namespace=namespace or "kubeflow")
            started = client.create_run_from_pipeline_package(
                str(package), run_name=name, experiment_name=experiment, namespace=namespace
            )
        except (kfp_server_api.ApiException, ValueError) as error:
            raise ClusterError(
                f"Kubeflow Pipelines refused the run: {_reason(error)}",
                where=host,
                hint="look at the server's version (2.0 or later), your rights and the namespace",
            ) from error
        except (urllib3.exceptions.HTTPError, TimeoutError) as error:
            raise ClusterError(
                f"Kubeflow Pipelines does not answer: {_reason(error)}",
                where=host,
                hint="correct --host, or open a way to it: kubectl port-forward svc/ml-pipeline 8888",
                transient=True,
            ) from error
    return f"{host.rstrip('/')}/#/runs/details/{started.run_id}"


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        raise SpecError(
            "The variable that should hold the server's token is empty", where=variable, hint="set it"
        )
    return token


def _reason(error: Exception) -> str:
    """The first line of a client's error; a server's own words where it has any."""
    said = getattr(error, "body", None) or str(error)
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__


def main() -> int:
    """The child process of a local run."""
    processes.die_with_parent()
    spec_file, compiled, root = map(Path, sys.argv[1:4])
    try:
        spec = load_spec(spec_file)
        compile_pipeline(spec, compiled)
        run_pipeline(spec, root)
    except FundusError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
