"""`fundus-r1 submit`, with Kubeflow's own client against a server that speaks as much of its API."""

from __future__ import annotations

import functools
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compiled_once import compile_once
from kfp_server import Fault, KfpServer, states

from fundus_r1.cli import main
from fundus_r1.local import follow
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.spec.placing import Parameters
from fundus_r1.stages.beginning import place_run
from fundus_r1.stages.runs import PinnedRun, RunRecord, begin_record
from pipelines.images import read_images

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "pipelines/specs/tiny.yaml"
PAPER = ROOT / "pipelines/specs/paper/3b-setup-g.yaml"
CLUSTER = ("--set", "placement.cluster={queue: gpus, image: lab/train:latest}")
STORE = "store: {endpoint: https://s3.example.org, bucket: mine}\n"


@pytest.fixture(autouse=True)
def _no_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client remembers servers and namespaces in a file of the user's.
    monkeypatch.setattr("kfp.client.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr(follow, "follow", functools.partial(follow.follow, poll_s=0.01))


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fundus_r1.local.version.compile_pipeline", compile_once)


@pytest.fixture
def kfp() -> Iterator[KfpServer]:
    with KfpServer() as server:
        yield server


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that a registry has given digests."""
    images = {
        name: image.model_copy(update={"digest": f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"})
        for name, image in read_images().items()
    }
    monkeypatch.setattr("pipelines.fundus_r1.read_images", lambda: images)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "place.yaml"
    path.write_text(STORE)
    return path


def submit(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["submit", *map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def given(run: dict[str, Any]) -> Parameters:
    return Parameters.model_validate(run["runtime_config"]["parameters"])


def record(path: Path) -> RunRecord:
    """The record of a run like that of the laptop, in a file."""
    store = "placement.store={endpoint: https://s3.example.org, bucket: old}"
    spec = load_spec(TINY, [store, "science.sft.epochs=2", "placement.findings.workers=5"])
    found = begin_record(PinnedRun(spec=spec, images={"core": "fundus-r1-core:old"}), spec, "earlier-run")
    path.write_text(found.model_dump_json())
    return found


def started_as(kfp: KfpServer, run: dict[str, Any]) -> RunSpec:
    """What the first step of a run makes of what was uploaded and of the run's parameters."""
    package = kfp.packages[run["pipeline_version_reference"]["pipeline_version_id"]]
    ir = next(iter(yaml.safe_load_all(package)))
    told = ir["root"]["dag"]["tasks"]["finish"]["inputs"]["parameters"]["run"]
    pinned = PinnedRun.model_validate_json(told["runtimeValue"]["constant"])
    return place_run(pinned, run["runtime_config"]["parameters"])


# ---- a run is started ------------------------------------------------------------------


@pytest.mark.usefixtures("pinned")
def test_a_pinned_run_is_started_with_its_placement(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = submit(capsys, "--spec", TINY, "--host", kfp.host, "--placement", place)
    assert code == 0, err
    [run] = kfp.runs
    assert out.strip() == f"{kfp.host}/#/runs/details/{run['run_id']}"
    assert (run["display_name"], run["experiment_id"]) == ("tiny", "e1")
    assert kfp.experiments[0]["display_name"] == "fundus-r1"
    assert [row["display_name"] for row in kfp.pipelines] == ["fundus-r1"]
    assert started_as(kfp, run).placement == load_spec(TINY, (), place).placement
    assert "not pinned" not in run["description"]


@pytest.mark.usefixtures("pinned")
def test_the_version_is_named_by_the_digest_of_what_was_uploaded(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = submit(capsys, "--spec", TINY, "--host", kfp.host, "--placement", place)
    [version] = kfp.versions
    digest = hashlib.sha256(kfp.packages["v1"]).hexdigest()
    assert version["display_name"] == f"tiny-{digest[:12]}"
    assert version["description"].endswith(f"sha256:{digest}")
    assert kfp.runs[0]["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert f"tiny-{digest[:12]}: uploaded" in err


@pytest.mark.usefixtures("pinned")
def test_another_placement_of_the_same_science_is_a_run_of_the_same_version(
    kfp: KfpServer, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(STORE.replace("mine", "yours") + "findings: {workers: 9}\nengine: {max_num_seqs: 3}\n")
    submit(capsys, "--spec", TINY, "--host", kfp.host, "--placement", place)
    _, _, err = submit(capsys, "--spec", TINY, "--host", kfp.host, "--placement", other)
    assert len(kfp.versions) == 1 and kfp.asked("POST", "upload_version") == 1
    assert "on the server already" in err
    first, second = map(given, kfp.runs)
    assert (first.bucket, second.bucket, second.workers) == ("mine", "yours", 9)
    assert json.loads(second.placement) == {"engine": {"max_num_seqs": 3}}, "what no parameter says"


@pytest.mark.usefixtures("pinned")
def test_another_science_is_another_version_of_the_same_pipeline(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--spec", TINY, "--host", kfp.host, "--placement", place)
    submit(capsys, *arguments)
    submit(capsys, *arguments, "--set", "science.sft.epochs=1", "--set", "name=short")
    assert len(kfp.pipelines) == 1
    assert [row["display_name"].rpartition("-")[0] for row in kfp.versions] == ["tiny", "short"]


@pytest.mark.usefixtures("pinned")
def test_a_placement_that_pods_must_be_compiled_for_is_another_version(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--spec", TINY, "--host", kfp.host, "--placement", place)
    submit(capsys, *arguments)
    code, _, err = submit(capsys, *arguments, *CLUSTER, "--unpinned")
    assert code == 0, err
    assert len(kfp.versions) == 2 and given(kfp.runs[1]).queue == "gpus"


@pytest.mark.usefixtures("pinned")
def test_namespace_service_account_and_experiment_reach_the_server(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = submit(
        capsys, "--spec", TINY, "--host", kfp.host, "--placement", place, "--namespace", "lab",
        "--service-account", "fundus-r1", "--experiment", "eyes",
    )  # fmt: skip
    assert code == 0, err
    assert kfp.pipelines[0]["namespace"] == "lab"
    assert (kfp.experiments[0]["display_name"], kfp.experiments[0]["namespace"]) == ("eyes", "lab")
    assert kfp.runs[0]["service_account"] == "fundus-r1"


@pytest.mark.usefixtures("pinned")
def test_the_token_comes_from_the_environment_and_goes_nowhere_else(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with KfpServer(token="very-secret") as kfp:
        arguments = ("--spec", TINY, "--host", kfp.host, "--placement", place, "--token-env", "MY_TOKEN")
        monkeypatch.setenv("MY_TOKEN", "very-secret")
        code, out, err = submit(capsys, *arguments)
        assert code == 0, err
        assert kfp.authorizations == {"Bearer very-secret"}
        assert "very-secret" not in json.dumps([kfp.runs, kfp.versions, kfp.pipelines]) + out + err
        monkeypatch.setenv("MY_TOKEN", " ")
        code, _, err = submit(capsys, *arguments)
        assert code == 1 and "MY_TOKEN" in err
        monkeypatch.setenv("MY_TOKEN", "wrong")
        code, _, err = submit(capsys, *arguments)
        assert code == 1 and "does not know who asks (401)" in err and "--token-env" in err
        assert "wrong" not in err


# ---- what is refused -------------------------------------------------------------------


def test_a_run_that_is_not_pinned_is_refused_with_each_value_and_what_to_do(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--spec", PAPER, "--host", kfp.host, "--placement", place)
    code, out, err = submit(capsys, *arguments, "--set", "placement.data=[s3://eyes/fundus]")
    assert (code, out) == (1, "")
    for told in (
        "science.models.student.revision",
        "science.models.observer.revision",
        "science.index.manifests.idrid",
        "science.knowledge.snapshot",
        "images.core",
        "images.train",
        "images/images.lock",
        "fundus-r1 pin",
        "--unpinned",
    ):
        assert told in err, told
    assert kfp.requests == []


def test_a_run_that_is_started_unpinned_says_so(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--spec", PAPER, "--host", kfp.host, "--placement", place, "--unpinned")
    code, _, err = submit(capsys, *arguments)
    assert code == 1 and "placement.data" in err, "a run must know where its data are"
    code, _, err = submit(capsys, *arguments, "--set", "placement.data=[s3://eyes/fundus]")
    assert code == 0, err
    [run] = kfp.runs
    assert run["display_name"] == "paper-3b-setup-g (unpinned)"
    assert "not pinned: science.models.student.revision, " in run["description"]
    assert "images.core" in run["description"]
    assert "not pinned: science.models.student.revision, " in kfp.versions[0]["description"]
    placement = started_as(kfp, run).placement
    assert placement.data == ("s3://eyes/fundus",) and placement.store.bucket == "mine"


@pytest.mark.usefixtures("pinned")
def test_an_image_that_the_placement_names_by_its_tag_is_not_pinned(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = submit(capsys, "--spec", TINY, "--host", kfp.host, "--placement", place, *CLUSTER)
    assert code == 1 and "placement.cluster.image" in err and "lab/train:latest" in err
    assert kfp.runs == []


def test_a_run_without_a_store_that_pods_can_reach_is_refused(
    kfp: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = submit(capsys, "--spec", TINY, "--host", kfp.host, "--unpinned")
    assert code == 1 and "placement.store" in err and kfp.requests == []


def test_one_of_spec_and_record_must_be_named(kfp: KfpServer, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = submit(capsys, "--host", kfp.host)
    assert code == 1 and "--spec FILE" in err
    code, _, err = submit(capsys, "--host", kfp.host, "--spec", TINY, "--like", "record.json")
    assert code == 1 and "Two things" in err


# ---- it is followed --------------------------------------------------------------------


@pytest.mark.usefixtures("pinned")
def test_a_run_that_is_waited_for_tells_each_change_once_and_ends_as_the_run_does(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.scripts["*"] = [
        states("PENDING", preflight="PENDING"),
        states("RUNNING", preflight="RUNNING", index="PENDING"),
        states("RUNNING", preflight="SUCCEEDED", index="RUNNING"),
        states("RUNNING", preflight="SUCCEEDED", index="RUNNING"),
        states("SUCCEEDED", preflight="SUCCEEDED", index="SUCCEEDED"),
    ]
    code, out, err = submit(capsys, "--spec", TINY, "--host", kfp.host, "--placement", place, "--wait")
    assert code == 0, err
    assert [line.split(maxsplit=1)[1].split() for line in out.splitlines()[1:-1]] == [
        ["preflight", "running"], ["preflight", "succeeded"], ["index", "running"], ["index", "succeeded"],
    ]  # fmt: skip
    assert out.splitlines()[-1].endswith("the run has ended: succeeded")


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_fails_or_is_cancelled_ends_the_command_with_1(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    kfp.scripts["*"] = [states(state, error="the stage sft failed", sft=(state, "OOMKilled"))]
    code, out, _ = submit(capsys, "--spec", TINY, "--host", kfp.host, "--placement", place, "--wait")
    assert code == 1
    assert f"{state.lower()}: OOMKilled" in out and f"{state.lower()}: the stage sft failed" in out


@pytest.mark.usefixtures("pinned")
def test_a_token_that_runs_out_ends_the_following_and_not_the_run(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.faults.append(Fault("GET", "/runs/", status=401))
    code, out, err = submit(capsys, "--spec", TINY, "--host", kfp.host, "--placement", place, "--wait")
    assert code == 1 and "does not know who asks" in err
    assert f"the run goes on: {out.strip()}" in err


def test_ctrl_c_stops_following_alone_and_says_so(kfp: KfpServer, place: Path) -> None:
    kfp.scripts["*"] = [states("RUNNING", sft="RUNNING")]
    command = [str(Path(sys.executable).parent / "fundus-r1"), "submit", "--spec", str(TINY), "--unpinned"]
    command += ["--host", kfp.host, "--placement", str(place), "--wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "sft" in line:
                break
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert f"the run goes on: {kfp.host}/#/runs/details/" in err and "Traceback" not in err
    assert kfp.runs[0]["state"] == "RUNNING" and kfp.asked("POST", ":terminate") == 0


# ---- a run is repeated -----------------------------------------------------------------


def test_a_run_is_repeated_with_its_science_and_its_placement(
    kfp: KfpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    earlier = record(path)
    code, _, err = submit(capsys, "--like", path, "--host", kfp.host, "--unpinned")
    assert code == 0, err
    assert started_as(kfp, kfp.runs[0]).science == earlier.spec.science
    assert started_as(kfp, kfp.runs[0]).placement == earlier.spec.placement


def test_a_repeated_run_may_have_another_place(
    kfp: KfpServer, tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    record(path)
    for extra in ((), ("--placement", place)):
        code, _, err = submit(capsys, "--like", path, "--host", kfp.host, "--unpinned", *extra)
        assert code == 0, err
    assert len(kfp.versions) == 1
    assert [(row.bucket, row.workers) for row in map(given, kfp.runs)] == [("old", 5), ("mine", 5)]


def test_a_repeated_run_with_other_images_says_which(
    kfp: KfpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    record(path)
    code, _, err = submit(capsys, "--like", path, "--host", kfp.host, "--unpinned")
    assert code == 0, err
    assert "another image core: fundus-r1-core:old -> fundus-r1-core:" in err


def test_a_run_that_the_installed_program_would_not_repeat_is_refused(
    kfp: KfpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    earlier = record(path)
    tree = json.loads(path.read_text())
    tree["program"] = "fundus-r1 9.9.9"
    tree["fingerprints"]["quality"] = "ab" * 32
    tree["fingerprints"]["sft"] = "cd" * 32
    path.write_text(json.dumps(tree))
    code, _, err = submit(capsys, "--like", path, "--host", kfp.host, "--unpinned")
    assert code == 1 and kfp.requests == []
    assert "its stage quality was abababababab and would be" in err, "the first of those that differ"
    assert earlier.fingerprints["quality"][:12] in err
    assert "install fundus-r1 9.9.9" in err


def test_a_repeated_run_cannot_be_given_another_science(
    kfp: KfpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    record(path)
    arguments = ("--like", path, "--host", kfp.host, "--unpinned")
    code, _, err = submit(capsys, *arguments, "--set", "science.sft.epochs=1")
    assert code == 1 and "keeps its science" in err and kfp.requests == []
    path.write_text("{}")
    code, _, err = submit(capsys, *arguments)
    assert code == 1 and "no record of a run" in err


# ---- the server is troubled ------------------------------------------------------------


@pytest.mark.usefixtures("pinned")
def test_who_submits_at_the_same_time_takes_what_the_other_one_made(
    kfp: KfpServer, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--spec", TINY, "--host", kfp.host, "--placement", place)
    submit(capsys, *arguments)
    # The second one looks before the first one has made anything, and then meets conflicts.
    for what in ("/pipelines", "/versions", "/experiments"):
        kfp.faults.append(Fault("GET", what, status=200, body={}))
    code, _, err = submit(capsys, *arguments)
    assert code == 0, err
    assert "on the server already" in err
    assert kfp.asked("POST", "upload_version") == 2, "it did meet a conflict"
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 2)
