"""A stage's output: written file by file, closed by its record, verified on reading."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from fundus_r1.errors import StoreError
from fundus_r1.record import Record
from fundus_r1.rows import Leak, Quarantined
from fundus_r1.storage import output as output_module
from fundus_r1.storage.output import OutputWriter, StageOutput, all_records, file_sha256, find_record
from fundus_r1.storage.protocol import Store

FINGERPRINT = "ab" * 32
LEAKS = [
    Leak(sample_id=f"idrid/{n}", patient="idrid:ü\u2028", kind="content", benchmark="b", benchmark_image="i")
    for n in range(3)
]


def close(writer: OutputWriter) -> Record:
    return writer.close(
        revision=1, science={"seed": 7}, prompts={"p": "aa"}, inputs={"index": "cd" * 32},
        counts={"leaks": 3}, models={"observer": "rules"}, started=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip


def written(store: Store, tmp_path: Path) -> StageOutput:
    writer = OutputWriter(store, "index", FINGERPRINT)
    writer.write_rows("leaks.jsonl", LEAKS)
    writer.write_json("census.json", {"b": [1, 2.5], "a": "é"})
    writer.write_bytes("samples/part-00000.parquet", b"PAR1", rows=2)
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "weights.bin").write_bytes(b"w" * 1000)
    writer.upload_folder("model", folder)
    return StageOutput(store, close(writer))


def test_all_kinds_of_files_are_read_back(store: Store, tmp_path: Path) -> None:
    output = written(store, tmp_path)
    assert list(output.read_rows("leaks.jsonl", Leak)) == LEAKS
    assert output.read_json("census.json") == {"a": "é", "b": [1, 2.5]}
    assert output.read_bytes("samples/part-00000.parquet") == b"PAR1"
    target = output.download_folder("model", tmp_path / "down")
    assert (target / "sub" / "weights.bin").read_bytes() == b"w" * 1000
    assert output.names("model/") == ["model/config.json", "model/sub/weights.bin"]
    assert "census.json" in output and "nothing.json" not in output


def test_the_record_says_what_is_there(store: Store, tmp_path: Path) -> None:
    record = written(store, tmp_path).record
    assert find_record(store, "index", FINGERPRINT) == record
    assert record.files["leaks.jsonl"].rows == 3
    assert record.files["samples/part-00000.parquet"].rows == 2
    assert record.files["model/sub/weights.bin"].size == 1000
    assert record.inputs == {"index": "cd" * 32}
    assert list(record.files) == sorted(record.files)


def test_an_output_exists_only_with_its_record(store: Store) -> None:
    writer = OutputWriter(store, "index", FINGERPRINT)
    writer.write_json("census.json", [])
    assert find_record(store, "index", FINGERPRINT) is None
    close(writer)
    assert find_record(store, "index", FINGERPRINT) is not None


def test_rows_and_json_have_the_same_bytes_every_time(store: Store) -> None:
    first, second = OutputWriter(store, "index", "1"), OutputWriter(store, "index", "2")
    for writer, value in ((first, {"a": 1, "b": 2}), (second, {"b": 2, "a": 1})):
        writer.write_json("j", value)
        writer.write_rows("r", LEAKS)
    assert {n: r.sha256 for n, r in first.files.items()} == {n: r.sha256 for n, r in second.files.items()}


@pytest.mark.parametrize("name", ["leaks.jsonl", "census.json", "model/sub/weights.bin"])
def test_damage_is_refused_however_the_file_is_read(store: Store, tmp_path: Path, name: str) -> None:
    output = written(store, tmp_path)
    store.put(f"{output.record.prefix}/{name}", b"[]")
    for read in (
        lambda: output.read_bytes(name),
        lambda: output.download_file(name, tmp_path / "there" / "file"),
        lambda: list(output.read_rows(name, Leak)),
    ):
        with pytest.raises(StoreError, match="does not have the checksum") as caught:
            read()
        assert name in caught.value.where and "record.json" in caught.value.hint


def test_large_files_are_read_from_disk_and_checked_before_the_first_row(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_module, "IN_MEMORY", 100)
    output = written(store, tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    output = StageOutput(store, output.record, scratch)
    reading = output.read_rows("leaks.jsonl", Leak)
    assert next(reading) == LEAKS[0]
    assert len(list(scratch.rglob("*.jsonl"))) == 1
    assert list(reading) == LEAKS[1:]
    assert list(scratch.iterdir()) == []
    whole = store.get(f"{output.record.prefix}/leaks.jsonl") or b""
    store.put(f"{output.record.prefix}/leaks.jsonl", whole[:-2] + b" \n")
    with pytest.raises(StoreError, match="does not have the checksum"):
        next(output.read_rows("leaks.jsonl", Leak))
    assert list(scratch.iterdir()) == []


def test_a_reader_that_stops_early_leaves_no_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_module, "IN_MEMORY", 100)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    reading = StageOutput(store, written(store, tmp_path).record, scratch).read_rows("leaks.jsonl", Leak)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert list(scratch.iterdir()) == []


def test_rows_of_a_generator_that_fails_are_not_written(store: Store, tmp_path: Path) -> None:
    def failing():  # type: ignore[no-untyped-def]
        yield LEAKS[0]
        raise StoreError("a part is missing")

    writer = OutputWriter(store, "index", FINGERPRINT, tmp_path)
    with pytest.raises(StoreError, match="missing"):
        writer.write_rows("leaks.jsonl", failing())
    assert writer.files == {} and list(store.list("index/")) == []
    assert [path for path in tmp_path.iterdir() if path.name.startswith("fr1-rows")] == []


def test_no_rows_are_a_file_without_lines(store: Store) -> None:
    writer = OutputWriter(store, "index", FINGERPRINT)
    assert writer.write_rows("none.jsonl", []).rows == 0
    assert list(StageOutput(store, close(writer)).read_rows("none.jsonl", Leak)) == []


def test_what_is_gone_or_was_never_there_is_told(store: Store, tmp_path: Path) -> None:
    output = written(store, tmp_path)
    store.delete(f"{output.record.prefix}/census.json")
    with pytest.raises(StoreError, match="not in the store"):
        output.read_json("census.json")
    with pytest.raises(StoreError, match="no such object"):
        output.download_file("census.json", tmp_path / "x")
    with pytest.raises(StoreError, match="has no file other"):
        output.read_bytes("other")
    with pytest.raises(StoreError, match="has no folder mod"):
        output.download_folder("mod", tmp_path / "y")


def test_a_line_that_is_no_row_is_named(store: Store, tmp_path: Path) -> None:
    output = written(store, tmp_path)
    with pytest.raises(StoreError, match="Line 1 is no Quarantined"):
        list(output.read_rows("leaks.jsonl", Quarantined))


def test_a_record_of_another_version_is_told(store: Store, tmp_path: Path) -> None:
    key = f"{written(store, tmp_path).record.prefix}/record.json"
    for content in (b"not json", json.dumps({"stage": "index"}).encode()):
        store.put(key, content)
        with pytest.raises(StoreError, match="record cannot be read") as caught:
            find_record(store, "index", FINGERPRINT)
        assert key in caught.value.where


def test_all_records_are_found_and_nothing_else(store: Store, tmp_path: Path) -> None:
    written(store, tmp_path)
    for stage, fingerprint in (("index", "11"), ("findings", "22"), ("other", "33")):
        close(OutputWriter(store, stage, fingerprint))
    store.put("index/11/deep/record.json", b"not a record")
    store.put("index/44/unfinished.json", b"{}")
    found = {(record.stage, record.fingerprint) for record in all_records(store, ["index", "findings"])}
    assert found == {("index", FINGERPRINT), ("index", "11"), ("findings", "22")}


def test_the_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert file_sha256(tmp_path / "empty").startswith("e3b0c44298fc1c14")
