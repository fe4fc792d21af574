"""Training itself, in this process and on a tiny student: that it teaches what is meant, and nothing else."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training.taught import conversation, picture

from fundus_r1.errors import ModelError
from fundus_r1.spec.placement import SftPlace, StorePlace, Trackers
from fundus_r1.spec.training import Lora, SftScience
from fundus_r1.training.sft_job import SftJob

pytestmark = pytest.mark.engines

FINDINGS = (
    "drusen", "hard exudates", "cotton wool spots", "a macular hole", "neovascularization", "laser scars",
    "papilledema", "a normal fundus",
)  # fmt: skip
RESPONSES = [f"<think>The image shows {name}.</think> <answer>{name}</answer>" for name in FINDINGS]
IMAGES = [picture((112, 112), seed=number) for number in range(len(FINDINGS))]


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu")


def _job(
    folder: Path,
    model: Path,
    science: dict[str, Any],
    place: dict[str, Any] | None = None,
    trackers: Trackers | None = None,
) -> SftJob:
    from fundus_r1.training.encoder import Encoder
    from fundus_r1.training.sft_files import unpack

    # All are asked the same, so only the image tells what to answer.
    rows = [
        (conversation(response, prompt="What is seen?", name=f"t{number}"), image)
        for number, (response, image) in enumerate(zip(RESPONSES, IMAGES, strict=True))
    ]
    unpack(rows, folder, Encoder.of(model), 400)
    whole = {"epochs": 1, "batch_size": 4, "learning_rate": 3e-3, "max_length": 400, "precision": "fp32"}
    return SftJob(
        science=SftScience.model_validate(whole | science),
        place=SftPlace.model_validate(
            {"launcher": "process", "micro_batch_size": 4, "gradient_checkpointing": False} | (place or {})
        ),
        trackers=trackers or Trackers(),
        store=StorePlace(kind="folder", path=str(folder / "store")),
        prefix="sft/alone",
        model=str(model),
        folder=str(folder),
    )


def _train(job: SftJob) -> list[dict[str, Any]]:
    """The log of its steps."""
    from fundus_r1.training.sft import train

    train(job)
    return [row for row in map(json.loads, job.log.open()) if "loss" in row]


def _answer(model: Any, processor: Any, image: bytes) -> str:
    import io

    from PIL import Image

    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is seen?"}]}
    text = processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
    given = processor(text=[text], images=[Image.open(io.BytesIO(image)).convert("RGB")], return_tensors="pt")
    said = model.generate(**given, max_new_tokens=60, do_sample=False)[0, given["input_ids"].shape[1] :]
    return str(processor.tokenizer.decode(said))


def test_eight_samples_are_learnt_by_heart(tiny: Path, tmp_path: Path) -> None:
    """A mask that takes in the prompt counts other tokens; one that drops the end does not end; and without
    the image all eight would get the same answer."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    science = {"epochs": 90, "batch_size": 8, "learning_rate": 6e-3, "train_projector": True}
    job = _job(tmp_path, tiny, science, {"micro_batch_size": 8})
    log = _train(job)
    assert log[-1]["loss"] < 0.01
    processor = AutoProcessor.from_pretrained(job.trained)
    ended = [response + "<|im_end|>" for response in RESPONSES]
    learnt = sum(len(processor.tokenizer(text)["input_ids"]) for text in ended)
    assert {row["learnt_tokens"] for row in log} == {learnt}
    model = AutoModelForImageTextToText.from_pretrained(job.trained)
    assert [_answer(model, processor, image) for image in IMAGES] == ended


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("science", "place", "learns"),
    [
        ({}, {}, {"model", "lm_head"}),
        ({"train_projector": True}, {}, {"model", "lm_head", "merger"}),
        ({"train_vision": True}, {}, {"model", "lm_head", "visual"}),
        ({"lora": Lora(rank=2)}, {}, {"model"}),
        ({"precision": "bf16"}, {}, {"model", "lm_head"}),
        ({}, {"gradient_checkpointing": True}, {"model", "lm_head"}),
        ({}, {"pack_tokens": 400}, {"model", "lm_head"}),
    ],
    ids=["plain", "projector", "vision", "lora", "bf16", "checkpointing", "packed"],
)
def test_what_is_to_learn_learns(
    tiny: Path, tmp_path: Path, science: dict[str, Any], place: dict[str, Any], learns: set[str]
) -> None:
    import torch

    job = _job(tmp_path, tiny, science, place)
    log = _train(job)
    assert len(log) == 2 and all(0 < row["loss"] < 20 and row["grad_norm"] > 0 for row in log)
    was, now = _weights(tiny), _weights(job.trained)
    assert was.keys() == now.keys(), "a whole model, without adapters"
    assert {tensor.dtype for tensor in now.values()} == {
        torch.bfloat16 if job.science.precision == "bf16" else torch.float32
    }
    parts: Callable[[str], str] = lambda name: (  # noqa: E731
        "merger" if ".merger." in name or "visual.merger" in name else
        "visual" if name.startswith("visual") else
        name.split(".")[0]
    )  # fmt: skip
    changed = {parts(name) for name in was if not torch.equal(was[name].float(), now[name].float())}
    assert changed == learns


def test_the_way_a_step_is_computed_does_not_change_its_loss(tiny: Path, tmp_path: Path) -> None:
    losses = []
    for name, place in [("padded", {}), ("packed", {"pack_tokens": 800}), ("again", {"micro_batch_size": 1})]:
        log = _train(_job(tmp_path / name, tiny, {"learning_rate": 1e-4}, place))
        losses.append([row["loss"] for row in log])
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], rel=1e-4)


def test_tensorboard_is_told(tiny: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = tmp_path / "told"
    log = _train(_job(tmp_path, tiny, {}, trackers=Trackers(tensorboard=str(told))))
    events = EventAccumulator(str(told)).Reload()
    for name in ("loss", "grad_norm", "learning_rate", "tokens_per_s"):
        found = [event.value for event in events.Scalars(f"train/{name}")]
        assert found == pytest.approx([row[name] for row in log], rel=1e-5)


def test_wandb_is_told_offline(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    _train(_job(tmp_path, tiny, {}, trackers=Trackers(wandb="fundus")))
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_mlflow_is_told(tiny: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    place = f"sqlite:///{tmp_path / 'told.db'}"
    _train(_job(tmp_path, tiny, {}, trackers=Trackers(mlflow=place)))
    mlflow.set_tracking_uri(place)
    assert "loss" in mlflow.search_runs(search_all_experiments=True, output_format="list")[0].data.metrics


def test_a_learning_rate_that_blows_up_ends_the_run(tiny: Path, tmp_path: Path) -> None:
    science = {"epochs": 20, "learning_rate": 3.0, "max_grad_norm": 1e9, "warmup_share": 0.5}
    with pytest.raises(ModelError, match=r"The loss grows|norm of the gradients|The loss of step"):
        _train(_job(tmp_path, tiny, science))


def test_a_checkpoint_of_other_weights_is_refused(tiny: Path, tmp_path: Path) -> None:
    from fundus_r1.storage import open_store
    from fundus_r1.training import checkpoints

    job = _job(tmp_path / "a", tiny, {}, {"save_steps": 1})
    _train(job)
    assert checkpoints.latest(open_store(job.store), job.prefix, tmp_path / "resume") == 2
    other = _job(tmp_path / "b", tiny, {"train_vision": True})
    with pytest.raises(ModelError, match="trains other weights"):
        _train(other.model_copy(update={"resume": str(tmp_path / "resume")}))


SPY = """
import json, sys
from pathlib import Path
from fundus_r1.training import sft

train = sft.SftTrainer.train

def watched(self, **given):
    done = train(self, **given)
    held = {name: [p.ds_tensor.numel(), p.ds_numel] for name, p in self.model.named_parameters()}
    Path(sys.argv[1]).with_name(f"held-{sft.rank()}.json").write_text(json.dumps(held))
    return done

sft.SftTrainer.train = watched
sft.main(Path(sys.argv[1]))
"""


def test_with_zero3_each_process_holds_its_part(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fundus_r1.storage import open_store
    from fundus_r1.training import process_group

    place = {"launcher": "torchrun", "processes": 2, "micro_batch_size": 2, "deepspeed": "zero3"}
    job = _job(tmp_path, tiny, {}, place | {"save_steps": 1})
    (tmp_path / "job.json").write_text(job.model_dump_json())
    (tmp_path / "spy.py").write_text(textwrap.dedent(SPY))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process_group.run("spy", tmp_path / "job.json", job.place, tmp_path)
    for number in range(2):
        held = json.loads((tmp_path / f"held-{number}.json").read_text())
        assert held and all(part == -(-whole // 2) for part, whole in held.values())
    keys = list(open_store(job.store).list("sft/alone"))
    for kind in ("model", "optim"):
        shards = [key for key in keys if "step-00000002" in key and key.endswith(f"{kind}_states.pt")]
        assert [key.split("_rank_")[1][0] for key in sorted(shards)] == ["0", "1"]
    assert _weights(job.trained).keys() == _weights(tiny).keys()
