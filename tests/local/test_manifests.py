"""``plan --manifests``: all that a paper's run would apply, and nothing that a server would drop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from crd_schema import Crds
from job_cases import variables

from fundus_r1.errors import MachineError, SpecError
from fundus_r1.local.manifests import PIPELINE, STORE_TO_BE_NAMED, applied, write_manifests
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.spec.cluster import Cluster
from fundus_r1.spec.placement import Endpoint, Endpoints, StorePlace

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "pipelines" / "specs" / "paper"


def of_setup(letter: str, **placement: Any) -> RunSpec:
    spec = load_spec(PAPER / f"3b-setup-{letter}.yaml")
    return spec.model_copy(update={"placement": spec.placement.model_copy(update=placement)})


def objects(folder: Path) -> dict[str, dict[str, Any]]:
    files = (path for path in folder.glob("*.yaml") if path.name != PIPELINE)
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}


@pytest.mark.shared
@pytest.mark.parametrize("file", sorted(path.name for path in PAPER.glob("*.yaml")))
@pytest.mark.parametrize("api", ["pytorchjob", "trainjob"])
def test_what_a_papers_run_would_apply_is_taken_whole(crds: Crds, file: str, api: str) -> None:
    spec = load_spec(PAPER / file, [f"placement.trainer_api={api}"])
    found = applied(spec, "fundus-r1-train:unpinned")
    for manifest in found.values():
        crds.check(manifest)
    found.pop("sft-trainingruntime.yaml", None)
    expected = {"sft": f"sft-{api}.yaml", "grpo": "grpo-rayjob.yaml"}
    assert set(found) == {name for stage, name in expected.items() if getattr(spec.science.recipe, stage)}


@pytest.mark.shared
def test_the_command_needs_neither_data_nor_a_store_nor_a_cluster(crds: Crds, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
    argv = ["plan", "--spec", str(PAPER / "3b-setup-g.yaml"), "--manifests", "here"]
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("fundus-r1")), *argv],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = objects(tmp_path / "here")
    assert set(found) == {"sft-pytorchjob.yaml", "grpo-rayjob.yaml"}
    for manifest in found.values():
        crds.check(manifest)
    assert b"sdkVersion: kfp-" in (tmp_path / "here" / PIPELINE).read_bytes()
    assert STORE_TO_BE_NAMED in str(found)
    lines = ended.stdout.splitlines()
    assert lines[0] == "here/pipeline.yaml: the pipeline for Kubeflow"
    named = [line for line in lines if line.startswith("still to be named: ")]
    assert len(named) == len(lines) - 3
    for what in ("store.endpoint", "endpoints.judge", "placement.data", "unpinned"):
        assert any(what in line for line in named), what


def test_the_jobs_hold_what_the_placement_names(tmp_path: Path) -> None:
    """And what is named is not told as missing; the same again makes the same files."""
    store = StorePlace(endpoint="http://s3.example.org", bucket="b", prefix="p")
    judge = Endpoint(url="https://llm.example.org/v1", api_key_env="JUDGE")
    spec = of_setup(
        "g",
        store=store,
        data=("pvc://fundus/sets", "s3://fundus/more"),
        endpoints=Endpoints(writer=judge, judge=judge),
        cluster=Cluster(image="x@sha256:" + "0" * 64),
    )
    folders = (tmp_path / "one", tmp_path / "two")
    one, two = (write_manifests(spec, folder) for folder in folders)
    job = objects(folders[0])["grpo-rayjob.yaml"]
    name = job["metadata"]["name"]
    assert job["spec"]["entrypoint"] == f"fundus-r1 stage grpo --spec s3://b/p/jobs/{name}.json"
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    assert variables(head)["FUNDUS_R1_S3_ENDPOINT"] == "http://s3.example.org"
    assert variables(head)["JUDGE"] == {"secretKeyRef": {"name": "fundus-r1-models", "key": "JUDGE"}}
    assert [line.partition(":")[0] for line in one.open] == ["placement.data"] and one == two
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


def test_a_trainjob_comes_with_its_runtime_unless_another_is_named() -> None:
    kinds = {name: tree["kind"] for name, tree in applied(of_setup("g", trainer_api="trainjob"), "x").items()}
    assert kinds == {
        "sft-trainjob.yaml": "TrainJob",
        "sft-trainingruntime.yaml": "TrainingRuntime",
        "grpo-rayjob.yaml": "RayJob",
    }
    named = of_setup("g", trainer_api="trainjob", cluster=Cluster(runtime="ours"))
    assert "sft-trainingruntime.yaml" not in applied(named, "x")


def test_a_folder_with_other_yaml_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("kind: Secret", encoding="utf-8")
    with pytest.raises(SpecError, match=r"not of this run: secret\.yaml"):
        write_manifests(of_setup("g"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.yaml"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MachineError, match="cannot be written"):
        write_manifests(of_setup("g"), tmp_path / "file" / "below")
