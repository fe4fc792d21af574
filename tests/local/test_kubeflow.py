"""A server of Kubeflow Pipelines, by its own client: conflicts, lost answers, refusals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp_server import Fault, KfpServer, states

from fundus_r1.errors import ClusterError
from fundus_r1.local import kubeflow_client
from fundus_r1.local.kubeflow import Kubeflow

PACKAGE = """
pipelineInfo: {name: fundus-r1}
root: {dag: {tasks: {}}, inputDefinitions: {parameters: {workers: {parameterType: NUMBER_INTEGER}}}}
"""


@pytest.fixture(autouse=True)
def _no_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client remembers servers and namespaces in a file of the user's.
    monkeypatch.setattr("kfp.client.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))


@pytest.fixture
def kfp() -> Iterator[KfpServer]:
    with KfpServer() as server:
        yield server


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PACKAGE)
    return path


def start(kubeflow: Kubeflow, package: Path, **parameters: object) -> str:
    pipeline = kubeflow.pipeline("fundus-r1", "made by a test")
    version, _ = kubeflow.version(pipeline, "tiny-0123", package, "sha256:0123")
    experiment = kubeflow.experiment("eyes")
    return kubeflow.start(
        name="tiny", description="tiny", experiment=experiment, pipeline=pipeline, version=version,
        parameters=parameters,
    )  # fmt: skip


def test_what_is_there_is_found_and_not_made_again(kfp: KfpServer, package: Path) -> None:
    kubeflow = Kubeflow(kfp.host)
    first = kubeflow.pipeline("fundus-r1", "")
    assert kubeflow.version(first, "tiny-0123", package, "") == ("v1", True)
    again = Kubeflow(kfp.host)
    assert again.pipeline("fundus-r1", "") == first
    assert again.version(first, "tiny-0123", package, "") == ("v1", False)
    assert kfp.packages == {"v1": PACKAGE.encode()}


def test_a_name_is_found_among_many(kfp: KfpServer, package: Path) -> None:
    kubeflow = Kubeflow(kfp.host)
    ids = [kubeflow.pipeline(f"other-{number}", "") for number in range(12)]
    assert kubeflow.pipeline("other-11", "") == ids[11]
    assert len(kfp.pipelines) == 12


@pytest.mark.parametrize("what", ["/pipelines", "upload_version", "/experiments"])
@pytest.mark.parametrize("status", [None, 500])
def test_what_was_made_before_the_answer_got_lost_is_found(
    kfp: KfpServer, package: Path, what: str, status: int | None
) -> None:
    kfp.faults.append(Fault("POST", what, status=status, done=True))
    start(Kubeflow(kfp.host), package)
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 1)
    assert kfp.faults[0].times == 0


def test_a_run_whose_start_was_not_answered_is_started_once(kfp: KfpServer, package: Path) -> None:
    kfp.faults.append(Fault("POST", "/runs", done=True))
    found = start(Kubeflow(kfp.host), package, workers=3)
    assert [run["run_id"] for run in kfp.runs] == [found]


def test_a_run_that_was_not_started_is_an_error_worth_another_try(kfp: KfpServer, package: Path) -> None:
    start(Kubeflow(kfp.host), package)
    kfp.faults.append(Fault("POST", "/runs"))
    with pytest.raises(ClusterError, match="does not answer") as error:
        start(Kubeflow(kfp.host), package)
    assert error.value.transient and len(kfp.runs) == 1, "an earlier run of the name is not taken for it"


def test_a_dropped_connection_of_a_look_is_made_good(kfp: KfpServer, package: Path) -> None:
    kubeflow = Kubeflow(kfp.host)
    run = start(kubeflow, package)
    kfp.scripts["*"] = [states("RUNNING", index=("FAILED", "no data"), **{"index-driver": "SUCCEEDED"})]
    kfp.faults.append(Fault("GET", "/runs/", times=2))
    state = kubeflow.look(run)
    assert (state.state, state.ended) == ("RUNNING", False)
    assert [(step.name, step.state, step.error) for step in state.steps] == [("index", "FAILED", "no data")]


def test_a_slow_answer_is_not_waited_for_without_end(
    kfp: KfpServer, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeflow_client, "DEADLINE_S", (0.2, 0.2))
    kfp.faults.append(Fault("POST", "/pipelines", seconds=1.0, times=-1))
    begun = time.monotonic()
    with pytest.raises(ClusterError, match="does not answer") as error:
        Kubeflow(kfp.host).pipeline("fundus-r1", "")
    assert error.value.transient and time.monotonic() - begun < 5


def test_a_server_that_is_away_is_worth_another_try() -> None:
    with pytest.raises(ClusterError, match="does not answer") as error:
        Kubeflow("http://127.0.0.1:9")
    assert error.value.transient and "port-forward" in error.value.hint


@pytest.mark.parametrize(
    ("status", "told", "hint"),
    [
        (400, "refused", "rights"),
        (401, "does not know who asks", "--token-env"),
        (403, "does not allow this", "--namespace"),
        (404, "does not have what was asked for", "/pipeline"),
        (409, "refused", "rights"),
    ],
)
def test_a_refusal_quotes_the_server_and_says_what_to_do(
    kfp: KfpServer, package: Path, status: int, told: str, hint: str
) -> None:
    body = {"error": "code 7", "message": "you may not start runs here\nat run.go:1"}
    kfp.faults.append(Fault("POST", "/runs", status=status, body=body))
    with pytest.raises(ClusterError, match=f"{told}.*: you may not start runs here\n") as error:
        start(Kubeflow(kfp.host), package)
    assert hint in error.value.hint and error.value.where == kfp.host
    assert not error.value.transient and kfp.runs == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_too_busy_is_worth_another_try(kfp: KfpServer, package: Path, status: int) -> None:
    kfp.faults.append(Fault("POST", "/runs", status=status, times=-1))
    with pytest.raises(ClusterError, match=f"cannot answer now \\({status}\\)") as error:
        start(Kubeflow(kfp.host), package)
    assert error.value.transient


def test_a_parameter_that_the_pipeline_has_not_is_refused_by_the_server(
    kfp: KfpServer, package: Path
) -> None:
    with pytest.raises(ClusterError, match="parameter colour is not in the pipeline"):
        start(Kubeflow(kfp.host), package, colour="red")


def test_one_who_is_not_let_in_is_told_at_once() -> None:
    with KfpServer(token="right") as kfp:
        begun = time.monotonic()
        with pytest.raises(ClusterError, match="who asks"):
            Kubeflow(kfp.host, token="wrong")
        assert time.monotonic() - begun < 3
        assert Kubeflow(kfp.host, token="right").pipeline("fundus-r1", "")


def test_a_page_to_log_in_on_is_not_taken_for_an_answer(kfp: KfpServer, package: Path) -> None:
    kfp.html = True
    with pytest.raises(ClusterError, match="none of Kubeflow Pipelines") as error:
        start(Kubeflow(kfp.host), package)
    assert "--token-env" in error.value.hint


def test_a_name_in_another_namespace_is_not_taken(kfp: KfpServer, package: Path) -> None:
    Kubeflow(kfp.host, namespace="lab").pipeline("fundus-r1", "")
    assert Kubeflow(kfp.host, namespace="clinic").pipeline("fundus-r1", "") == "p2"


def test_a_name_that_is_taken_and_not_shown_is_told(kfp: KfpServer) -> None:
    kfp.faults.append(Fault("POST", "/pipelines", status=409))
    with pytest.raises(ClusterError, match="exists, and does not show it"):
        Kubeflow(kfp.host).pipeline("fundus-r1", "")
