"""Our training data for other tools: LLaMA-Factory (which the paper uses for SFT) and verl.

``llamafactory``
    ``sharegpt`` conversations: `fundus_r1_train.jsonl`, `fundus_r1_validation.jsonl`, images as files
    below `images/`, and the `dataset_info.json` that names them. A conversation whose text holds a
    placeholder for an image is left out and counted.
``verl``
    `train.parquet` and `validation.parquet` in the form that our own GRPO stage gives verl
    (`training.grpo_prompts`). No prompt is left out for its length, because that depends on the
    policy's tokenizer: set ``data.filter_overlong_prompts``.

What is written is what the stage `trainset` holds, so it follows the setup. Rows are read and written
one after the other. `export.json` marks the folder as ours; any other folder must be empty.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from fundus_r1.errors import MachineError, StageError
from fundus_r1.rows import Conversation, Findings, Prompt, Sample, Split, Triplet, Verdict
from fundus_r1.spec import Science
from fundus_r1.storage.output import StageOutput
from fundus_r1.storage.tables import from_parquet, read_parquet
from fundus_r1.training.examples import grpo_prompts
from fundus_r1.training.grpo_prompts import PromptTable

Tool = Literal["llamafactory", "verl"]
Outputs = Mapping[str, StageOutput]

MARK = "export.json"
NAMES = {Split.TRAIN: "fundus_r1_train", Split.VALIDATION: "fundus_r1_validation"}
OURS = (
    "dataset_info.json",
    *(f"{name}.jsonl" for name in NAMES.values()),
    "train.parquet",
    "validation.parquet",
)
"""Files that an earlier export may have left."""
NEEDED: dict[Tool, tuple[str, ...]] = {
    "llamafactory": ("trainset",),
    "verl": ("index", "findings", "quality", "trainset"),
}
"""Stages whose outputs an export reads."""

_PLACEHOLDER = re.compile(r"<(?:image|video|audio)>")
_SUFFIX = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg"}


def prepare(folder: Path) -> None:
    """Makes a folder ready to be written: a new or empty one, or one that an export wrote.

    Raises:
        MachineError: it holds something else, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise MachineError("The place for the export is no folder", where=str(folder), hint="choose another")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise MachineError(
                "The folder is not empty, and no export of this program wrote it",
                where=str(folder),
                hint="choose a new folder, or empty this one",
            )
        for name in OURS:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "images", ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"The folder cannot be made: {error.strerror}", where=str(folder), hint="choose another"
        ) from error


def export(tool: Tool, folder: Path, science: Science, outputs: Outputs) -> dict[str, int]:
    """Writes the training data of a run; how many examples each file has, and how many were left out.

    Args:
        tool: for whom.
        folder: new, empty, or that of an earlier export.
        science: of the run.
        outputs: of the stages in `NEEDED`.

    Raises:
        StageError: the setup has no such data.
        MachineError: the folder cannot be used.
        DataError: a question's text would be taken for an image.
    """
    name, what = (
        ("sft.parquet", "SFT conversations") if tool == "llamafactory" else ("grpo.parquet", "GRPO prompts")
    )
    if name not in outputs["trainset"]:
        raise StageError(
            f"Setup {science.setup} has no {what}, which {tool} would train on",
            where="science.setup",
            hint="choose a setup that has them, for example --set science.setup=G",
        )
    prepare(folder)
    mark = {"tool": tool, "setup": science.setup, "trainset": outputs["trainset"].record.fingerprint}
    _write_json(folder / MARK, mark)
    table = outputs["trainset"].download_file(name, folder / f".{name}")
    try:
        counts = _WRITERS[tool](folder, table, science, outputs)
    finally:
        table.unlink(missing_ok=True)
    _write_json(folder / MARK, {**mark, "examples": counts})
    return counts


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# ---- LLaMA-Factory -----------------------------------------------------------------------


def image_name(sample_id: str, image: bytes) -> str:
    """A file name that is safe everywhere and the image's own: what can be read of the id, and a hash."""
    suffix = next((ending for magic, ending in _SUFFIX.items() if image.startswith(magic)), ".bin")
    plain = re.sub(r"[^A-Za-z0-9]+", "-", sample_id.rpartition(".")[0] or sample_id).strip("-")[-80:]
    return f"{plain}-{hashlib.sha256(sample_id.encode()).hexdigest()[:10]}{suffix}"


def _conversation(row: Conversation, image: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"<image>{row.prompt}"},
            {"role": "assistant", "content": row.response},
        ],
        "images": [f"images/{image}"],
        "id": row.triplet_id,
    }


def _llamafactory(folder: Path, table: Path, _: Science, outputs: Outputs) -> dict[str, int]:
    (folder / "images").mkdir()
    counts = dict.fromkeys(NAMES.values(), 0)
    left_out = 0
    files = {split: (folder / f"{name}.jsonl").open("w", encoding="utf-8") for split, name in NAMES.items()}
    try:
        for row, image in read_parquet(table, Conversation):
            # LLaMA-Factory counts the placeholders in all texts; one too many stops it.
            if _PLACEHOLDER.search(row.prompt + row.response):
                left_out += 1
                continue
            name = image_name(row.sample_id, image)
            path = folder / "images" / name
            if not path.exists():
                path.write_bytes(image)
            files[row.split].write(json.dumps(_conversation(row, name), ensure_ascii=False) + "\n")
            counts[NAMES[row.split]] += 1
    finally:
        for file in files.values():
            file.close()
    _write_json(folder / "dataset_info.json", {name: _described(name) for name, n in counts.items() if n})
    for name, n in counts.items():
        if not n:
            # An empty file is no data set to the tools that read it.
            (folder / f"{name}.jsonl").unlink()
    return counts | ({"left_out": left_out} if left_out else {})


def _described(name: str) -> dict[str, Any]:
    """An entry of LLaMA-Factory's ``dataset_info.json``."""
    return {
        "file_name": f"{name}.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }


# ---- verl --------------------------------------------------------------------------------


def _verl(folder: Path, table: Path, science: Science, outputs: Outputs) -> dict[str, int]:
    with PromptTable(folder / "train.parquet") as train:
        for prompt, image in read_parquet(table, Prompt):
            train.add(prompt, image)
    with PromptTable(folder / "validation.parquet") as validation:
        for prompt, image in _validation(science, outputs):
            validation.add(prompt, image)
    return {"train": train.count, "validation": validation.count}


def _validation(science: Science, outputs: Outputs) -> Iterator[tuple[Prompt, bytes]]:
    """Prompts of the validation split, chosen as those for training are; they are never trained on."""
    index = outputs["index"]
    held_out = {
        row.sample_id: row.split
        for row in index.read_rows("samples.jsonl", Sample)
        if row.split is Split.VALIDATION
    }
    triplets = [row for row in index.read_rows("triplets.jsonl", Triplet) if row.sample_id in held_out]
    if science.trainset.prompts == "accepted":
        verdicts = outputs["quality"].read_rows("verdicts.jsonl", Verdict)
        passed = {row.triplet_id for row in verdicts if row.accepted}
        triplets = [row for row in triplets if row.triplet_id in passed]
    findings = {
        row.sample_id: row.present
        for row in outputs["findings"].read_rows("findings.jsonl", Findings)
        if row.sample_id in held_out
    }
    by_sample: dict[str, list[Prompt]] = {}
    for prompt in grpo_prompts(triplets, findings, held_out, Split.VALIDATION):
        by_sample.setdefault(prompt.sample_id, []).append(prompt)
    for name in index.names("samples/"):
        for sample, image in from_parquet(index.read_bytes(name), Sample):
            for prompt in by_sample.get(sample.sample_id, ()):
                yield prompt, image


_WRITERS: dict[Tool, Callable[[Path, Path, Science, Outputs], dict[str, int]]] = {
    "llamafactory": _llamafactory,
    "verl": _verl,
}
