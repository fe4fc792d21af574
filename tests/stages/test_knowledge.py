"""The whole stage on a folder store: with rules, and with a language model's endpoint."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fundus_r1.errors import ModelError, StageError
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.tasks import pairs
from fundus_r1.rows import Knowledge, Modality, Passage, VocabularyEntry
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.models import Chat, Models
from fundus_r1.spec.placement import Endpoint, Endpoints, StorePlace
from fundus_r1.spec.science import Index, KnowledgeScience
from fundus_r1.stages.base import as_json
from fundus_r1.stages.execute import run_job
from fundus_r1.stages.job import StageJob
from fundus_r1.stages.knowledge import STAGE
from fundus_r1.storage.output import StageOutput

RULES = Chat(engine="rules", model="rules")
DATASETS = ("idrid", "kermany", "top")


def science(writer: Chat = RULES, scope: str = "task", **index: Any) -> Science:
    return Science(
        models=Models(writer=writer),
        index=Index(**{"datasets": DATASETS, **index}),
        knowledge=KnowledgeScience.model_validate({"scope": scope, "sources": ["notes"]}),
    )


def run(folder: Path, what: Science, endpoint: Endpoint | None = None) -> StageOutput:
    place = Placement(store=StorePlace(kind="folder", path=str(folder)), endpoints=Endpoints(writer=endpoint))
    return run_job(
        StageJob(stage="knowledge", science=as_json(STAGE.select(what)), placement=place, inputs={})
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> StageOutput:
    return run(tmp_path_factory.mktemp("rules"), science())


def test_there_is_knowledge_of_every_pair_in_order(output):
    rows = list(output.read_rows("knowledge.jsonl", Knowledge))
    assert [(row.label, row.modality) for row in rows] == pairs(DATASETS)
    moderate = next(row for row in rows if row.label == "moderate_npdr")
    assert moderate.query == "What are the key CFP findings for diagnosing Moderate NPDR?"
    assert moderate.required == ("microaneurysm", "retinal_hemorrhage")
    assert moderate.supportive == ("hard_exudate", "cotton_wool_spot")
    assert "neovascularization" in moderate.absent
    assert {row.model for row in rows} == {"rules"}


def test_every_finding_has_its_passages_and_every_passage_its_reference(output):
    passages = {row.passage_id: row for row in output.read_rows("passages.jsonl", Passage)}
    assert list(passages) == sorted(passages)
    used = set()
    for row in output.read_rows("knowledge.jsonl", Knowledge):
        assert set(row.evidence) == {*row.required, *row.supportive, *row.absent}
        assert len(row.passages) == 4
        for ids in row.evidence.values():
            assert ids and set(ids) <= set(row.passages)
        used |= set(row.passages)
    assert used == set(passages)
    assert all(row.reference and row.licence == "Apache-2.0 (own words)" for row in passages.values())


def test_the_groups_are_disjoint_and_a_task_asks_one_list(output):
    entries = list(output.read_rows("vocabulary.jsonl", VocabularyEntry))
    order = list(FINDINGS)
    for entry in entries:
        groups = [*entry.required, *entry.supportive, *entry.absent]
        assert len(groups) == len(set(groups)) and set(groups) <= set(entry.asked)
        assert [order.index(key) for key in entry.asked] == sorted(order.index(key) for key in entry.asked)
    for modality, label in ((Modality.CFP, "diabetic_retinopathy"), (Modality.OCT, ""), (Modality.UWF, "")):
        asked = {entry.asked for entry in entries if entry.modality == modality and entry.label != label}
        assert len(asked) == 1
    grading = next(entry for entry in entries if entry.label == "no_dr")
    assert {"microaneurysm", "retinal_hemorrhage", "hard_exudate", "cotton_wool_spot"} <= set(grading.asked)


def test_the_record_says_what_was_kept_and_what_was_not(output):
    record = output.record
    assert record.counts["pairs"] == 19
    assert record.counts["unknown"] == record.counts["ungrounded"] == record.counts["conflicts"] == 0
    assert record.models == {"writer": "rules"}
    assert set(record.prompts) == {"query", "knowledge"}


def test_the_same_science_gives_the_same_bytes(output, tmp_path):
    again = run(tmp_path, science())
    assert again.record.files == output.record.files
    assert again.record.fingerprint == output.record.fingerprint


def test_by_label_only_the_labels_own_findings_are_asked(tmp_path):
    entries = list(run(tmp_path, science(scope="label")).read_rows("vocabulary.jsonl", VocabularyEntry))
    assert all(entry.asked == (*entry.required, *entry.supportive, *entry.absent) for entry in entries)
    assert len({entry.asked for entry in entries}) > 10


def test_only_the_chosen_datasets_count(tmp_path):
    rows = list(run(tmp_path, science(datasets=("kermany",))).read_rows("knowledge.jsonl", Knowledge))
    assert [row.label for row in rows] == ["normal", "cnv", "dme", "drusen"]


def test_other_notes_are_another_fingerprint_and_are_not_mixed(tmp_path):
    chosen = STAGE.select(science())
    other = chosen.model_copy(update={"corpus": "0" * 64})
    assert STAGE.fingerprint(chosen, {}) != STAGE.fingerprint(other, {})
    place = Placement(store=StorePlace(kind="folder", path=str(tmp_path)))
    with pytest.raises(StageError, match="notes"):
        run_job(StageJob(stage="knowledge", science=as_json(other), placement=place, inputs={}))


# ---- with an endpoint ------------------------------------------------------------------


class Endpointed:
    """An OpenAI-compatible server whose answers a function makes of the prompt."""

    def __init__(self, answer: Callable[[str], str]):
        self.prompts: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][0]["content"]
                outer.prompts.append(prompt)
                message = {"role": "assistant", "content": answer(prompt)}
                reply = {
                    "id": "1", "object": "chat.completion", "created": 0, "model": "scripted-7",
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                }  # fmt: skip
                data = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.place = Endpoint(url=f"http://127.0.0.1:{self._http.server_port}/v1")
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str], str]], Endpointed]]:
    running: list[Endpointed] = []

    def start(answer: Callable[[str], str]) -> Endpointed:
        running.append(Endpointed(answer))
        return running[-1]

    yield start
    for server in running:
        server.close()


def drusen_record(prompt: str) -> str:
    return json.dumps(
        {
            "description": "On OCT, drusen are low domes.",
            "required": ["drusen", "Soft drusen", "starry sky"],
            "supportive": ["RPE mottling", "drusen", "microaneurysms"],
            "absent": ["no intraretinal fluid", "subretinal fluid"],
        }
    )


def test_a_language_models_phrases_are_made_canonical_and_grounded(tmp_path, serve):
    server = serve(drusen_record)
    out = run(tmp_path, science(Chat(engine="openai", model="any"), datasets=("kermany",)), server.place)
    row = next(row for row in out.read_rows("knowledge.jsonl", Knowledge) if row.label == "drusen")
    assert row.description == "On OCT, drusen are low domes."
    assert row.required == ("drusen",)
    # The notes on drusen speak of pigmentary changes, and nowhere of microaneurysms.
    assert row.supportive == ("pigmentary_change",)
    assert row.absent == ("intraretinal_fluid", "subretinal_fluid")
    assert row.model == "scripted-7"
    assert out.record.models == {"writer": "scripted-7"}
    assert out.record.counts["unknown_phrases"] == "starry sky"
    assert out.record.counts["ungrounded"]
    assert len(server.prompts) == 4
    assert any("What are the key OCT findings for diagnosing Drusen?" in prompt for prompt in server.prompts)


def test_a_writer_that_gives_no_record_is_named_and_nothing_is_written(tmp_path, serve):
    server = serve(lambda prompt: "I would rather not.")
    with pytest.raises(ModelError, match="scripted-7") as raised:
        run(tmp_path, science(Chat(engine="openai", model="any"), datasets=("kermany",)), server.place)
    assert "on OCT" in raised.value.where
    assert list(tmp_path.rglob("record.json")) == []
