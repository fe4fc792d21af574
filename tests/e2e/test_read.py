"""The demo's trained model reads images from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import call

from fundus_r1.datasets.synth import cfp
from fundus_r1.datasets.synth.paint import generator

pytestmark = [pytest.mark.e2e, pytest.mark.engines]


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eyes")
    cfp.draw(generator("read", 1), 224, 2).image.save(folder / "eye.png")
    (folder / "torn.png").write_bytes(b"\x89PNG")
    return folder


def test_the_runs_own_model_reads_a_folder(demo: Path, eyes: Path) -> None:
    asked = ["--question", "Which level of diabetic retinopathy is shown?", "--option", "Mild NPDR"]
    asked += ["--option", "PDR", "--max-tokens", "96"]
    done = call("read", eyes, *asked, "--out", demo, "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["image"]).name for row in told] == ["eye.png", "torn.png"], done.stderr
    assert told[0]["model"].startswith("grpo@") and isinstance(told[0]["text"], str)
    assert {"findings", "trace", "answer", "option", "well_formed"} <= told[0].keys()
    assert "error" in told[1]
    assert done.returncode == 1 and "1 of 2 images could not be read" in done.stderr


def test_a_folder_without_a_run_says_what_to_do(eyes: Path, tmp_path: Path) -> None:
    done = call("read", eyes / "eye.png", "--out", tmp_path)
    assert done.returncode == 1
    assert "--model" in done.stderr and "Traceback" not in done.stderr
