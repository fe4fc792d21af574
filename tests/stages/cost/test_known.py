"""How much there is to do: from the run's own outputs, else from the spec, else from Tab. 2."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from fundus_r1.datasets.synth import draw_collection, image_counts
from fundus_r1.ontology.table_2 import TABLE_2
from fundus_r1.record import Record
from fundus_r1.rows import Modality, Sample, Split, VocabularyEntry
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.spec.science import Index, Science, Synthetic
from fundus_r1.stages.cost import quantities
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter

TINY = Path(__file__).resolve().parents[3] / "pipelines/specs/tiny.yaml"


def sample(number: int, modality: Modality, side: int, masked: bool) -> Sample:
    return Sample(
        sample_id=f"idrid/{number}.png", dataset="idrid", modality=modality, labels=("no_dr",),
        split=Split.TRAIN, patient=f"idrid:{number}", path=f"{number}.png", digest="0" * 64, pixels="0" * 64,
        width=side, height=side, media_type="image/png", findings=() if masked else None,
    )  # fmt: skip


def close(writer: OutputWriter, counts: dict[str, Any]) -> Record:
    now = datetime.datetime.now(datetime.UTC)
    return writer.close(revision=1, science={}, prompts={}, inputs={}, counts=counts, models={}, started=now)


def test_a_paper_like_spec_counts_with_table_2(store: FolderStore) -> None:
    known, told = quantities(RunSpec(), {}, store)
    assert known.total == sum(row.samples for row in TABLE_2) == 168_938
    assert known.masked == 8_593
    assert "Tab. 2" in told[0].origin


def test_only_the_datasets_that_the_spec_names_count(store: FolderStore) -> None:
    spec = RunSpec(science=Science(index=Index(datasets=("idrid", "kermany", "top"))))
    known, _ = quantities(spec, {}, store)
    of = {row.dataset: row for row in TABLE_2}
    expected = [of["idrid"].samples, of["kermany"].samples, of["top"].samples]
    assert [known.images[m] for m in (Modality.CFP, Modality.OCT, Modality.UWF)] == expected
    assert known.masked == 54


def test_a_drawn_collection_is_counted_without_being_drawn(store: FolderStore, tmp_path: Path) -> None:
    spec = Synthetic(patients=4, masked=5, benchmark=0, size=64)
    draw_collection(tmp_path / "drawn", spec)
    drawn = {
        Modality.CFP: "IDRiD/B*/*/a*/*.jpg", Modality.OCT: "OCT2017/train/*/*", Modality.UWF: "TOP/img/*"
    }  # fmt: skip
    assert image_counts(spec) == {m: len(list((tmp_path / "drawn").glob(g))) for m, g in drawn.items()}
    known, _ = quantities(load_spec(TINY), {}, store)
    assert (known.total, known.masked, known.questions) == (84, 24, 72)


def test_data_folders_count_beside_the_drawn_collection(store: FolderStore) -> None:
    spec = load_spec(TINY, ["placement.data=[/nowhere]", "science.index.datasets=[idrid]"])
    known, told = quantities(spec, {}, store)
    assert known.images[Modality.CFP] == 36 + 413
    assert told[0].origin.startswith("science.index.synthetic and Tab. 2")


def test_the_runs_own_outputs_come_first(store: FolderStore) -> None:
    index = OutputWriter(store, "index", "1" * 64)
    samples = [sample(0, Modality.CFP, 300, True), sample(1, Modality.CFP, 400, False)]
    index.write_rows("samples.jsonl", [*samples, sample(2, Modality.OCT, 100, False)])
    knowledge = OutputWriter(store, "knowledge", "2" * 64)
    entries = [
        VocabularyEntry(
            label="no_dr", modality=Modality.CFP, required=(), supportive=(), absent=(), asked=asked
        )
        for asked in (("microaneurysm",), ("microaneurysm", "drusen", "hard_exudate"))
    ]
    knowledge.write_rows("vocabulary.jsonl", entries)
    records = {
        "index": close(index, {"samples": 3, "triplets": 4, "questions": 9}),
        "knowledge": close(knowledge, {}),
        "quality": close(OutputWriter(store, "quality", "3" * 64), {"accepted": 2}),
    }
    known, told = quantities(RunSpec(), records, store)
    assert known.images == {Modality.CFP: 2, Modality.OCT: 1}
    assert known.sides[Modality.CFP] == pytest.approx(((300**2 + 400**2) / 2) ** 0.5)
    assert (known.masked, known.triplets, known.questions, known.accepted) == (1, 4, 9, 2)
    assert (known.pairs, known.asked, known.asked_at_most) == (2, 2, 3)
    assert known.hits == {"index", "knowledge", "quality"}
    assert {row.origin for row in told} == {
        f"counted by the stage {name}, in the store" for name in ("index", "knowledge", "quality")
    }
