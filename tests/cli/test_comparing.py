"""`fundus-r1 diff` and `fundus-r1 compare`: what they print and end with."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from scored_run import put_scores

from fundus_r1.cli import main
from fundus_r1.record import Record
from fundus_r1.spec import dump_spec, load_spec
from fundus_r1.stages.runs import PinnedRun, begin_record
from fundus_r1.storage.folder import FolderStore

TINY = Path(__file__).resolve().parents[2] / "pipelines/specs/tiny.yaml"
PAPER = TINY.parent / "paper"


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


def test_the_record_of_a_run_stands_for_its_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = load_spec(TINY, ["science.sft.epochs=3"])
    path = tmp_path / "run.json"
    path.write_text(begin_record(PinnedRun(spec=spec), spec, "some-run").model_dump_json())
    code, out = diff(capsys, TINY, path)
    assert code == 1 and "science.sft.epochs" in out and "placement" not in out


def test_a_file_that_is_no_record_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "some.json"
    path.write_text("{}")
    code, out = diff(capsys, path, TINY)
    assert code == 1 and "no record of a run" in out


# ---- fundus-r1 compare -----------------------------------------------------------------


def compare(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, arguments)])
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    return said.out


@pytest.fixture
def folders(store: FolderStore, tmp_path: Path) -> list[Path]:
    """Folders of three runs of one store: setups G and E, and H with another SFT and without results."""
    made = []
    for name, setup, *changes in (
        ("g", "G"), ("e", "E"), ("h", "H", "science.sft.epochs=3", "science.grpo.epochs=3"),
    ):  # fmt: skip
        place = f"placement.store={{kind: folder, path: {store.root}}}"
        spec = load_spec(PAPER / f"3b-setup-{name}.yaml", [place, *changes])
        assert spec.science.setup == setup
        if setup != "H":
            put_scores(store, spec)
        made.append(tmp_path / name)
        made[-1].mkdir()
        (made[-1] / "spec.yaml").write_text(dump_spec(spec))
    return made


def test_runs_are_compared_in_the_form_of_table_5(
    folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line.split("|")[1:-1] for line in compare(capsys, *folders, "--markdown").splitlines()[:8]]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells[0][2:] == ["FunBench F1", "Omni-Fundus acc.", "GMAI-Fundus acc.", "average"]
    assert cells[2][0].startswith("E: paper-3b-setup-e")
    assert cells[2][1].startswith("SFT with reasoning traces; after SFT")
    assert cells[2][2:] == ["60.0 (n=40)", "70.0 (n=40)", "50.0 (n=40)", "60.0"]
    assert cells[3][1:] == ["the paper", "61.9", "67.7", "39.8", "56.5"]
    assert cells[5][1:] == ["the paper", "67.1", "79.8", "50.1", "65.6"]
    assert cells[6][1].endswith("no result: its stage evaluate has not ended") and cells[6][2:] == ["-"] * 4


def test_what_else_differs_stands_below_the_table(
    folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = " ".join(compare(capsys, *folders).split())
    assert "paper-3b-setup-h" in out.partition("Not like")[2]
    assert out.endswith("in science.grpo.epochs, science.sft.epochs (fundus-r1 diff shows the values).")
    assert "Not like" not in compare(capsys, *folders[:2])


def test_json_has_the_table_too(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(compare(capsys, *folders, "--json"))
    assert [row["setup"] for row in told["runs"]] == ["E", "G", "H"]
    assert told["runs"][0]["average"] == pytest.approx(60.0) and told["runs"][0]["paper"]["average"] == 56.5
    assert told["runs"][2]["missing"] == "its stage evaluate has not ended"
    assert list(told["unlike"].values()) == [["science.grpo.epochs", "science.sft.epochs"]]
