"""The compiled pipeline: the same bytes each time, loadable, no secret, no cache of Kubeflow's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "pipelines/specs/tiny.yaml"
GOLDEN = ROOT / "pipelines/compiled/tiny.yaml"


def compiled(target: Path, seed: str, folder: Path) -> bytes:
    command = [str(Path(sys.executable).parent / "fundus-r1"), "compile", "--spec", str(TINY)]
    env = {**os.environ, "PYTHONHASHSEED": seed}
    subprocess.run([*command, "--out", str(target)], check=True, cwd=folder, env=env, capture_output=True)
    return target.read_bytes()


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("ir")
    return compiled(folder / "pipeline.yaml", "1", folder)


def test_two_compilations_are_equal_byte_for_byte(ir: bytes, tmp_path: Path) -> None:
    assert compiled(tmp_path / "again.yaml", "2", ROOT) == ir


def test_the_compiled_pipeline_is_the_golden_one(ir: bytes, golden_bytes) -> None:  # type: ignore[no-untyped-def]
    golden_bytes(GOLDEN, ir)


def test_it_loads_in_kfp_with_the_placement_as_its_only_parameter(ir: bytes, tmp_path: Path) -> None:
    from kfp import components

    path = tmp_path / "pipeline.yaml"
    path.write_bytes(ir)
    loaded = components.load_component_from_file(str(path))
    assert loaded.name == "fundus-r1"
    assert list(loaded.component_spec.inputs) == ["placement"]


def test_every_step_asks_our_store_and_installs_nothing(ir: bytes) -> None:
    spec = next(iter(yaml.safe_load_all(ir)))
    dags = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
    steps = [task for dag in dags for task in dag["tasks"].values()]
    assert len(steps) >= 14
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in steps)
    containers = [e["container"] for e in spec["deploymentSpec"]["executors"].values()]
    assert {container["image"] for container in containers} == {"fundus-r1:0.1.0"}
    assert not any("pip install" in " ".join(container["command"]) for container in containers)


def test_no_body_is_longer_than_ten_lines() -> None:
    import ast

    for path in sorted((ROOT / "components").glob("*/component.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:]
                lines = body[-1].end_lineno - body[0].lineno + 1  # type: ignore[operator]
                assert lines <= 10, f"{path}: {node.name} has {lines} lines"
                assert ast.get_docstring(node)
