"""SFT as it runs: torchrun, two processes, checkpoints in the store, and kill -9 in between."""

from __future__ import annotations

import datetime
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from fundus_r1.errors import DataError, SpecError
from fundus_r1.models.tiny import build_tiny
from fundus_r1.models.weights import folder_digest
from fundus_r1.record import Record
from fundus_r1.rows import Conversation, Split
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.models import FolderModel, ModelRef, Models, TinyModel
from fundus_r1.spec.placement import SftPlace, StorePlace
from fundus_r1.spec.science import SftScience
from fundus_r1.stages import execute
from fundus_r1.stages.job import StageJob, slices
from fundus_r1.stages.sft import STAGE
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import to_parquet
from fundus_r1.training.sft_job import SftJob, unpack

SCIENCE = SftScience(
    epochs=2, learning_rate=3e-3, batch_size=4, max_length=400, precision="fp32", train_vision=True
)
PLACE = SftPlace(processes=2, micro_batch_size=1, save_steps=4)
TRAIN, VALIDATION = 22, 3
STEPS_PER_EPOCH = 6
COLOURS = {"drusen": (200, 180, 60), "retinal hemorrhage": (140, 20, 20), "hard exudates": (230, 230, 90)}
DEADLINE_S = 240


@dataclass
class Case:
    """A store with a training set, and the job of the stage on it."""

    store: FolderStore
    job: StageJob
    folder: Path

    def record(self) -> Record:
        """Of the finished stage; a hit if it is there."""
        return execute.run_job(self.job).record

    def start(self) -> subprocess.Popen[str]:
        """The stage as a program of its own."""
        path = self.folder / "job.json"
        path.write_text(self.job.model_dump_json())
        program = "from fundus_r1.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", program, "stage", "sft", "--spec", str(path)],
            env={**os.environ, "FUNDUS_R1_EVENTS": str(self.folder / "events.jsonl")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def steps_done(self) -> int:
        path = self.folder / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return max((json.loads(line).get("done", 0) for line in lines), default=0)

    def processes(self) -> list[psutil.Process]:
        """All that work for this case, wherever they have gone."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or [])
            if str(self.folder) in command and process.pid != os.getpid():
                found.append(process)
        return found

    def output(self) -> StageOutput:
        return StageOutput(self.store, self.record())


def _conversations() -> tuple[list[Conversation], list[bytes]]:
    rows, images = [], []
    for number in range(TRAIN + VALIDATION):
        name, colour = list(COLOURS.items())[number % len(COLOURS)]
        file = io.BytesIO()
        Image.new("RGB", (56, 56), colour).save(file, "PNG")
        rows.append(
            Conversation(
                triplet_id=f"t{number}",
                sample_id=f"s{number}",
                prompt=f"Question {number}: what is seen?",
                response=f"<think>The image shows {name}.</think> <answer>{name}</answer>",
                split=Split.TRAIN if number < TRAIN else Split.VALIDATION,
            )
        )
        images.append(file.getvalue())
    return rows, images


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> FolderModel:
    folder = build_tiny(tmp_path_factory.mktemp("models") / "tiny", TinyModel(hidden=64, layers=2))
    return FolderModel(path=str(folder), digest=folder_digest(folder))


def _case(
    folder: Path,
    student: ModelRef | None = None,
    *,
    setup: str = "G",
    science: SftScience = SCIENCE,
    place: SftPlace = PLACE,
) -> Case:
    store = FolderStore(folder / "store")
    writer = OutputWriter(store, "trainset", "0" * 64)
    writer.write_bytes("sft.parquet", to_parquet(*_conversations()))
    now = datetime.datetime.now(datetime.UTC)
    writer.close(revision=1, science={}, prompts={}, inputs={}, counts={}, models={}, started=now)
    models = Models(student=student or TinyModel())
    whole = Science(setup=setup, models=models, sft=science)  # type: ignore[arg-type]
    placement = Placement(
        store=StorePlace(kind="folder", path=str(folder / "store")), cache=str(folder), sft=place
    )
    job = StageJob(
        stage="sft", science=slices(whole)["sft"], placement=placement, inputs={"trainset": "0" * 64}
    )
    return Case(store, job, folder)


def _rows(output: StageOutput, name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)[name]
        for line in output.read_bytes("log.jsonl").splitlines()
        if name in json.loads(line)
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, student: FolderModel) -> Case:
    """A run that nothing disturbed."""
    case = _case(tmp_path_factory.mktemp("finished"), student)
    _, told = case.start().communicate(timeout=DEADLINE_S)
    assert "⟦<think>The image shows" in told, "the log shows what is learnt"
    assert case.steps_done() == 2 * STEPS_PER_EPOCH
    return case


@pytest.mark.engines
def test_the_student_learns_and_the_log_tells(finished: Case) -> None:
    output = finished.output()
    counts = output.record.counts
    losses, evaluations = _rows(output, "loss"), _rows(output, "eval_loss")
    assert len(losses) == 2 * STEPS_PER_EPOCH and len(evaluations) == 2
    assert losses[-1] < 0.6 * losses[0]
    assert evaluations[1] < evaluations[0]
    assert _rows(output, "epoch")[-1] == 2
    assert counts == {
        "trained": TRAIN,
        "validation": VALIDATION,
        "steps": 2 * STEPS_PER_EPOCH,
        "epochs": 2,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "eval_loss": evaluations[-1],
        "resumed_from": None,
    }
    assert output.record.models["student"].startswith("tiny@")


@pytest.mark.engines
def test_the_model_is_whole_and_no_more(finished: Case, student: FolderModel, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    source, output = Path(student.path), finished.output()
    kept = {path.name for path in source.iterdir()} - {"README.md"}
    assert set(output.names("model/")) == {f"model/{name}" for name in kept}
    assert not list(finished.store.list(f"{output.record.prefix}/checkpoints"))
    folder = output.download_folder("model", tmp_path / "model")
    for name in kept - {"config.json", "generation_config.json", "model.safetensors"}:
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert model.dtype is torch.float32
    for name in ("config.json", "generation_config.json"):
        was = (source / name).read_text().replace('"bfloat16"', '"float32"')
        assert json.loads((folder / name).read_text()) == json.loads(was)
    processor = AutoProcessor.from_pretrained(folder)
    image = Image.new("RGB", (56, 56), COLOURS["drusen"])
    inputs = processor(
        text=["<|vision_start|><|image_pad|><|vision_end|>Q"], images=[image], return_tensors="pt"
    )
    assert model.generate(**inputs, max_new_tokens=3, do_sample=False).shape[0] == 1


@pytest.mark.engines
def test_a_run_killed_in_its_second_epoch_ends_with_the_same_bits(
    finished: Case, student: FolderModel, tmp_path: Path
) -> None:
    case = _case(tmp_path, student)
    running = case.start()
    deadline = time.monotonic() + DEADLINE_S
    while case.steps_done() < 9:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline, "it makes no progress"
        time.sleep(0.01)
    assert len(case.processes()) >= 4, "stage, torchrun and two processes are at work"
    running.send_signal(signal.SIGKILL)
    running.communicate()
    psutil.wait_procs(case.processes(), timeout=20)
    assert case.processes() == []
    assert any(key.endswith("step-00000008/manifest.json") for key in case.store.list("sft/"))
    assert not any("/model/" in key for key in case.store.list("sft/"))

    resumed, whole = case.output(), finished.output()
    assert resumed.record.counts == {**whole.record.counts, "resumed_from": 8}
    for name in whole.names():
        assert resumed.read_bytes(name) == whole.read_bytes(name), name


def _job(folder: Path, student: FolderModel) -> SftJob:
    """For training in this very process."""
    unpack(zip(*_conversations(), strict=True), folder)
    return SftJob(
        science=SCIENCE,
        micro_batch_size=2,
        save_steps=100,
        store=StorePlace(kind="folder", path=str(folder / "store")),
        prefix="sft/alone",
        model=student.path,
        folder=str(folder),
    )


@pytest.mark.engines
def test_one_process_learns_what_two_learn(
    finished: Case, student: FolderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same conversations in each step, and the same mean over their tokens."""
    from fundus_r1.training.sft import train

    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu")
    job = _job(tmp_path, student)
    train(job)
    found = [row["loss"] for row in map(json.loads, job.log.open()) if "loss" in row]
    expected = _rows(finished.output(), "loss")
    assert found[:3] == pytest.approx(expected[:3], rel=1e-4)
    # AdamW's first steps make much of the last digits.
    assert found == pytest.approx(expected, rel=0.03)


@pytest.mark.engines
def test_a_conversation_that_does_not_fit_is_named_before_any_training(
    student: FolderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fundus_r1.training import sft

    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu")
    monkeypatch.setattr(sft, "_load", lambda job: pytest.fail("the model was loaded"))
    job = _job(tmp_path, student)
    collator = sft.Collator(sft.AutoProcessor.from_pretrained(student.path), 400)
    lengths = [collator.length(sft.Example(row, image)) for row, image in zip(*_conversations(), strict=True)]
    assert len(set(lengths)) > 1
    tight = job.science.model_copy(update={"max_length": max(lengths) - 1})
    with pytest.raises(DataError, match="its response would be cut") as caught:
        sft.train(job.model_copy(update={"science": tight}))
    assert lengths[int(caught.value.where.removeprefix("t"))] == max(lengths)


def test_a_batch_that_cannot_be_shared_is_told_of_at_once(tmp_path: Path) -> None:
    case = _case(tmp_path, place=SftPlace(processes=3))
    with pytest.raises(SpecError, match="cannot be shared by 3 processes"):
        case.record()


@pytest.mark.parametrize("setup", ["A", "C"])
def test_a_setup_without_sft_trains_nothing(tmp_path: Path, setup: str) -> None:
    record = _case(tmp_path, setup=setup).record()
    assert (record.counts, record.files) == ({"trained": 0}, {})


def test_placement_changes_no_fingerprint_and_the_student_does() -> None:
    def fingerprint(**changes: Any) -> str:
        science = Science(models=Models(student=TinyModel(**changes)))
        return STAGE.fingerprint(STAGE.select(science), {"trainset": "0"})

    assert fingerprint() == fingerprint(seed=0)
    assert fingerprint() != fingerprint(seed=1)
