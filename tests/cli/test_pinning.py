"""`fundus-r1 pin`: what it prints, writes and ends with."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, serving

from fundus_r1.cli import main
from fundus_r1.cli.pinning import LEFT_OPEN
from fundus_r1.spec import load_spec
from fundus_r1.spec.pins import unpinned
from fundus_r1.stages.job import job_of
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter

TEXT = """\
name: mine  # a comment
science:
  models:
    observer: {kind: tiny}
    student: {kind: hub, name: org/model, revision: unpinned}
  index: {datasets: [], benchmarks: []}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with serving() as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def pin(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["pin", *map(str, arguments)])
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("hub")
def test_what_can_be_had_is_written_into_another_file(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "pinned.yaml"
    assert pin(spec, "--out", out) == 0
    said = capsys.readouterr().out
    assert COMMIT[:12] in said and "the hub's org/model" in said and "0 left open" in said
    assert spec.read_text() == TEXT
    pinned = load_spec(out)
    assert unpinned(pinned.science) == []
    assert pinned.science.models.student.revision == COMMIT  # type: ignore[union-attr]
    assert out.read_text().startswith("name: mine  # a comment\n")


@pytest.mark.usefixtures("hub")
def test_a_second_pin_finds_nothing_to_do(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pin(spec) == 0
    first = spec.read_bytes()
    capsys.readouterr()
    assert pin(spec) == 0
    assert "Everything is pinned" in capsys.readouterr().out
    assert spec.read_bytes() == first


@pytest.mark.usefixtures("offline")
def test_without_network_the_rest_is_pinned_and_the_exit_code_says_that_something_is_open(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin(spec) == LEFT_OPEN
    said = capsys.readouterr().out
    assert "could not be looked up" in said and "1 left open" in said
    left = load_spec(spec)
    assert [row.path for row in unpinned(left.science)] == ["science.models.student.revision"]
    assert left.science.prompts, "the prompts need no network"


@pytest.mark.usefixtures("hub")
def test_the_pages_come_from_the_store_of_a_run_here(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asks = "\n  knowledge: {datasets: [idrid], sources: [pmc]}\nplacement: {store: {kind: folder}}\n"
    spec.write_text(TEXT.rstrip("\n") + asks, encoding="utf-8")
    assert pin(spec) == LEFT_OPEN
    assert "no store with kept pages was named" in capsys.readouterr().out
    job = job_of(load_spec(spec), "knowledge")
    OutputWriter(FolderStore(tmp_path / "run" / "store"), job.stage, job.fingerprint).close(
        revision=1, science=job.science, prompts={}, inputs={}, counts={"snapshot": "5" * 64}, models={},
        started=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    assert pin(spec, "--run", tmp_path / "run") == 0
    assert load_spec(spec).science.knowledge.snapshot == "5" * 64


def test_a_run_that_would_load_unpinned_weights_is_refused_before_anything_starts(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--spec", str(spec), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "science.models.student.revision" in said and "fundus-r1 pin" in said
    assert not (tmp_path / "out" / "store").exists()
