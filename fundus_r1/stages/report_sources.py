"""What the report says of sources: which of them supports which finding, and what was kept out.

A finding stands in the vocabulary of a label only if a retrieved passage speaks of it (paper, Sec.
3.2.1). What was kept out (text that tried to instruct the model, pages that were refused, phrases that no
passage supports) is shown where the stage `knowledge` met any.
"""

from __future__ import annotations

import json
from collections import Counter

from fundus_r1.rows import Knowledge, Passage
from fundus_r1.stages.report_view import Outputs, View, finding_names, label_name
from fundus_r1.storage.output import StageOutput

SOURCES = {"eyewiki": "EyeWiki", "aao": "AAO", "pmc": "PMC", "notes": "notes"}
"""Source -> its name, in the order of the columns."""
SHOWN = 20
KEPT_OUT = (
    (
        "Neutralised",
        "Sentences of sources that speak to the model instead of the reader; they were taken out.",
        "neutralised.jsonl",
    ),
    ("Refused pages", "Pages that could not be used.", "refused.jsonl"),
    ("Without a vocabulary", "Labels for which no finding is known.", "uncovered.jsonl"),
    ("Left out", "What the writer named and the vocabulary does not hold.", "left_out.jsonl"),
)
"""Title, words and file of each table."""


def _columns(passages: dict[str, Passage]) -> list[str]:
    found = {row.source for row in passages.values()}
    return [key for key in SOURCES if key in found] + sorted(found - SOURCES.keys())


def support(outputs: Outputs) -> View:
    """For each label and modality: findings down, sources across, the number of passages in each cell."""
    passages = {row.passage_id: row for row in outputs["knowledge"].read_rows("passages.jsonl", Passage)}
    columns = _columns(passages)
    tables = []
    for known in outputs["knowledge"].read_rows("knowledge.jsonl", Knowledge):
        rows = []
        for group, keys in (
            ("required", known.required),
            ("supportive", known.supportive),
            ("absent", known.absent),
        ):
            for key, name in zip(keys, finding_names(keys), strict=True):
                counts = Counter(
                    passages[passage].source for passage in known.evidence.get(key, ()) if passage in passages
                )
                rows.append(
                    {"group": group, "finding": name, "cells": [counts[source] for source in columns]}
                )
        if rows:
            tables.append({"label": label_name(known.label), "modality": known.modality.value, "rows": rows})
    return {"columns": [SOURCES.get(key, key) for key in columns], "tables": tables}


def _rows(output: StageOutput, name: str) -> list[View]:
    if name not in output:
        return []
    return [json.loads(line) for line in output.read_bytes(name).splitlines()]


def kept_out(outputs: Outputs) -> list[View]:
    """What the knowledge does not hold, and why, as tables; none where there was nothing."""
    tables = []
    for title, words, name in KEPT_OUT:
        rows = _rows(outputs["knowledge"], name)
        if rows:
            columns = list(rows[0])
            tables.append(
                {
                    "title": title,
                    "words": words,
                    "columns": [column.replace("_", " ") for column in columns],
                    "rows": [[row.get(column) for column in columns] for row in rows[:SHOWN]],
                    "more": max(0, len(rows) - SHOWN),
                    "file": name,
                }
            )
    return tables
