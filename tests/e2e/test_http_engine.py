"""The data engine through HTTP: observer, writer and free-form writer at a real model server on loopback.

The server is vLLM's own, with the tiny random model. What it says is garbage in the right form; what is
tested is that every stage asks it, keeps what it said, counts what happened and loses nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import TINY, call, wait_until

from fundus_r1.models.weights import materialise
from fundus_r1.ontology.tasks import pairs
from fundus_r1.rows import Findings, Knowledge, Sample, Trace, Triplet, Verdict
from fundus_r1.spec.models import TinyModel
from fundus_r1.spec.placement import StorePlace
from fundus_r1.storage import open_store
from fundus_r1.storage.output import StageOutput, all_records

pytestmark = [pytest.mark.e2e, pytest.mark.engines, pytest.mark.long]

SERVED = "tiny-at-an-endpoint"
STAGES = ("index", "knowledge", "findings", "traces", "quality")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base address of vLLM's server, ended afterwards."""
    folder = tmp_path_factory.mktemp("server")
    model = materialise(TinyModel(seed=1), folder / "models")
    port = _free_port()
    command = [str(Path(sys.executable).parent / "vllm"), "serve", str(model)]
    command += ["--served-model-name", SERVED, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--max-model-len", "8192", "--max-num-seqs", "64", "--enforce-eager"]
    command += ["--limit-mm-per-prompt", '{"image":1,"video":0}', "--structured-outputs-config"]
    command += ['{"backend":"xgrammar","disable_any_whitespace":true}']
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("wb") as log, contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=log, stderr=log, start_new_session=True
        )
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        url = f"http://127.0.0.1:{port}/v1"
        wait_until(lambda: _answers(url) or process.poll() is not None, 300, "the model server")
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        yield url


def _run(folder: Path, url: str) -> dict[str, StageOutput]:
    endpoint = f"{{url: '{url}', model: {SERVED}, concurrency: 32, timeout_s: 300}}"
    sets = [
        "science.index.synthetic={seed: 7, patients: 4, masked: 6, benchmark: 0, size: 224}",
        "science.index.datasets=[idrid]",
        "science.models.observer={kind: served, name: somebody/some-observer}",
        "science.models.free_form={kind: served, name: somebody/some-writer}",
        "science.models.writer={engine: openai, model: some-writer, max_tokens: 1600}",
        "science.findings.max_tokens=400",
        "science.quality.checks=rules+writer",
        "science.quality.audit_share=1.0",
        f"placement.endpoints={{observer: {endpoint}, writer: {endpoint}, free_form: {endpoint}}}",
        f"placement.store={{kind: folder, path: '{folder}'}}",
    ]
    for name in STAGES:
        done = call("stage", name, "--spec", TINY, *(f"--set={text}" for text in sets))
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    store = open_store(StorePlace(kind="folder", path=str(folder)))
    return {record.stage: StageOutput(store, record) for record in all_records(store, STAGES)}


def test_the_whole_data_engine_runs_through_http_and_never_asks_twice(server: str, tmp_path: Path) -> None:
    found = _run(tmp_path, server)
    assert set(found) == set(STAGES)

    knowledge = list(found["knowledge"].read_rows("knowledge.jsonl", Knowledge))
    assert [(row.label, row.modality) for row in knowledge] == pairs(["idrid"])
    assert {row.model for row in knowledge} == {SERVED}

    samples = list(found["index"].read_rows("samples.jsonl", Sample))
    findings = list(found["findings"].read_rows("findings.jsonl", Findings))
    assert [row.sample_id for row in findings] == [row.sample_id for row in samples]
    assert {row.model for row in findings if row.asked} == {SERVED}
    assert all(row.rollouts == 5 for row in findings if row.asked)

    triplets = list(found["index"].read_rows("triplets.jsonl", Triplet))
    traces = list(found["traces"].read_rows("traces.jsonl", Trace))
    covered = {row.label for row in knowledge if row.covered}
    assert covered, "the random records name no finding at all"
    assert [row.triplet_id for row in traces] == [row.triplet_id for row in triplets if row.label in covered]
    free = list(found["traces"].read_rows("free.jsonl", Trace))
    told = {row.sample_id for row in triplets if row.label in covered}
    masked = {row.sample_id for row in samples if row.findings is not None and row.sample_id in told}
    assert masked and {row.sample_id for row in free} == masked
    assert {row.mode for row in free} == {"free"}

    verdicts = list(found["quality"].read_rows("verdicts.jsonl", Verdict))
    assert [row.triplet_id for row in verdicts] == [row.triplet_id for row in traces]
    assert not any(row.accepted for row in verdicts), "a random model's traces must not pass"

    requests = {name: json.loads(json.dumps(output.record.counts)) for name, output in found.items()}
    assert requests["knowledge"]["writer_requests"] >= len(knowledge)
    assert requests["traces"]["writer_requests"] >= len(traces)

    # The output is lost, what the model said is not: nothing is asked again.
    output = found["traces"]
    before = output.read_bytes("traces.jsonl")
    for key in list(output.store.list(output.record.prefix)):
        output.store.delete(key)
    again = _run(tmp_path, server)["traces"]
    assert again.read_bytes("traces.jsonl") == before
    assert again.record.counts["writer_cached"] == len(traces)
