"""The verbs that look at a run, from the command line to the store and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_run import MadeRun, write_run

from fundus_r1.cli import main
from fundus_r1.spec import load_spec
from fundus_r1.stages.job import fingerprints
from fundus_r1.stages.resolve import resolve
from fundus_r1.storage.folder import FolderStore

SPEC = Path(__file__).resolve().parents[2] / "pipelines/specs/tiny.yaml"
SETS = ["placement.store.kind=folder"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a run that has come as far as its quality check."""
    known = fingerprints(resolve(load_spec(SPEC, SETS)).science)
    write_run(FolderStore(tmp_path / "out/store"), 10, known=known)
    return tmp_path / "out"


def call(*arguments: object) -> int:
    options = [f"--set={value}" for value in SETS]
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), f"--spec={SPEC}", *options])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_show_prints_the_way_of_an_image(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("show", "eye 000002", "--out", out) == 0
    told = capsys.readouterr().out
    assert MadeRun().sample(2).sample_id in told and "accepted" in told
    assert "Not there yet\n  trainset, sft, grpo, evaluate, report" in told


def test_show_names_the_nearest_where_none_fits(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("show", "eye 99999", "--out", out) == 1
    assert "nearest: " in capsys.readouterr().err


def test_export_says_which_stage_is_not_there(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("export", "verl", out / "verl", "--out", out) == 1
    assert "no output of trainset yet" in capsys.readouterr().err


def test_export_names_the_tools_where_it_knows_none(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("export", "axolotl", out / "x", "--out", out) == 1
    assert "llamafactory and verl" in capsys.readouterr().err
