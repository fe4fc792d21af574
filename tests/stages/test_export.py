"""Training data for other tools, checked by what those tools read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from made_run import MadeRun, put, write_run
from PIL import Image

from fundus_r1.errors import MachineError, StageError
from fundus_r1.rows import Conversation, Prompt, Split
from fundus_r1.spec import Science
from fundus_r1.stages.export import MARK, Outputs, Tool, export, image_name
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.tables import to_parquet
from fundus_r1.training.examples import grpo_prompts
from fundus_r1.training.grpo_prompts import SCHEMA

COUNT = 30
MADE = MadeRun()
TEXT = {"type": "string", "minLength": 1}
ENTRY = {
    # What LLaMA-Factory's data README asks of a multimodal sharegpt data set.
    "type": "object",
    "properties": {
        "file_name": TEXT,
        "formatting": {"const": "sharegpt"},
        "columns": {
            "type": "object",
            "properties": {"messages": TEXT, "images": TEXT},
            "required": ["messages", "images"],
            "additionalProperties": False,
        },
        "tags": {
            "type": "object",
            "properties": dict.fromkeys(("role_tag", "content_tag", "user_tag", "assistant_tag"), TEXT),
            "required": ["role_tag", "content_tag", "user_tag", "assistant_tag"],
            "additionalProperties": False,
        },
    },
    "required": ["file_name", "formatting", "columns", "tags"],
    "additionalProperties": False,
}


def line_schema(entry: dict[str, Any]) -> dict[str, Any]:
    tags, columns = entry["tags"], entry["columns"]

    def turn(role: str) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {tags["role_tag"]: {"const": role}, tags["content_tag"]: TEXT},
            "required": [tags["role_tag"], tags["content_tag"]],
            "additionalProperties": False,
        }

    return {
        "type": "object",
        "properties": {
            columns["messages"]: {
                "type": "array",
                "prefixItems": [turn(tags["user_tag"]), turn(tags["assistant_tag"])],
                "minItems": 2,
                "maxItems": 2,
            },
            columns["images"]: {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1},
        },
        "required": [columns["messages"], columns["images"]],
    }


@pytest.fixture
def science() -> Science:
    rules = {"engine": "rules", "model": "rules"}
    return Science.model_validate({"setup": "G", "models": {"writer": rules, "judge": rules}})


def conversation(number: int, response: str | None = None) -> Conversation:
    return Conversation(
        triplet_id=MADE.triplet(number).triplet_id,
        sample_id=MADE.sample(number).sample_id,
        prompt=MADE.triplet(number).question,
        response=response or MADE.trace(number).text,
        split=MADE.sample(number).split,
    )


def accepted() -> list[int]:
    return [number for number in range(COUNT) if MADE.verdict(number).accepted]


def prompts(split: Split) -> list[Prompt]:
    numbers = accepted()
    splits = {MADE.sample(number).sample_id: MADE.sample(number).split for number in numbers}
    findings = {MADE.sample(number).sample_id: MADE.findings(number).present for number in numbers}
    return grpo_prompts([MADE.triplet(number) for number in numbers], findings, splits, split)


def number_of(sample_id: str) -> int:
    return int(sample_id[-10:-4])


@pytest.fixture
def outputs(store: FolderStore) -> Outputs:
    rows = [conversation(number) for number in accepted()]
    train = prompts(Split.TRAIN)

    def trainset(writer: Any) -> None:
        images = [MADE.image(number) for number in accepted()]
        writer.write_bytes("sft.parquet", to_parquet(rows, images), rows=len(rows))
        pictures = [MADE.image(number_of(row.sample_id)) for row in train]
        writer.write_bytes("grpo.parquet", to_parquet(train, pictures), rows=len(train))

    return write_run(store, COUNT) | {"trainset": put(store, "trainset", trainset)}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_llamafactory_gets_conversations_that_its_data_format_describes(
    tmp_path: Path, science: Science, outputs: Outputs
) -> None:
    folder = tmp_path / "data"
    counts = export("llamafactory", folder, science, outputs)
    described = json.loads((folder / "dataset_info.json").read_text())
    assert set(described) == {"fundus_r1_train", "fundus_r1_validation"} == set(counts)
    seen = []
    for name, entry in described.items():
        jsonschema.validate(entry, ENTRY)
        rows = lines(folder / entry["file_name"])
        assert len(rows) == counts[name]
        for row in rows:
            jsonschema.validate(row, line_schema(entry))
            user, assistant = (turn["content"] for turn in row["messages"])
            assert (user + assistant).count("<image>") == len(row["images"]) == 1
            number = number_of(row["id"].removesuffix("#0"))
            assert user == f"<image>{MADE.triplet(number).question}" and assistant == MADE.trace(number).text
            assert (folder / row["images"][0]).read_bytes() == MADE.image(number)
            assert (name == "fundus_r1_validation") == (MADE.sample(number).split is Split.VALIDATION)
            seen.append(number)
    assert sorted(seen) == accepted()


def test_llamafactory_loads_with_the_library_that_it_loads_with(
    tmp_path: Path, science: Science, outputs: Outputs
) -> None:
    from datasets import load_dataset

    counts = export("llamafactory", tmp_path / "data", science, outputs)
    file = str(tmp_path / "data/fundus_r1_train.jsonl")
    loaded = load_dataset("json", data_files=[file], split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == counts["fundus_r1_train"]
    assert loaded[0]["messages"][0]["role"] == "user"


def test_a_conversation_that_holds_a_placeholder_is_left_out_and_counted(
    tmp_path: Path, store: FolderStore, science: Science
) -> None:
    rows = [
        conversation(0),
        conversation(1, "<think>see <image></think> <answer>x</answer>"),
        conversation(2),
    ]
    data = to_parquet(rows, [MADE.image(number) for number in range(3)])
    trainset = put(store, "trainset", lambda writer: writer.write_bytes("sft.parquet", data))
    counts = export("llamafactory", tmp_path / "data", science, {"trainset": trainset})
    assert counts == {"fundus_r1_train": 2, "fundus_r1_validation": 0, "left_out": 1}
    # An empty file is no data set to the tools that read it.
    assert set(json.loads((tmp_path / "data/dataset_info.json").read_text())) == {"fundus_r1_train"}
    assert not (tmp_path / "data/fundus_r1_validation.jsonl").exists()


def test_verl_gets_prompts_as_its_data_set_reads_them(
    tmp_path: Path, science: Science, outputs: Outputs
) -> None:
    from datasets import load_dataset

    counts = export("verl", tmp_path / "data", science, outputs)
    for name, split in (("train", Split.TRAIN), ("validation", Split.VALIDATION)):
        expected = prompts(split)
        assert counts[name] == len(expected) > 0
        file = str(tmp_path / f"data/{name}.parquet")
        loaded = load_dataset("parquet", data_files=file, split="train", cache_dir=str(tmp_path / "cache"))
        assert set(loaded.column_names) == set(SCHEMA.names)
        for number, (row, prompt) in enumerate(zip(loaded, expected, strict=True)):
            assert row["prompt"] == [{"role": "user", "content": f"<image>{prompt.prompt}"}]
            assert row["extra_info"]["index"] == number
            assert Prompt.model_validate_json(row["extra_info"]["prompt"]) == prompt
            image = row["images"][0]["bytes"]
            assert image == MADE.image(number_of(prompt.sample_id))
            assert Image.open(io.BytesIO(image)).size[0] > 0


def test_all_triplets_of_the_validation_split_are_there_where_the_setup_takes_all(
    tmp_path: Path, science: Science, outputs: Outputs
) -> None:
    tree = science.model_dump()
    tree["trainset"]["prompts"] = "all"
    counts = export("verl", tmp_path / "data", Science.model_validate(tree), outputs)
    assert counts["validation"] == sum(MADE.sample(n).split is Split.VALIDATION for n in range(COUNT))


def test_a_foreign_folder_is_left_alone(tmp_path: Path, science: Science, outputs: Outputs) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    mine = folder / "dataset_info.json"
    mine.write_text("{}")
    with pytest.raises(MachineError, match="not empty"):
        export("llamafactory", folder, science, outputs)
    assert list(folder.iterdir()) == [mine] and mine.read_text() == "{}"
    with pytest.raises(MachineError, match="no folder"):
        export("llamafactory", mine, science, outputs)


def test_an_earlier_export_is_replaced_and_what_else_lies_there_stays(
    tmp_path: Path, science: Science, outputs: Outputs
) -> None:
    folder = tmp_path / "data"
    export("llamafactory", folder, science, outputs)
    (folder / "notes.txt").write_text("mine")
    export("verl", folder, science, outputs)
    names = {path.name for path in folder.iterdir()}
    assert names == {MARK, "train.parquet", "validation.parquet", "notes.txt"}
    assert json.loads((folder / MARK).read_text())["tool"] == "verl"


@pytest.mark.parametrize("tool", ["llamafactory", "verl"])
def test_a_setup_without_such_data_says_so(
    tmp_path: Path, store: FolderStore, science: Science, tool: Tool
) -> None:
    trainset = put(store, "trainset", lambda writer: writer.write_json("knowledge_texts.json", {}))
    with pytest.raises(StageError, match="Setup G has no"):
        export(tool, tmp_path / "data", science, {"trainset": trainset})
    assert not (tmp_path / "data").exists()


def test_image_names_are_safe_and_differ_where_ids_do() -> None:
    image = MADE.image(0)
    names = {
        image_name(sample_id, image)
        for sample_id in ("a/b.png", "a-b.png", "../b.png", "ä/b c.png", "a/b.jpg")
    }
    assert len(names) == 5
    assert all(
        name.endswith(".jpg") and "/" not in name and name.isascii() and ".." not in name for name in names
    )
