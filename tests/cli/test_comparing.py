"""`fundus-r1 diff`: what it prints and ends with."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from fundus_r1.cli import main
from fundus_r1.record import Record
from fundus_r1.spec import dump_spec, load_spec

TINY = Path(__file__).resolve().parents[2] / "pipelines/specs/tiny.yaml"


def diff(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["diff", *map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err


def test_equal_runs_print_nothing_and_end_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spec.yaml").write_text(dump_spec(load_spec(TINY)))
    assert diff(capsys, TINY, tmp_path) == (0, "")


def test_science_and_placement_stand_apart_and_the_stages_below(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("--set", "science.setup=H", "--set", "placement.findings.workers=9", "--set", "name=other")
    code, out = diff(capsys, TINY, TINY, *changes)
    assert code == 1
    science, _, rest = out.partition("Name and placement")
    places, _, stages = rest.partition("Stages with other outputs")
    assert "science.setup" in science and "placement" not in science
    assert "placement.findings.workers" in places and "name" in places
    assert [line.split()[0] for line in stages.splitlines()[2:] if line[:1].strip()] == [
        "grpo", "evaluate", "report",
    ]  # fmt: skip
    assert 'process: "selective" -> "vf"' in stages


def test_a_placement_that_differs_says_that_all_outputs_are_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out = diff(capsys, TINY, TINY, "--set", "placement.findings.workers=9")
    assert code == 1 and "All ten stages have the same outputs" in out


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = diff(capsys, TINY, TINY, "--json", "--set", "science.sft.epochs=3")
    told = json.loads(out)
    assert code == 1
    assert told["fields"] == [{"path": "science.sft.epochs", "a": 30, "b": 3, "changes_results": True}]
    assert [row["stage"] for row in told["stages"]] == ["sft", "grpo", "evaluate", "report"]
    code, out = diff(capsys, TINY, TINY, "--json")
    assert (code, json.loads(out)) == (0, {"fields": [], "stages": []})


def test_a_record_is_held_against_a_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fundus_r1.stages.job import job_of

    job = job_of(load_spec(TINY), "quality")
    now = datetime.datetime.now(datetime.UTC)
    record = Record(
        stage="quality", fingerprint=job.fingerprint, revision=job.definition.revision, science=job.science,
        prompts=job.definition.prompt_hashes(), inputs=job.inputs, files={}, counts={}, started=now,
        finished=now,
    )  # fmt: skip
    path = tmp_path / "record.json"
    path.write_text(record.model_dump_json())
    assert diff(capsys, path, TINY) == (0, "")
    code, out = diff(capsys, path, TINY, "--set", "science.quality.audit_share=0.5")
    assert code == 1 and "quality.quality.audit_share" in out
    code, out = diff(capsys, TINY, path, "--set", "science.setup=A")
    assert code == 1 and "a record is none" in out


def test_a_file_that_is_no_record_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "some.json"
    path.write_text("{}")
    code, out = diff(capsys, path, TINY)
    assert code == 1 and "The file is no record" in out
