from __future__ import annotations

import json

from made_run import put, write_run

from fundus_r1.stages.report_sources import SHOWN, kept_out, support
from fundus_r1.storage.folder import FolderStore


def test_each_finding_counts_the_passages_of_each_source(store: FolderStore) -> None:
    view = support(write_run(store, 1))
    assert view["columns"] == ["EyeWiki", "PMC", "notes"]
    table = next(table for table in view["tables"] if table["label"] == "Moderate NPDR")
    assert [(row["group"], row["finding"], row["cells"]) for row in table["rows"]] == [
        ("required", "microaneurysm", [1, 0, 0]),
        ("required", "retinal hemorrhage", [1, 1, 0]),
        ("absent", "neovascularization", [1, 1, 1]),
    ]


def test_a_label_without_findings_has_no_table(store: FolderStore) -> None:
    view = support(write_run(store, 1))
    assert all(table["rows"] for table in view["tables"])


def test_what_was_neutralised_or_refused_is_shown_only_where_there_is_any(store: FolderStore) -> None:
    assert kept_out(write_run(store, 1)) == []
    line = json.dumps({"source": "eyewiki", "kind": "role_token", "excerpt": "<|im_start|>"})
    lines = f"{line}\n" * (SHOWN + 2)
    output = put(
        store,
        "knowledge",
        lambda writer: (
            writer.write_bytes("neutralised.jsonl", lines.encode()),
            writer.write_rows("refused.jsonl", ()),
        ),
        "7" * 64,
    )
    [table] = kept_out({"knowledge": output})
    assert table["title"] == "Neutralised" and table["columns"] == ["source", "kind", "excerpt"]
    assert table["rows"][0] == ["eyewiki", "role_token", "<|im_start|>"]
    assert (len(table["rows"]), table["more"]) == (SHOWN, 2)
