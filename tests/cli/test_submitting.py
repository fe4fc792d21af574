"""`fundus-r1 submit`, with Kubeflow's own client against a server that speaks as much of its API."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fundus_r1.cli import main
from fundus_r1.errors import ClusterError
from fundus_r1.local.pipelines import submit_pipeline
from fundus_r1.spec import load_spec

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "pipelines/specs/tiny.yaml"
PAPER = ROOT / "pipelines/specs/paper/3b-setup-g.yaml"
RUN = "11111111-2222-3333-4444-555555555555"


class Kubeflow(http.server.ThreadingHTTPServer):
    """Kubeflow Pipelines v2beta1, as far as starting a run asks for it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments: list[dict[str, str]] = []
        self.runs: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.refuses = False

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Kubeflow

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/apis/v2beta1/healthz":
            self.reply({"multi_user": False})
        elif path == "/apis/v2beta1/experiments":
            self.reply({"experiments": self.server.experiments} if self.server.experiments else {})
        else:
            self.reply({"error": f"no {path}"}, 404)

    def do_POST(self) -> None:
        self.server.tokens.add(self.headers.get("authorization", ""))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refuses:
            self.reply({"error": "you may not start runs here"}, 403)
        elif self.path == "/apis/v2beta1/experiments":
            made = {"experiment_id": "e1", "display_name": body["display_name"]}
            self.server.experiments.append(made)
            self.reply(made)
        elif self.path == "/apis/v2beta1/runs":
            self.server.runs.append(body)
            self.reply({"run_id": RUN, "display_name": body["display_name"]})
        else:
            self.reply({"error": f"no {self.path}"}, 404)

    def reply(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def kubeflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubeflow]:
    # The client remembers servers and namespaces in a file of the user's.
    monkeypatch.setattr("kfp.client.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    server = Kubeflow()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "place.yaml"
    path.write_text("store: {endpoint: https://s3.example.org, bucket: mine}\n")
    return path


def submit(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["submit", *map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_a_pinned_run_is_started_with_its_placement(
    kubeflow: Kubeflow, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = submit(capsys, "--spec", TINY, "--host", kubeflow.host, "--placement", place)
    assert code == 0, err
    assert out.strip() == f"{kubeflow.host}/#/runs/details/{RUN}"
    [run] = kubeflow.runs
    assert (run["display_name"], run["experiment_id"]) == ("tiny", "e1")
    assert kubeflow.experiments[0]["display_name"] == "fundus-r1"
    pipeline = run["pipeline_spec"]
    assert pipeline["pipelineInfo"]["name"] == "fundus-r1"
    assert "not pinned" not in pipeline["pipelineInfo"]["description"]
    default = pipeline["root"]["inputDefinitions"]["parameters"]["placement"]["defaultValue"]
    assert json.loads(default)["store"]["bucket"] == "mine"


def test_a_run_that_is_not_pinned_is_refused_with_each_value_and_what_to_do(
    kubeflow: Kubeflow, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = submit(capsys, "--spec", PAPER, "--host", kubeflow.host, "--placement", place)
    assert (code, out) == (1, "")
    for told in (
        "science.models.student.revision",
        "science.models.observer.revision",
        "science.index.manifests.idrid",
        "science.knowledge.snapshot",
        "fundus-r1 pin",
        "--unpinned",
    ):
        assert told in err
    assert kubeflow.runs == []


def test_a_run_that_is_started_unpinned_says_so(
    kubeflow: Kubeflow, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--spec", PAPER, "--host", kubeflow.host, "--placement", place, "--unpinned")
    code, _, err = submit(capsys, *arguments)
    assert code == 1 and "placement.data" in err, "a run must know its data"
    code, _, err = submit(capsys, *arguments, "--set", f"science.index.data_digest={'ab' * 32}")
    assert code == 0, err
    [run] = kubeflow.runs
    assert run["display_name"] == "paper-3b-setup-g (unpinned)"
    description = run["pipeline_spec"]["pipelineInfo"]["description"]
    assert "not pinned: science.models.student.revision, " in description


def test_the_token_comes_from_the_environment_and_goes_nowhere_else(
    kubeflow: Kubeflow, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "very-secret")
    arguments = ("--spec", TINY, "--host", kubeflow.host, "--placement", place, "--token-env", "MY_TOKEN")
    code, out, err = submit(capsys, *arguments)
    assert code == 0, err
    assert kubeflow.tokens == {"Bearer very-secret"}
    assert "very-secret" not in json.dumps(kubeflow.runs) + out + err
    monkeypatch.setenv("MY_TOKEN", " ")
    code, _, err = submit(capsys, *arguments)
    assert code == 1 and "MY_TOKEN" in err


def test_a_run_without_a_store_that_pods_can_reach_is_refused(
    kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = submit(capsys, "--spec", TINY, "--host", kubeflow.host)
    assert code == 1 and "placement.store" in err and kubeflow.runs == []


def test_a_server_that_refuses_is_quoted(kubeflow: Kubeflow, place: Path) -> None:
    kubeflow.refuses = True
    with pytest.raises(ClusterError, match="you may not start runs here") as error:
        submit_pipeline(load_spec(TINY, (), place), kubeflow.host, experiment="fundus-r1")
    assert error.value.where == kubeflow.host and not error.value.transient


def test_a_server_that_is_away_is_worth_another_try(kubeflow: Kubeflow, place: Path) -> None:
    with pytest.raises(ClusterError, match="does not answer") as error:
        submit_pipeline(load_spec(TINY, (), place), "http://127.0.0.1:9", experiment="fundus-r1")
    assert error.value.transient
