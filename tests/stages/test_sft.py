"""SFT as it runs: by each launcher, with checkpoints in the store, and kill -9 in between."""

from __future__ import annotations

import datetime
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from fundus_r1.errors import SpecError
from fundus_r1.models.tiny import build_tiny
from fundus_r1.models.weights import folder_digest
from fundus_r1.record import Record
from fundus_r1.rows import Conversation, Split
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.models import FolderModel, ModelRef, Models, TinyModel
from fundus_r1.spec.placement import SftPlace, StorePlace
from fundus_r1.spec.training import SftScience
from fundus_r1.stages import execute
from fundus_r1.stages.base import as_json
from fundus_r1.stages.job import StageJob
from fundus_r1.stages.sft import STAGE
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import to_parquet

SCIENCE = SftScience(
    epochs=2, learning_rate=3e-3, batch_size=4, max_length=400, precision="fp32", train_vision=True
)
PLACE = SftPlace(processes=2, micro_batch_size=1, save_steps=4, gradient_checkpointing=False)
TRAIN, VALIDATION = 22, 3
STEPS_PER_EPOCH = 6
COLOURS = {"drusen": (200, 180, 60), "retinal hemorrhage": (140, 20, 20), "hard exudates": (230, 230, 90)}
DEADLINE_S = 240
LIMITED = {"processor_config.json", "preprocessor_config.json"}
"""Hold the limits of `science.pixels`."""


@dataclass
class Case:
    """A store with a training set, and the job of the stage on it."""

    store: FolderStore
    job: StageJob
    folder: Path

    def record(self) -> Record:
        """Of the finished stage; a hit if it is there."""
        return execute.run_job(self.job).record

    def again(self, **changes: Any) -> Case:
        """The same store and science at another place."""
        sft = self.job.placement.sft.model_copy(update=changes)
        placement = self.job.placement.model_copy(update={"sft": sft})
        return Case(self.store, self.job.model_copy(update={"placement": placement}), self.folder)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """The stage as a program of its own."""
        path = self.folder / "job.json"
        path.write_text(self.job.model_dump_json())
        program = "from fundus_r1.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", program, "stage", "sft", "--spec", str(path)],
            env={**os.environ, "FUNDUS_R1_EVENTS": str(self.folder / "events.jsonl"), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self, running: subprocess.Popen[str], when: Callable[[], bool]) -> None:
        """Kills the stage with -9 as soon as something is so; all of its processes are gone then."""
        deadline = time.monotonic() + DEADLINE_S
        while not when():
            assert running.poll() is None, running.communicate()[1]
            assert time.monotonic() < deadline, "it makes no progress"
            time.sleep(0.01)
        assert len(self.processes()) >= 4, "stage, launcher and two processes are at work"
        running.send_signal(signal.SIGKILL)
        running.communicate()
        psutil.wait_procs(self.processes(), timeout=20)
        assert self.processes() == []

    def notes(self) -> list[str]:
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [event["text"] for event in map(json.loads, lines) if event["kind"] == "note"]

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
        stage="sft", science=as_json(STAGE.select(whole)), placement=placement, inputs={"trainset": "0" * 64}
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
    made = {"config.json", "generation_config.json", "model.safetensors", *LIMITED}
    for name in kept - made:
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


def _curve(output: StageOutput) -> list[dict[str, Any]]:
    """The log without what the clock and the machine decide."""
    rows = [json.loads(line) for line in output.read_bytes("log.jsonl").splitlines()]
    for row in rows:
        row.pop("tokens_per_s", None), row.pop("memory", None)
    return rows


def _same(resumed: StageOutput, whole: StageOutput) -> None:
    assert _curve(resumed) == _curve(whole)
    for name in whole.names("model/"):
        assert resumed.read_bytes(name) == whole.read_bytes(name), name


def _start_again(case: Case, whole: StageOutput, resumed_from: int | None) -> None:
    assert not any("/model/" in key for key in case.store.list("sft/"))
    running = case.start()
    told = running.communicate(timeout=DEADLINE_S)[1]
    assert running.returncode == 0, told
    resumed = case.output()
    assert resumed.record.counts == {**whole.record.counts, "resumed_from": resumed_from}
    _same(resumed, whole)
    expected = [f"goes on from the checkpoint of step {resumed_from}"] if resumed_from else []
    assert case.notes() == expected


@pytest.mark.engines
@pytest.mark.parametrize(("step", "resumed_from"), [pytest.param(2, None, marks=pytest.mark.long), (9, 8)])
def test_a_killed_run_ends_with_the_same_bits(
    finished: Case, student: FolderModel, tmp_path: Path, step: int, resumed_from: int | None
) -> None:
    """Before its first checkpoint, and in its second epoch."""
    case = _case(tmp_path, student)
    case.kill(case.start(), lambda: case.steps_done() >= step)
    _start_again(case, finished.output(), resumed_from)


@pytest.mark.long
@pytest.mark.engines
def test_a_checkpoint_whose_upload_was_killed_is_none(
    finished: Case, student: FolderModel, tmp_path: Path
) -> None:
    """Training goes on during an upload, until the next checkpoint."""
    case = _case(tmp_path, student)
    with (tmp_path / "store" / ".fundus-r1" / "lock").open("w") as lock:
        # Files can be written meanwhile, but what makes them a checkpoint cannot.
        fcntl.flock(lock, fcntl.LOCK_EX)
        case.kill(case.start(), lambda: case.steps_done() >= 8)
    keys = list(case.store.list("sft/"))
    assert any("step-00000004/files" in key for key in keys)
    assert not any("step-00000008" in key or key.endswith("manifest.json") for key in keys)
    _start_again(case, finished.output(), None)


@pytest.mark.engines
@pytest.mark.parametrize(
    ("deepspeed", "launcher"),
    [
        pytest.param("none", "torchrun", marks=pytest.mark.long),
        pytest.param("zero2", "ray", marks=pytest.mark.long),
        ("zero3", "torchrun"),
    ],
)
def test_another_number_of_processes_and_another_launcher_go_on(
    finished: Case, student: FolderModel, tmp_path: Path, deepspeed: str, launcher: str
) -> None:
    """And the loss curve is that of plain DDP, whichever state was shared out before."""
    case = _case(tmp_path, student, place=PLACE.model_copy(update={"deepspeed": deepspeed}))
    case.kill(case.start(), lambda: case.steps_done() >= 6)
    shards = [key for key in case.store.list("sft/") if "00000004" in key and "optim_states" in key]
    assert len(shards) == (0 if deepspeed == "none" else 2), "a process saves its own part"
    case = case.again(processes=1, launcher=launcher)
    counts, whole = case.record().counts, finished.output()
    assert counts["resumed_from"] == 4
    found, expected = _rows(case.output(), "loss"), _rows(whole, "loss")
    assert found == pytest.approx(expected, abs=1e-3)


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
