"""A server of Kubeflow Pipelines, as submitting and following need it.

What two submitters may do at once ends the same for both: who comes second meets a conflict and takes what
the first one made. A run is started once, also where the answer gets lost: it carries a mark by which it is
found again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_r1.errors import ClusterError
from fundus_r1.local.kubeflow_client import ExistsError, KubeflowClient, first_line

ENDED = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})
"""States that a run or a step does not leave."""
_LATEST = 20
"""Runs among which one is looked for whose start was not answered."""


@dataclass(frozen=True)
class Step:
    """A step of a run."""

    key: str
    """Of the server's; names may repeat, as those of workers do."""
    name: str
    state: str
    error: str = ""


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    state: str
    steps: tuple[Step, ...]
    error: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Kubeflow:
    """One server.

    Args:
        host: its address.
        namespace: of a server that several share.
        token: to be let in.

    Raises:
        ClusterError: it does not answer, or does not let us in.
    """

    def __init__(self, host: str, *, namespace: str | None = None, token: str | None = None):
        self.host = host.rstrip("/")
        self.namespace = namespace
        self._client = KubeflowClient(self.host, namespace, token)

    def link(self, run: str) -> str:
        """Address of a run in the server's pages."""
        return f"{self.host}/#/runs/details/{run}"

    def pipeline(self, name: str, description: str) -> str:
        """Id of the pipeline of a name; it is made if it is not there."""

        def find() -> str | None:
            answer = self._client.ask("pipelines.pipeline_service_list_pipelines", **self._named(name))
            return next((_id(row, "pipeline_id") for row in answer.pipelines or ()), None)

        def make() -> str:
            body = {"display_name": name, "description": description, "namespace": self.namespace}
            answer = self._client.ask(
                "pipelines.pipeline_service_create_pipeline",
                pipeline=self._client.models.V2beta1Pipeline(**body),
            )
            return _id(answer, "pipeline_id")

        return self._found_or_made(f"the pipeline {name}", find, make)

    def version(self, pipeline: str, name: str, package: Path, description: str) -> tuple[str, bool]:
        """Id of a pipeline's version of this name, and whether it had to be uploaded.

        Args:
            pipeline: id.
            name: holds the package's digest, so a version of this name has these bytes.
            package: compiled pipeline.
            description: of the version.
        """
        uploaded = False

        def find() -> str | None:
            answer = self._client.ask(
                "pipelines.pipeline_service_list_pipeline_versions",
                pipeline_id=pipeline,
                **_filtered(name),
            )
            return next((_id(row, "pipeline_version_id") for row in answer.pipeline_versions or ()), None)

        def make() -> str:
            nonlocal uploaded
            answer = self._client.ask(
                "pipeline_uploads.upload_pipeline_version",
                uploadfile=str(package),
                name=name,
                pipelineid=pipeline,
                description=description,
            )
            uploaded = True
            return _id(answer, "pipeline_version_id")

        return self._found_or_made(f"the version {name}", find, make), uploaded

    def experiment(self, name: str) -> str:
        """Id of the experiment of a name; it is made if it is not there."""

        def find() -> str | None:
            answer = self._client.ask("experiments.experiment_service_list_experiments", **self._named(name))
            return next((_id(row, "experiment_id") for row in answer.experiments or ()), None)

        def make() -> str:
            body = {"display_name": name, "namespace": self.namespace}
            answer = self._client.ask(
                "experiments.experiment_service_create_experiment",
                experiment=self._client.models.V2beta1Experiment(**body),
            )
            return _id(answer, "experiment_id")

        return self._found_or_made(f"the experiment {name}", find, make)

    def start(
        self,
        *,
        name: str,
        description: str,
        experiment: str,
        pipeline: str,
        version: str,
        parameters: dict[str, Any],
        service_account: str | None = None,
    ) -> str:
        """Starts a run and returns its id.

        Args:
            name: of the run.
            description: what the list of runs shows beside it.
            experiment: id.
            pipeline: id.
            version: id.
            parameters: of the pipeline.
            service_account: Kubernetes account of the steps' pods; None takes the server's choice.
        """
        models = self._client.models
        mark = f"submitted as {uuid.uuid4()}"
        run = models.V2beta1Run(
            display_name=name,
            description=f"{description}; {mark}",
            experiment_id=experiment,
            pipeline_version_reference=models.V2beta1PipelineVersionReference(
                pipeline_id=pipeline, pipeline_version_id=version
            ),
            runtime_config=models.V2beta1RuntimeConfig(parameters=parameters),
            service_account=service_account,
        )
        try:
            return _id(self._client.ask("runs.run_service_create_run", run=run), "run_id")
        except ClusterError as error:
            if error.transient and (started := self._marked(experiment, mark)):
                return started
            raise

    def _marked(self, experiment: str, mark: str) -> str | None:
        """The run with a mark, if it was started although no answer said so."""
        answer = self._client.ask(
            "runs.run_service_list_runs",
            experiment_id=experiment,
            namespace=self.namespace,
            page_size=_LATEST,
            sort_by="created_at desc",
        )
        return next((row.run_id for row in answer.runs or () if mark in (row.description or "")), None)

    def look(self, run: str) -> RunState:
        """How a run stands; drivers and executors, which Kubeflow lists too, are no steps."""
        answer = self._client.ask("runs.run_service_get_run", run_id=run)
        details = answer.run_details.task_details if answer.run_details else None
        steps = tuple(
            Step(row.task_id or row.display_name, row.display_name, _state(row), _message(row))
            for row in details or ()
            if row.display_name and not row.display_name.endswith(("driver", "executor"))
        )
        return RunState(_state(answer), steps, _message(answer))

    def _found_or_made(self, what: str, find: Callable[[], str | None], make: Callable[[], str]) -> str:
        """Id of what one of us makes; a lost answer and a conflict are followed by another look."""
        found = find()
        if found is not None:
            return found
        unanswered: ClusterError | None = None
        try:
            return make()
        except ExistsError:
            found = find()
        except ClusterError as error:
            if not error.transient:
                raise
            found, unanswered = find(), error
        if found is None:
            raise unanswered or ClusterError(
                f"Kubeflow Pipelines says that {what} exists, and does not show it",
                where=self.host,
                hint="it may belong to another namespace: give the one that is yours (--namespace)",
            )
        return found

    def _named(self, name: str) -> dict[str, str | None]:
        return {"namespace": self.namespace, **_filtered(name)}


def _filtered(name: str) -> dict[str, str]:
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return {"filter": json.dumps({"predicates": [predicate]})}


def _id(answer: Any, name: str) -> str:
    found = getattr(answer, name, None)
    if not isinstance(found, str) or not found:
        raise ClusterError(
            "The answer is none of Kubeflow Pipelines",
            where=name,
            hint="a page to log in on may stand before the server: give a token (--token-env); "
            "or the address lacks its path, as in https://kubeflow.example.org/pipeline",
        )
    return found


def _state(answer: Any) -> str:
    # Not yet looked after by the server.
    return answer.state or "PENDING"


def _message(answer: Any) -> str:
    return first_line(answer.error.message or "") if answer.error else ""
