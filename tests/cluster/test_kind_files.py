"""The files of `tests/e2e/kind`, which need docker and kind to run: what can be known of them without.

Scripts parse, manifests are what Kubernetes takes, the placement makes jobs, and the Role allows what the
program does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fundus_r1.cluster.child import JOBS, Resource
from fundus_r1.cluster.manifests import CHILD_STAGES, child_of
from fundus_r1.cluster.preflight_rights import rights
from fundus_r1.spec import RunSpec, load_spec

ROOT = Path(__file__).resolve().parents[2]
KIND = ROOT / "tests" / "e2e" / "kind"
SCRIPTS = sorted(KIND.glob("*.sh"))
NAMES = {"NAMESPACE": "eyes", "IMAGE": "fundus-r1-cpu:0.1.0", "TRAINER_API": "pytorchjob", "WITH_KFP": "0"}
IN_CLUSTER = "1.34"


def filled(name: str) -> str:
    """A file as the scripts apply it."""
    text = (KIND / name).read_text(encoding="utf-8")
    for key, value in NAMES.items():
        text = text.replace(f"@{key}@", value)
    assert not re.search(r"@[A-Z_]+@", text), f"{name} holds a name that no script fills in"
    return text


def objects(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(filled(name)))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    text = script.read_text(encoding="utf-8")
    assert script.name == "versions.sh" or "set -euo pipefail" in text or "set -uo pipefail" in text


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(script: Path) -> None:
    done = subprocess.run(["shellcheck", "-x", str(script)], capture_output=True, text=True, cwd=ROOT)
    assert not done.returncode, done.stdout


def test_each_file_that_a_script_names_is_there() -> None:
    named = {
        name
        for script in SCRIPTS
        for name in re.findall(r"\$here/(\w[\w.]*)|filled ([\w.]+)", script.read_text())
    }
    files = {first or second for first, second in named}
    assert files >= {
        "kind.yaml",
        "image.sh",
        "s3.yaml",
        "rights.yaml",
        "run.yaml",
        "placement.yaml",
        "inside.sh",
    }
    assert [name for name in files if not (KIND / name).is_file()] == []
    assert (ROOT / "images" / "cpu" / "Dockerfile").is_file()


@pytest.mark.parametrize("name", ["s3.yaml", "run.yaml", "rights.yaml"])
def test_manifests_are_what_kubernetes_takes(name: str) -> None:
    for item in objects(name):
        kubernetes_validate.validate(item, IN_CLUSTER, strict=True)


def pods() -> list[dict[str, Any]]:
    found = [*objects("s3.yaml"), *objects("run.yaml")]
    return [
        o["spec"]["template"]["spec"] if o["kind"] == "Deployment" else o["spec"]
        for o in found
        if o["kind"] != "Service"
    ]


def test_pods_are_restricted_and_hold_no_key() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}
            keys = [e for e in container.get("env", ()) if "KEY" in e["name"]]
            assert all("secretKeyRef" in e["valueFrom"] for e in keys)


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    path = tmp_path / "placement.yaml"
    path.write_text(filled("placement.yaml"), encoding="utf-8")
    return load_spec(ROOT / "pipelines" / "specs" / "tiny.yaml", placement=path)


@pytest.mark.parametrize("stage", CHILD_STAGES)
@pytest.mark.parametrize("api", ["pytorchjob", "trainjob"])
def test_the_placement_makes_jobs_without_gpus(spec: RunSpec, stage: str, api: Any) -> None:
    child = child_of(
        stage,
        "ab" * 32,
        spec.placement,
        api=api,
        run="run",
        spec_uri="s3://fundus-r1/jobs/x.json",
        output_uri="s3://fundus-r1/x",
        image=NAMES["IMAGE"],
    )
    text = yaml.safe_dump(child.manifest)
    assert "nvidia.com/gpu" not in text and NAMES["IMAGE"] in text
    assert child.manifest["metadata"]["namespace"] == "eyes"


class Granted:
    """An API server that serves all and allows what a Role says."""

    def __init__(self, rules: list[dict[str, Any]]):
        self._rules = rules

    def served(self, resource: Resource) -> bool:
        return True

    def allowed(
        self, verb: str, resource: Resource, *, subresource: str = "", **_: object
    ) -> tuple[bool, str]:
        name = f"{resource.plural}/{subresource}" if subresource else resource.plural
        found = any(
            resource.group in rule["apiGroups"] and name in rule["resources"] and verb in rule["verbs"]
            for rule in self._rules
        )
        return found, ""


def rules() -> list[dict[str, Any]]:
    [role] = [item for item in objects("rights.yaml") if item["kind"] == "Role"]
    found: list[dict[str, Any]] = role["rules"]
    return found


def test_the_role_allows_what_preflight_asks_for() -> None:
    checks = rights(Granted(rules()), JOBS)  # type: ignore[arg-type]
    assert checks and [check.todo for check in checks if not check.ok] == []


def test_the_role_in_the_docs_is_the_one_that_is_applied() -> None:
    docs = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", docs, re.DOTALL)]
    [role] = [block for block in blocks if isinstance(block, dict) and block.get("kind") == "Role"]
    assert role["rules"] == rules()


def test_the_docs_manifests_are_what_kubernetes_takes() -> None:
    docs = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    found = [
        item
        for block in re.findall(r"```yaml\n(.*?)```", docs, re.DOTALL)
        for item in yaml.safe_load_all(block)
        if isinstance(item, dict) and "kind" in item and "apiVersion" in item
    ]
    assert {"Role", "CronJob"} <= {item["kind"] for item in found}
    for item in found:
        kubernetes_validate.validate(item, IN_CLUSTER, strict=True)


def test_the_docs_placements_are_placements(tmp_path: Path) -> None:
    docs = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(# placement.*?)```", docs, re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block, encoding="utf-8")
        assert load_spec(ROOT / "pipelines" / "specs" / "tiny.yaml", placement=path).placement.cluster
