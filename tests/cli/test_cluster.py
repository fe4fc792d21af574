"""`fundus-r1 preflight` and `fundus-r1 reap`: what they print and end with, against a test API server."""

from __future__ import annotations

from pathlib import Path

import pytest
from kube_server import KUEUE, KubeServer

from fundus_r1.cli import main
from fundus_r1.cluster.child import MANAGED_BY, MANAGER, PYTORCHJOB, RAYJOB, TRAINJOB, WORKFLOW, WORKLOAD

SPEC = """\
name: mine
science:
  models:
    observer: {kind: tiny}
    free_form: {kind: tiny}
    student: {kind: tiny}
    writer: {engine: rules}
    judge: {engine: rules}
  index: {synthetic: {}}
placement:
  store: {kind: folder, path: store}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.yaml"
    path.write_text(SPEC, encoding="utf-8")
    return path


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_preflight_of_a_run_that_has_everything_ends_with_0(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("preflight", "--spec", str(spec)) == 0
    said = capsys.readouterr().out
    assert "store: conditional put" in said
    assert "0 missing" in said


def test_preflight_against_a_bare_api_server_prints_what_to_do_and_ends_with_1(
    spec: Path, kube: KubeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kube.unserved |= {PYTORCHJOB, TRAINJOB, RAYJOB, WORKFLOW, WORKLOAD, *KUEUE}
    placement = tmp_path / "placement.yaml"
    placement.write_text("cluster: {queue: gpus}\n", encoding="utf-8")
    assert command("preflight", "--spec", str(spec), "--placement", str(placement)) == 1
    said = capsys.readouterr()
    for told in ("KubeRay installed", "kubectl create secret generic fundus-r1-store", "MISSING"):
        assert told in said.out
    assert "Traceback" not in said.err


def test_reap_deletes_orphans_and_says_so(kube: KubeServer, capsys: pytest.CaptureFixture[str]) -> None:
    old = {"annotations": {"fundus-r1.io/seen": "2026-01-01T00:00:00Z"}}
    kube.add(PYTORCHJOB, {"metadata": {"name": "fr1-sft-a", "labels": {MANAGED_BY: MANAGER}, **old}})
    kube.add(PYTORCHJOB, {"metadata": {"name": "fr1-sft-b", "labels": {MANAGED_BY: MANAGER}}})
    assert command("reap", "--dry-run") == 0
    assert "1 would be deleted" in capsys.readouterr().out
    assert kube.names(PYTORCHJOB) == ["fr1-sft-a", "fr1-sft-b"]
    assert command("reap", "--stale", "20") == 0
    said = capsys.readouterr().out
    assert "2 jobs in the namespace team, 1 deleted" in said
    assert kube.names(PYTORCHJOB) == ["fr1-sft-b"]


def test_reap_without_the_right_says_which_rule_is_missing(
    kube: KubeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kube.forbidden.add(("list", "rayjobs"))
    assert command("reap") == 1
    assert 'resources: ["rayjobs"], verbs: ["list"]' in capsys.readouterr().err
