"""A vocabulary goes out to a person and comes back as the pinned input of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fundus_r1.errors import DataError, SpecError, StageError, StoreError
from fundus_r1.fingerprint import sha256
from fundus_r1.ontology.vocabulary import in_order
from fundus_r1.ontology.vocabulary_diff import differences
from fundus_r1.rows import Knowledge, Modality, Passage, VocabularyEntry
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.models import Chat, Models
from fundus_r1.spec.placement import RetrievalPlace, StorePlace
from fundus_r1.spec.science import Index, KnowledgeScience, ReviewedVocabulary
from fundus_r1.stages import knowledge
from fundus_r1.stages.base import as_json
from fundus_r1.stages.execute import run_job
from fundus_r1.stages.job import StageJob
from fundus_r1.stages.knowledge_review import exported, read_vocabulary_file
from fundus_r1.storage.output import StageOutput


def science(vocabulary: ReviewedVocabulary | None = None, **changes: Any) -> Science:
    fields = {"sources": ("notes",), "vocabulary": vocabulary, **changes}
    return Science(
        models=Models(writer=Chat()),
        index=Index(datasets=("kermany",)),
        knowledge=KnowledgeScience.model_validate(fields),
    )


def run(folder: Path, what: Science) -> StageOutput:
    placement = Placement(
        store=StorePlace(kind="folder", path=str(folder)), retrieval=RetrievalPlace(offline=True)
    )
    slice_ = as_json(knowledge.STAGE.select(what))
    return run_job(StageJob(stage="knowledge", science=slice_, placement=placement, inputs={}))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> StageOutput:
    return run(tmp_path_factory.mktemp("run"), science())


def pinned(path: Path) -> ReviewedVocabulary:
    return ReviewedVocabulary(path=str(path), digest=sha256(path.read_bytes()))


@pytest.fixture
def sheet(output: StageOutput, tmp_path: Path) -> Path:
    path = tmp_path / "vocabulary.yaml"
    path.write_text(exported(output), encoding="utf-8")
    return path


def test_given_back_unchanged_it_gives_the_same_vocabulary_and_asks_nobody(
    output, sheet, tmp_path, monkeypatch
):
    for name in ("open_chat", "open_knowledge_base"):
        monkeypatch.delattr(knowledge, name)
    out = run(tmp_path / "store", science(pinned(sheet)))
    assert out.read_bytes("vocabulary.jsonl") == output.read_bytes("vocabulary.jsonl")
    before = {row.label: row for row in output.read_rows("knowledge.jsonl", Knowledge)}
    for row in out.read_rows("knowledge.jsonl", Knowledge):
        same = before[row.label]
        assert (row.description, row.query, row.evidence) == (same.description, same.query, same.evidence)
        assert row.model == "reviewed"
    sources = {row.passage_id: row for row in out.read_rows("passages.jsonl", Passage)}
    known = {row.passage_id: row for row in output.read_rows("passages.jsonl", Passage)}
    assert all(row.reference == known[key].reference and not row.text for key, row in sources.items())
    assert out.record.counts["reviewed"] == 4
    assert out.record.models == {"writer": "reviewed"}
    assert exported(out) == sheet.read_text(encoding="utf-8")


def test_what_a_person_changed_is_what_the_run_has_and_the_rest_is_looked_up(output, sheet, tmp_path):
    text = sheet.read_text(encoding="utf-8")
    start = text.index("# Drusen on OCT")
    kept = text[:start] + text[text.index("sources:\n", start) :]
    start = kept.index("# Choroidal neovascularization on OCT")
    entry = kept[start:].replace("  required:\n", "  required:\n    lacquer crack: [My own textbook]\n", 1)
    sheet.write_text(kept[:start] + entry, encoding="utf-8")
    out = run(tmp_path / "store", science(pinned(sheet)))
    rows = {row.label: row for row in out.read_rows("knowledge.jsonl", Knowledge)}
    assert "lacquer_crack" in rows["cnv"].required
    assert rows["cnv"].evidence["lacquer_crack"] == ("My own textbook",)
    assert (rows["cnv"].model, rows["drusen"].model) == ("reviewed", "rules")
    sources = {row.passage_id: row for row in out.read_rows("passages.jsonl", Passage)}
    assert sources["My own textbook"].source == "reviewed"
    assert all(sources[key].text for key in rows["drusen"].passages)
    entries = {row.label: row for row in out.read_rows("vocabulary.jsonl", VocabularyEntry)}
    assert "lacquer_crack" in entries["normal"].asked, "the whole task asks for it"
    [added] = [
        item
        for item in differences(read_vocabulary_file(_written(output, tmp_path)), read_vocabulary_file(sheet))
        if item.what == "group" and item.label == "cnv"
    ]
    assert (added.name, added.before, added.after) == ("lacquer_crack", None, "required")


def _written(output: StageOutput, folder: Path) -> Path:
    path = folder / "before.yaml"
    path.write_text(exported(output), encoding="utf-8")
    return path


def test_the_digest_decides_the_fingerprint_and_the_path_does_not(sheet, tmp_path):
    def fingerprint(named: ReviewedVocabulary | None) -> str:
        return knowledge.STAGE.fingerprint(knowledge.STAGE.select(science(named)), {})

    moved = tmp_path / "elsewhere.yaml"
    moved.write_bytes(sheet.read_bytes())
    assert fingerprint(pinned(sheet)) == fingerprint(pinned(moved)) != fingerprint(None)
    moved.write_bytes(sheet.read_bytes() + b"# read again\n")
    assert fingerprint(pinned(sheet)) != fingerprint(pinned(moved))


def test_where_the_file_is_not_the_store_has_it(sheet, tmp_path):
    named = pinned(sheet)
    first = run(tmp_path / "store", science(named))
    sheet.unlink()
    # Another output of the same vocabulary, so that it is computed again.
    again = run(tmp_path / "store", science(named, passages=5))
    assert again.read_bytes("knowledge.jsonl") == first.read_bytes("knowledge.jsonl")
    with pytest.raises(StageError, match="neither a file here nor in the store"):
        run(tmp_path / "other", science(named))
    kept = tmp_path / "store" / "vocabularies" / f"{named.digest}.yaml"
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(StoreError, match="damaged"):
        run(tmp_path / "store", science(named, passages=6))


def test_a_file_that_was_changed_since_is_refused(sheet, tmp_path):
    named = pinned(sheet)
    sheet.write_bytes(sheet.read_bytes() + b"\n# a late thought\n")
    with pytest.raises(SpecError, match="is another than the spec names"):
        run(tmp_path / "store", science(named))
    with pytest.raises(SpecError, match="no digest"):
        run(tmp_path / "store", science(ReviewedVocabulary(path=str(sheet))))


def test_a_finding_without_a_source_stops_the_run(sheet, tmp_path):
    text = sheet.read_text(encoding="utf-8").replace(
        "  required:\n", "  required:\n    lacquer crack: []\n", 1
    )
    sheet.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="'lacquer crack': no source supports it"):
        run(tmp_path / "store", science(pinned(sheet)))
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_says_so(tmp_path, content):
    path = tmp_path / "v.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_vocabulary_file(path)
    assert raised.value.where == str(path)


def test_all_modalities_can_be_exported_and_read(tmp_path):
    several = science(datasets=("octdl", "deepdrid", "mmc_amd"))
    out = run(tmp_path / "store", several)
    path = tmp_path / "v.yaml"
    path.write_text(exported(out), encoding="utf-8")
    found = read_vocabulary_file(path)
    rows = [row for row in out.read_rows("knowledge.jsonl", Knowledge) if row.description]
    assert {pair: entry.groups.all for pair, entry in found.entries.items()} == {
        (row.label, row.modality): in_order({*row.required, *row.supportive, *row.absent}) for row in rows
    }
    assert {modality for _, modality in found.entries} == set(Modality)
