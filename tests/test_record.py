"""The record of an output."""

from __future__ import annotations

import datetime

import pytest
from pydantic import ValidationError

from fundus_r1.record import SCHEMA_VERSION, FileRef, Record, output_prefix

START = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def record() -> Record:
    return Record(
        stage="index",
        fingerprint="0123456789abcdef" * 4,
        revision=2,
        science={"seed": 1, "datasets": ["idrid"]},
        prompts={"observer": "aa"},
        inputs={},
        files={"samples.jsonl": FileRef(key="samples.jsonl", sha256="bb", size=3, rows=1)},
        counts={"samples": 1, "share": 0.5, "model": "x", "nothing": None},
        started=START,
        finished=START + datetime.timedelta(seconds=1.5),
    )


def test_a_record_survives_its_json() -> None:
    assert Record.model_validate_json(record().model_dump_json()) == record()


def test_counts_keep_their_kinds() -> None:
    counts = Record.model_validate_json(record().model_dump_json()).counts
    assert [type(value) for value in counts.values()] == [int, float, str, type(None)]


def test_it_knows_its_place_and_its_time() -> None:
    assert record().prefix == output_prefix("index", record().fingerprint) == f"index/{record().fingerprint}"
    assert record().short == "0123456789ab"
    assert record().seconds == 1.5
    assert record().schema_version == SCHEMA_VERSION
    assert record().program.startswith("fundus-r1 ")


def test_what_it_does_not_know_is_refused() -> None:
    values = record().model_dump()
    with pytest.raises(ValidationError):
        Record.model_validate({**values, "surprise": 1})
    with pytest.raises(ValidationError):
        record().stage = "other"
