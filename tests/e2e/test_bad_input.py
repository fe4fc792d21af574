"""Bad input ends in one readable message, an exit code that is not 0, and no traceback."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from command import TINY, call, processes_about


def fails(*arguments: object) -> str:
    done = call(*arguments, timeout=120)
    told = done.stdout + done.stderr
    assert done.returncode not in (0, None), told
    assert "Traceback" not in told
    assert "to do:" in told
    return told


def test_a_typo_in_an_override(tmp_path: Path) -> None:
    told = fails("run", "--spec", TINY, "--set", "science.sft.epoch=1", "--out", tmp_path / "out")
    assert "nearest known one is epochs" in told


def test_a_spec_that_is_not_there(tmp_path: Path) -> None:
    assert "none.yaml" in fails("run", "--spec", tmp_path / "none.yaml", "--out", tmp_path / "out")


def test_a_data_folder_that_does_not_exist(tmp_path: Path) -> None:
    told = fails("run", "--spec", TINY, "--data", tmp_path / "none", "--out", tmp_path / "out")
    assert "does not exist" in told


def test_a_data_folder_that_holds_nothing_known(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "letter.txt").write_text("hello")
    told = fails("run", "--spec", TINY, "--data", data, "--out", tmp_path / "out")
    assert str(data) in told
    assert processes_about(tmp_path) == []


def test_a_benchmark_file_with_a_missing_field(tmp_path: Path) -> None:
    folder = tmp_path / "data/OmniMedVQA/QA_information/Open-access"
    folder.mkdir(parents=True)
    item = {
        "dataset": "OCT & X-Ray 2017",
        "question_id": "q1",
        "question_type": "Disease Diagnosis",
        "question": "What is shown?",
        "image_path": "Images/OCT & X-Ray 2017/test/CNV/CNV-1-1.jpeg",
        "option_A": "Drusen",
        "option_B": "CNV",
        "modality_type": "OCT (Optical Coherence Tomography",
    }
    (folder / "OCT & X-Ray 2017.json").write_text(json.dumps([item]))
    told = fails("run", "--spec", TINY, "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert "gt_answer" in told
    assert "OCT & X-Ray 2017.json" in told


def test_a_busy_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = fails(
            "run", "--spec", TINY, "--set", f"placement.store.port={port}", "--out", tmp_path / "out"
        )
    assert str(port) in told


@pytest.mark.parametrize("out", ["/proc/fundus-r1", "/dev/null/out"])
def test_an_output_folder_that_cannot_be_written(out: str) -> None:
    assert out in fails("run", "--spec", TINY, "--out", out)


def test_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    told = fails("run", "--spec", TINY, "--set", "placement.min_free_gib=1000000", "--out", tmp_path / "out")
    assert "1e+06 GiB" in told


def test_the_traceback_is_there_when_it_is_asked_for(tmp_path: Path) -> None:
    done = call("--debug", "run", "--spec", tmp_path / "none.yaml", timeout=60)
    assert done.returncode != 0
    assert "Traceback" in done.stderr
