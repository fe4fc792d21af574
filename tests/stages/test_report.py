"""The stage report on a run's outputs that were made by hand: the page, the gallery, and their link."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import pytest
from made_run import MadeRun, put, write_run

from fundus_r1.datasets.census import census
from fundus_r1.rows import FindingQuality, Knowledge, Row, Sample, Score, Verdict, VocabularyEntry
from fundus_r1.spec import Science
from fundus_r1.spec.placement import Placement, StorePlace
from fundus_r1.stages.agreement import funnel
from fundus_r1.stages.base import Context
from fundus_r1.stages.report import STAGE
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput

COUNT = 30
HOSTILE = "</pre><script>alert(1)</script>"


def _again(
    store: FolderStore, output: StageOutput, more: Mapping[str, object], counts: dict[str, Any]
) -> StageOutput:
    """An output with further files: rows as lists, other values as JSON."""

    def write(writer: OutputWriter) -> None:
        for name in output.names():
            writer.write_bytes(name, output.read_bytes(name), rows=output.record.files[name].rows)
        for name, value in more.items():
            if name.endswith(".jsonl"):
                writer.write_rows(name, cast(list[Row], value))
            else:
                writer.write_json(name, value)

    return put(store, output.record.stage, write, "9" * 64, counts)


@pytest.fixture
def outputs(store: FolderStore) -> dict[str, StageOutput]:
    made = MadeRun()
    first = write_run(store, COUNT)
    samples = list(first["index"].read_rows("samples.jsonl", Sample))
    known = list(first["knowledge"].read_rows("knowledge.jsonl", Knowledge))
    verdicts = list(first["quality"].read_rows("verdicts.jsonl", Verdict))
    entries = [
        VocabularyEntry(
            label=row.label, modality=row.modality, required=row.required, supportive=row.supportive,
            absent=row.absent, asked=row.required + row.absent,
        )
        for row in known
    ]  # fmt: skip
    score = Score(
        model="base", benchmark="funbench", source="given", level="overall", name="overall", metric="f1",
        value=0.5, questions=10,
    )  # fmt: skip
    quality = FindingQuality(
        method="ours", finding="microaneurysm", images=4, positives=2, sensitivity=0.5, specificity=1.0,
        s2=0.67,
    )  # fmt: skip
    empty = [put(store, name, lambda _: None) for name in ("trainset", "sft", "grpo", "evaluate")]
    sources = [made.findings(int(row.sample_id[-10:-4])).source for row in samples]
    return {
        "index": _again(
            store,
            first["index"],
            {"census.json": census(samples), "quarantine.jsonl": [], "leaks.jsonl": []},
            {"samples": COUNT, "triplets": COUNT},
        ),
        "knowledge": _again(store, first["knowledge"], {"vocabulary.jsonl": entries}, {}),
        "findings": _again(store, first["findings"], {"votes.json": {"histogram": {"0": 3, "5": 4}}}, {}),
        "traces": first["traces"],
        "quality": _again(store, first["quality"], {"funnel.json": funnel(sources, verdicts, COUNT)}, {}),
        **{output.record.stage: output for output in empty},
        "evaluate": _again(
            store, empty[-1], {"scores.jsonl": [score], "finding_quality.jsonl": [quality]}, {}
        ),
    }


def written(store: FolderStore, outputs: dict[str, StageOutput]) -> tuple[OutputWriter, dict[str, Any], str]:
    rules = {"engine": "rules", "model": "rules"}
    science = Science.model_validate({"setup": "G", "models": {"writer": rules, "judge": rules}})
    writer = OutputWriter(store, "report", "1" * 64)
    result = STAGE.run(
        Context(
            science=STAGE.select(science),
            placement=Placement(store=StorePlace(kind="folder", path="unused")),
            store=store,
            output=writer,
            inputs=outputs,
        )
    )
    page = store.get(f"{writer.prefix}/report.html")
    assert page is not None
    return writer, result.counts, page.decode()


def test_the_report_links_to_a_gallery_that_holds_all_traces(
    store: FolderStore, outputs: dict[str, StageOutput]
) -> None:
    writer, counts, page = written(store, outputs)
    assert counts["traces"] == COUNT
    assert f'<a href="gallery/index.html">All {COUNT} traces, searchable</a>' in page
    assert {"report.html", "gallery.html", "gallery/index.html", "gallery/data/manifest.js"} <= set(
        writer.files
    )
    assert page.count("data:image/jpeg") == 12
    assert not re.search(r"<script|https?://(?!pmc|eyewiki)", page)


def test_the_report_marks_findings_in_its_traces_and_shows_which_source_supports_which(
    store: FolderStore, outputs: dict[str, StageOutput]
) -> None:
    _, _, page = written(store, outputs)
    assert '<mark class="present">microaneurysms</mark>' in page
    assert '<mark class="unseen">Cotton-wool spots</mark>' in page
    assert '<mark class="denied">neovascularization</mark>' in page
    assert "<summary>Moderate NPDR, CFP</summary>" in page
    assert "Refused pages" not in page and "Neutralised" not in page


def test_what_was_neutralised_is_shown_as_text(store: FolderStore, outputs: dict[str, StageOutput]) -> None:
    line = json.dumps({"source": "eyewiki", "excerpt": HOSTILE}).encode() + b"\n"
    knowledge = put(
        store,
        "knowledge",
        lambda writer: [
            writer.write_bytes("neutralised.jsonl", line),
            *(
                writer.write_bytes(name, outputs["knowledge"].read_bytes(name))
                for name in outputs["knowledge"].names()
            ),
        ],
        "8" * 64,
    )
    _, _, page = written(store, outputs | {"knowledge": knowledge})
    assert "Neutralised" in page and "&lt;script&gt;alert(1)" in page and "<script" not in page
