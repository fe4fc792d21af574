"""Stage 1 as a whole: from folders to rows in a store."""

from __future__ import annotations

import base64
import datetime
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_layouts import LAYOUTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fundus_r1.datasets.digest import data_digest
from fundus_r1.datasets.synth import draw_collection
from fundus_r1.errors import DataError, SpecError
from fundus_r1.fingerprint import sha256
from fundus_r1.record import Record
from fundus_r1.rows import Leak, Quarantined, Question, Sample, Split, Triplet
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.science import Index, Synthetic
from fundus_r1.stages.base import Context, Counts
from fundus_r1.stages.index import STAGE, IndexSlice
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import from_parquet

SMALL = Synthetic(seed=3, patients=4, masked=6, benchmark=2, size=64)
Run = Callable[..., StageOutput]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the stage on data folders, whose digest is filled in as resolving a spec does."""

    def once(index: Index, *data: Path, digest: bool = True) -> StageOutput:
        if data and digest:
            index = index.model_copy(update={"data_digest": data_digest(data)})
        store = FolderStore(tmp_path / f"store-{len(list(tmp_path.glob('store-*')))}")
        output = OutputWriter(store, "index", "0" * 64)
        context = Context(
            science=IndexSlice(index=index),
            placement=Placement(data=tuple(str(root) for root in data)),
            store=store,
            output=output,
            inputs={},
        )
        return StageOutput(store, closed(output, STAGE.run(context).counts))

    return once


def closed(output: OutputWriter, counts: Counts) -> Record:
    now = datetime.datetime.now(datetime.UTC)
    return output.close(revision=1, science={}, prompts={}, inputs={}, counts=counts, models={}, started=now)


def scans(root: Path, names: list[str], first: int = 0) -> Path:
    for seed, name in enumerate(names, start=first):
        path = root / "OCT2017" / "train" / name.split("-")[0] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return root


def rows(output: StageOutput, name: str, row_type: type) -> list:  # type: ignore[type-arg]
    return list(output.read_rows(name, row_type))


def test_the_synthetic_collection(run: Run) -> None:
    output = run(Index(synthetic=SMALL, part_size=7))
    samples: list[Sample] = rows(output, "samples.jsonl", Sample)
    triplets: list[Triplet] = rows(output, "triplets.jsonl", Triplet)
    questions: list[Question] = rows(output, "questions.jsonl", Question)
    assert [s.sample_id for s in samples] == sorted(s.sample_id for s in samples)
    assert {s.dataset for s in samples} == {"idrid", "kermany", "top"}
    assert {t.sample_id for t in triplets} == {s.sample_id for s in samples}
    assert len(triplets) == sum(len(s.labels) for s in samples)
    assert {(q.benchmark, q.source) for q in questions} == {
        ("funbench", "synthetic"),
        ("omnimedvqa", "synthetic"),
    }
    assert rows(output, "leaks.jsonl", Leak) == rows(output, "quarantine.jsonl", Quarantined) == []
    assert output.record.counts == {
        "samples": 26,
        "train": sum(s.split is Split.TRAIN for s in samples),
        "validation": sum(s.split is Split.VALIDATION for s in samples),
        "masked": 6,
        "triplets": len(triplets),
        "quarantined": 0,
        "leaked": 0,
        "questions": len(questions),
    }
    census = output.read_json("census.json")
    assert sum(entry["samples"] for entry in census) == len(triplets)
    assert sum(entry["masked"] for entry in census) == 6


def test_parts_hold_all_samples_in_order_with_the_bytes_of_their_files(run: Run) -> None:
    output = run(Index(synthetic=SMALL, part_size=7))
    names = output.names("samples/")
    assert names == [f"samples/part-{n:05d}.parquet" for n in range(4)]
    parts = [from_parquet(output.read_bytes(name), Sample) for name in names]
    assert [len(part) for part in parts] == [7, 7, 7, 5]
    assert [row for part in parts for row, _ in part] == rows(output, "samples.jsonl", Sample)
    for sample, image in (pair for part in parts for pair in part):
        assert sha256(image) == sample.digest
        with Image.open(io.BytesIO(image)) as opened:
            assert opened.size == (sample.width, sample.height)


def test_questions_travel_with_their_images(run: Run) -> None:
    output = run(Index(synthetic=SMALL))
    together = []
    for name in ("funbench", "omnimedvqa"):
        for question, image in from_parquet(
            output.read_bytes(f"questions/{name}-synthetic.parquet"), Question
        ):
            assert sha256(image) == question.digest
            together.append(question)
    assert together == rows(output, "questions.jsonl", Question)


def test_the_same_science_gives_the_same_bytes(run: Run) -> None:
    first, second = (run(Index(synthetic=SMALL)) for _ in range(2))
    assert first.record.files == second.record.files


def test_no_patient_is_on_both_sides(run: Run) -> None:
    samples = rows(run(Index(synthetic=SMALL, validation_share=0.5)), "samples.jsonl", Sample)
    sides = [{s.patient for s in samples if s.split is split} for split in Split]
    assert all(sides)
    assert not sides[0] & sides[1]


def test_given_data_stands_beside_the_synthetic(run: Run, tmp_path: Path) -> None:
    folder = scans(tmp_path / "data", [f"CNV-{n}-1.png" for n in range(5)])
    draw_collection(tmp_path / "asked", SMALL.model_copy(update={"seed": 9}))
    alone = rows(run(Index(synthetic=SMALL)), "samples.jsonl", Sample)
    output = run(Index(synthetic=SMALL), folder, tmp_path / "asked" / "FunBench")
    together = rows(output, "samples.jsonl", Sample)
    assert {s.sample_id for s in together} - {s.sample_id for s in alone} == {
        f"kermany/train/CNV/CNV-{n}-1.png" for n in range(5)
    }
    # Adding a dataset moves nobody from one side to the other.
    assert {s.sample_id: s for s in alone}.items() <= {s.sample_id: s for s in together}.items()
    sources = {(q.benchmark, q.source) for q in rows(output, "questions.jsonl", Question)}
    assert sources == {("funbench", "synthetic"), ("omnimedvqa", "synthetic"), ("funbench", "given")}
    assert "questions/funbench-given.parquet" in output


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 9), size=st.integers(1, 10))
def test_parts_lose_and_double_nothing(run: Run, tmp_path: Path, count: int, size: int) -> None:
    folder = scans(tmp_path / f"data-{count}", [f"DME-{n}-1.png" for n in range(count)])
    output = run(Index(datasets=("kermany",), part_size=size, validation_share=0), folder)
    parts = [from_parquet(output.read_bytes(name), Sample) for name in output.names("samples/part-")]
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert [row.sample_id for part in parts for row, _ in part] == [
        f"kermany/train/DME/DME-{n}-1.png" for n in range(count)
    ]


def test_damaged_images_are_counted_and_left_out(run: Run, tmp_path: Path) -> None:
    folder = scans(tmp_path / "data", [f"CNV-{n}-1.png" for n in range(10)])
    bad = folder / "OCT2017/train/CNV/CNV-3-1.png"
    bad.write_bytes(bad.read_bytes()[:200])
    output = run(Index(), folder)
    assert [(q.path, q.reason) for q in rows(output, "quarantine.jsonl", Quarantined)] == [
        ("train/CNV/CNV-3-1.png", "truncated")
    ]
    assert (output.record.counts["samples"], output.record.counts["quarantined"]) == (9, 1)


def test_too_many_damaged_images_stop_the_run(run: Run, tmp_path: Path) -> None:
    folder = scans(tmp_path / "data", [f"CNV-{n}-1.png" for n in range(4)])
    (folder / "OCT2017/train/CNV/CNV-3-1.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 4 rows of kermany"):
        run(Index(), folder)
    assert run(Index(bad_share=0.25), folder).record.counts["samples"] == 3


def test_a_damaged_benchmark_image_is_counted(run: Run, tmp_path: Path) -> None:
    draw_collection(tmp_path / "data", SMALL)
    intact = run(Index(), tmp_path / "data").record.counts["questions"]
    image = next((tmp_path / "data/FunBench/datasets_preprocessed/TOP").iterdir())
    image.write_bytes(b"")
    with pytest.raises(DataError, match="rows of funbench"):
        run(Index(bad_share=0.0), tmp_path / "data")
    output = run(Index(bad_share=0.5), tmp_path / "data")
    lost = rows(output, "quarantine.jsonl", Quarantined)
    assert {(q.dataset, q.reason, q.path) for q in lost} == {("funbench", "empty", f"TOP/{image.name}")}
    assert output.record.counts["questions"] == intact - len(lost)


def test_leaked_images_leave_the_training_set(run: Run, tmp_path: Path) -> None:
    draw_collection(tmp_path / "data", SMALL)
    scan = next((tmp_path / "data/OmniMedVQA/Images/Synthetic OCT/test").iterdir())
    folder = tmp_path / "data/OCT2017/train/CNV"
    # The same picture under another name and in another format; another picture of the same patient.
    with Image.open(scan) as opened:
        opened.save(folder / "CNV-77-1.png")
    patient = scan.name.split("-")[1]
    scans(tmp_path / "data", [f"DME-{patient}-9.png", "DME-78-1.png", "CNV-77-2.png"])
    output = run(Index(bad_share=0), tmp_path / "data")
    assert [(leak.sample_id, leak.kind) for leak in rows(output, "leaks.jsonl", Leak)] == [
        ("kermany/train/CNV/CNV-77-1.png", "content"),
        ("kermany/train/CNV/CNV-77-2.png", "patient"),
        (f"kermany/train/DME/DME-{patient}-9.png", "patient"),
    ]
    kept = {s.sample_id for s in rows(output, "samples.jsonl", Sample)}
    assert "kermany/train/DME/DME-78-1.png" in kept
    assert not kept & {leak.sample_id for leak in rows(output, "leaks.jsonl", Leak)}
    assert {t.sample_id for t in rows(output, "triplets.jsonl", Triplet)} == kept


def test_nothing_left_to_train_with_is_an_error(run: Run, tmp_path: Path) -> None:
    draw_collection(tmp_path / "data/asked", SMALL)
    scan = next((tmp_path / "data/asked/OmniMedVQA/Images/Synthetic OCT/test").iterdir())
    for folder in ("IDRiD", "OCT2017", "TOP"):
        (tmp_path / "data/asked" / folder).rename(tmp_path / folder)
    scans(tmp_path / "data", [f"DME-{scan.name.split('-')[1]}-9.png"])
    with pytest.raises(DataError) as caught:
        run(Index(), tmp_path / "data")
    assert "no image to train with" in caught.value.what
    assert "1 of them leak" in caught.value.where


def test_a_folder_with_nothing_known_says_what_was_looked_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "photos").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        run(Index(synthetic=SMALL), tmp_path / "data")
    assert caught.value.where == str(tmp_path / "data")
    for word in ("B. Disease Grading", "OCT2017/train", "data.csv", "funbench", "omnimedvqa"):
        assert word in caught.value.hint


def test_a_missing_folder_and_another_scheme_are_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        run(Index(data_digest="0" * 64), tmp_path / "nothing", digest=False)
    with pytest.raises(DataError, match="s3://"):
        run(Index(data_digest="0" * 64), "s3://bucket/data", digest=False)


def test_without_data_and_drawings_there_is_nothing_to_do(run: Run) -> None:
    with pytest.raises(SpecError, match="There is no data"):
        run(Index())


def test_the_fingerprint_must_know_the_data(run: Run, tmp_path: Path) -> None:
    folder = scans(tmp_path / "data", [f"CNV-{n}-1.png" for n in range(3)])
    with pytest.raises(SpecError, match="not filled in"):
        run(Index(), folder, digest=False)
    digest = data_digest([folder])
    scans(folder, ["CNV-9-1.png"], first=9)
    with pytest.raises(DataError, match="when the run was planned"):
        run(Index(data_digest=digest), folder, digest=False)


def test_the_slice_is_the_index_part_of_the_science() -> None:
    science = Science(index=Index(seed=5))
    fingerprints = {
        STAGE.fingerprint(STAGE.select(s), {})
        for s in (science, Science(setup="B", index=Index(seed=5)), Science(index=Index(seed=6)))
    }
    assert STAGE.select(science).index.seed == 5
    assert len(fingerprints) == 2


def test_all_datasets_and_a_benchmark_whose_pictures_lie_in_a_table(run: Run, tmp_path: Path) -> None:
    folders = {name: write(tmp_path / "data") for name, write in LAYOUTS.items()}
    scan = folders["kermany"] / "train" / "CNV" / "CNV-77-0.jpeg"
    cells = {
        "index": "5", "image": base64.b64encode(scan.read_bytes()).decode(), "question": "Which OCT layer?",
        "A": "Choroid", "B": "Retina", "answer": "A", "clinical vqa task": "Nervous Tissue",
        "department": "Ophthalmology",
    }  # fmt: skip
    table = tmp_path / "data" / "GMAI-MMBench_VAL.tsv"
    table.write_text("\n".join("\t".join(line) for line in (cells, cells.values())))
    output = run(Index(min_side=16, bad_share=0.6, part_size=16), tmp_path / "data")
    samples: list[Sample] = rows(output, "samples.jsonl", Sample)
    # All scans of the small Kermany set are of one patient, who is in the benchmark.
    assert {s.dataset for s in samples} == set(LAYOUTS) - {"kermany"}
    assert {leak.kind for leak in rows(output, "leaks.jsonl", Leak)} == {"content", "patient"}
    assert {(s.dataset, s.modality.value) for s in samples} >= {
        ("deepdrid", "UWF"), ("deepdrid", "CFP"), ("mmc_amd", "OCT"), ("mmc_amd", "CFP"), ("retouch", "OCT"),
    }  # fmt: skip
    (question,) = rows(output, "questions.jsonl", Question)
    assert (question.benchmark, question.task, question.answers) == ("gmai", "NT", ("A",))
    table_bytes = output.read_bytes("questions/gmai-given.parquet")
    assert from_parquet(table_bytes, Question) == [(question, scan.read_bytes())]


@pytest.mark.shared
def test_exactly_five_of_the_real_training_scans_leak(run: Run, shared: Path) -> None:
    output = run(Index(), shared)
    leaks: list[Leak] = rows(output, "leaks.jsonl", Leak)
    assert [(leak.sample_id.rsplit("/", 1)[-1], leak.kind) for leak in leaks] == [
        ("CNV-154835-2.jpeg", "content"),
        ("CNV-1997439-7.jpeg", "content"),
        ("CNV-3541867-1.jpeg", "content"),
        ("CNV-364469-3.jpeg", "patient"),
        ("DME-30521-4.jpeg", "patient"),
    ]
    assert leaks[3].benchmark_image.endswith("test/CNV/CNV-364469-2.jpeg")
    items = json.loads((shared / "OmniMedVQA/QA_information/Open-access/OCT & X-Ray 2017.json").read_text())
    assert output.record.counts["questions"] == len(items)
    assert output.record.counts["samples"] == 19 - 5
    assert output.record.counts["quarantined"] == 0
    assert {s.dataset for s in rows(output, "samples.jsonl", Sample)} == {"kermany"}
