"""What is open is looked up as far as it can be, and the file is changed there and nowhere else."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import yaml

from fundus_r1.datasets.digest import Contents
from fundus_r1.datasets.synth import draw_collection
from fundus_r1.errors import ModelError
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.spec.models import HubModel
from fundus_r1.spec.pins import unpinned
from fundus_r1.spec.science import Synthetic
from fundus_r1.stages.job import job_of
from fundus_r1.stages.manifests import Manifests
from fundus_r1.stages.pinning import Looked, look_up, written
from fundus_r1.stages.resolve import prompts_of_the_stages
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXT = """\
# A run of mine.
name: mine
science:
  models:
    # Two that look and learn.
    observer: {kind: hub, name: org/observer, revision: unpinned}  # the observer
    student: {kind: hub, name: org/student}
  index:
    datasets: [idrid, kermany]
    benchmarks: [funbench]
    manifests:
      idrid: unpinned
  knowledge: {snapshot: unpinned, sources: [pmc]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    draw_collection(folder, Synthetic(seed=3, patients=4, masked=2, benchmark=1, size=64))
    return folder


def commit(ref: HubModel) -> str:
    return COMMIT


def away(ref: HubModel) -> str:
    raise ModelError(f"The commit of {ref.name} could not be looked up: no route", transient=True)


def fetched(store: FolderStore, spec: RunSpec, snapshot: str, minutes: int = 0) -> None:
    """The record of a stage `knowledge` that has used the pages of a snapshot."""
    job = job_of(spec, "knowledge")
    writer = OutputWriter(store, job.stage, job.fingerprint)
    record = writer.close(
        revision=1,
        science=job.science,
        prompts={},
        inputs={},
        counts={"snapshot": snapshot},
        models={},
        started=datetime.datetime.now(datetime.UTC),
    )
    later = record.finished + datetime.timedelta(minutes=minutes)
    text = record.model_copy(update={"finished": later}).model_dump_json()
    store.put(f"{record.prefix}/record.json", text.encode())


def by_path(found: list[Looked]) -> dict[str, Looked]:
    return {row.path: row for row in found}


def test_everything_is_pinned_where_everything_can_be_had(file: Path, data: Path, store: FolderStore) -> None:
    spec = load_spec(file)
    fetched(store, spec, "5" * 64)
    found = look_up(spec, [data], store, commit)
    assert all(row.after for row in found)
    text = written(TEXT, spec, found)
    file.write_text(text, encoding="utf-8")
    pinned = load_spec(file)
    assert unpinned(pinned.science) == []
    assert pinned.science.prompts == prompts_of_the_stages()
    assert pinned.science.index.manifests["kermany"] == Contents([data]).manifest("kermany")
    assert pinned.science.index.manifests["funbench"] == Manifests([data]).of("funbench")
    assert pinned.science.knowledge.snapshot == "5" * 64
    assert look_up(pinned, [data], store, commit) == []


def test_comments_and_all_that_is_not_looked_up_stay(file: Path, data: Path) -> None:
    spec = load_spec(file)
    text = written(TEXT, spec, look_up(spec, [data], None, commit))
    assert f"revision: {COMMIT}}}  # the observer" in text
    assert f"    student: {{kind: hub, name: org/student, revision: {COMMIT}}}\n" in text
    for line in ("# A run of mine.", "    # Two that look and learn.", "name: mine"):
        assert line in text.splitlines()
    before, after = yaml.safe_load(TEXT), yaml.safe_load(text)
    assert after["science"]["knowledge"] == before["science"]["knowledge"]
    assert after["science"]["index"]["datasets"] == before["science"]["index"]["datasets"]


def test_a_model_that_the_file_leaves_to_the_default_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text("name: short\n", encoding="utf-8")
    spec = load_spec(path)
    path.write_text(written("name: short\n", spec, look_up(spec, [], None, commit)), encoding="utf-8")
    assert load_spec(path).science.models.student == HubModel(
        name="Qwen/Qwen2.5-VL-3B-Instruct", revision=COMMIT
    )


def test_without_network_data_and_store_each_stays_open_with_the_reason(file: Path) -> None:
    spec = load_spec(file)
    found = by_path(look_up(spec, [], None, away))
    assert found["science.models.student.revision"].why.endswith("no route")
    assert "--data" in found["science.index.manifests.idrid"].why
    assert "store" in found["science.knowledge.snapshot"].why
    left = {path for path, row in found.items() if row.after is None}
    assert left == {pin.path for pin in unpinned(spec.science)}
    text = written(TEXT, spec, list(found.values()))
    assert text.count("unpinned") == TEXT.count("unpinned")


def test_a_dataset_that_is_not_in_the_folders_stays_open(file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    row = by_path(look_up(load_spec(file), [empty], None, commit))["science.index.manifests.idrid"]
    assert row.after is None and "in none of the data folders" in row.why


def test_a_prompt_that_is_pinned_as_another_is_pinned_as_installed(file: Path) -> None:
    spec = load_spec(file, ["science.prompts={trace: abc}"])
    row = by_path(look_up(spec, [], None, commit))["science.prompts.trace"]
    assert (row.before, row.after) == ("abc", prompts_of_the_stages()["trace"])


def test_the_newest_pages_that_serve_the_run_are_taken(file: Path, store: FolderStore) -> None:
    spec = load_spec(file)
    fetched(store, load_spec(file, ["science.knowledge.passages=9"]), "1" * 64, minutes=5)
    fetched(store, spec, "2" * 64)
    fetched(store, load_spec(file, ["science.knowledge.pages=7"]), "3" * 64, minutes=9)
    fetched(store, load_spec(file, ["science.index.datasets=[idrid]"]), "4" * 64, minutes=9)
    row = by_path(look_up(spec, [], store, commit))["science.knowledge.snapshot"]
    assert row.after == "1" * 64, "how many passages are kept of a page does not change the pages"


def test_pages_that_no_run_has_fetched_stay_open(file: Path, store: FolderStore) -> None:
    row = by_path(look_up(load_spec(file), [], store, commit))["science.knowledge.snapshot"]
    assert row.after is None and "fundus-r1 stage knowledge" in row.why
