"""Workers of stage 3 killed at random moments, against a real S3 server.

Twenty times, two workers (``fundus-r1 stage findings --phase work``) share the parts of an index;
one of them is killed (SIGKILL) at a random moment, the other does the rest, and the merge must
give the bytes of an undisturbed run. The observer is a server on loopback that waits some
milliseconds and answers by rule; it counts how often it is asked about an image. Prints the most
images that were asked about twice. Target: not more than a part has.

    .venv/bin/python perf/kill.py [--times 20]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fundus_r1.fingerprint import sha256
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.rows import Modality, Sample, Split, VocabularyEntry
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.models import Models, ServedModel
from fundus_r1.spec.placement import Endpoint, Endpoints, StorePlace, Workers
from fundus_r1.stages import execute
from fundus_r1.stages.base import as_json
from fundus_r1.stages.findings import STAGE
from fundus_r1.stages.job import StageJob
from fundus_r1.storage import open_store
from fundus_r1.storage.output import OutputWriter
from fundus_r1.storage.s3 import ACCESS_KEY_ENV, SECRET_KEY_ENV
from fundus_r1.storage.server import LocalS3
from fundus_r1.storage.tables import to_parquet

PARTS, PART = 12, 8
LATENCY_S = 0.05
KEYS = tuple(sorted(FINDINGS))[:6]
LONGEST_S = 120.0


class Observer:
    """An OpenAI-compatible server that answers by rule and counts."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.begun = threading.Event()
        observer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                observer.asked[body["seed"]] += 1
                observer.begun.set()
                time.sleep(LATENCY_S)
                data = json.dumps(observer.reply(body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A worker that was killed leaves its connections; that is no error of the server.
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @staticmethod
    def reply(body: dict[str, object]) -> dict[str, object]:
        choices = []
        for number in range(int(str(body["n"]))):
            bits = int(sha256(f"{body['seed']} {number}".encode())[:8], 16)
            said = {FINDINGS[k].name: "present" if bits >> p & 1 else "absent" for p, k in enumerate(KEYS)}
            message = {"role": "assistant", "content": json.dumps(said)}
            choices.append({"index": number, "finish_reason": "stop", "message": message})
        usage = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}
        head = {"id": "1", "object": "chat.completion", "created": 0, "model": "rule"}
        return {**head, "choices": choices, "usage": usage}


def sample(number: int) -> Sample:
    name = f"{number:04d}"
    return Sample(
        sample_id=f"set/{name}.png", dataset="set", modality=Modality.CFP, labels=("mild_npdr",),
        split=Split.TRAIN, patient=f"set:{name}", path=f"{name}.png", digest=name, pixels=name, width=64,
        height=64, media_type="image/png",
    )  # fmt: skip


def prepare(place: StorePlace) -> dict[str, str]:
    """An index and its vocabulary in an empty store; the fingerprints of both."""
    store = open_store(place)
    samples = [sample(number) for number in range(PARTS * PART)]
    index = OutputWriter(store, "index", "0" * 64)
    for number in range(PARTS):
        rows = samples[number * PART : (number + 1) * PART]
        images = [b"\x89PNG" + row.sample_id.encode() for row in rows]
        index.write_bytes(f"samples/part-{number:05d}.parquet", to_parquet(rows, images), rows=len(rows))
    index.write_rows("samples.jsonl", samples)
    knowledge = OutputWriter(store, "knowledge", "1" * 64)
    entry = VocabularyEntry(
        label="mild_npdr", modality=Modality.CFP, required=KEYS, supportive=(), absent=(), asked=KEYS
    )
    knowledge.write_rows("vocabulary.jsonl", [entry])
    for writer in (index, knowledge):
        writer.close(
            revision=1, science={}, prompts={}, inputs={}, counts={}, models={},
            started=datetime.datetime.now(datetime.UTC),
        )  # fmt: skip
    return {"index": "0" * 64, "knowledge": "1" * 64}


def job(endpoint: str, observer: Observer, prefix: str) -> StageJob:
    place = StorePlace(endpoint=endpoint, prefix=prefix)
    science = Science(models=Models(observer=ServedModel(name="rule")))
    return StageJob(
        stage="findings",
        science=as_json(STAGE.select(science)),
        placement=Placement(
            store=place,
            findings=Workers(workers=2, lease_s=10),
            endpoints=Endpoints(observer=Endpoint(url=observer.url, concurrency=2)),
        ),
        inputs=prepare(place),
    )


@contextlib.contextmanager
def workers(work: StageJob, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two running workers, as pods would run them."""
    spec = folder / "job.json"
    spec.write_text(work.model_dump_json(), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("fundus-r1")), "stage", "findings", "--spec", str(spec)]
    log = (folder / "workers.log").open("ab")
    running = [
        subprocess.Popen([*command, "--phase", "work", "--worker", str(n)], stdout=log, stderr=log)
        for n in range(2)
    ]
    try:
        yield running
    finally:
        for one in running:
            one.kill()
            one.wait()
        log.close()


def merged(work: StageJob) -> bytes:
    return execute.run_job(work).read_bytes("findings.jsonl")


def undisturbed(work: StageJob, observer: Observer, folder: Path) -> tuple[bytes, float]:
    """The rows, and for how long the observer was asked."""
    observer.begun.clear()
    with workers(work, folder) as running:
        assert observer.begun.wait(LONGEST_S)
        started = time.monotonic()
        for one in running:
            if one.wait(LONGEST_S):
                sys.exit((folder / "workers.log").read_text())
        took = time.monotonic() - started
    return merged(work), took


def disturbed(
    work: StageJob, observer: Observer, folder: Path, after_s: float, which: int
) -> tuple[bytes, int]:
    """The rows although a worker was killed, and the images that were asked about again."""
    observer.asked.clear()
    observer.begun.clear()
    with workers(work, folder) as running:
        assert observer.begun.wait(LONGEST_S)
        time.sleep(after_s)
        running[which].kill()
        running[which].wait()
        if running[1 - which].wait(LONGEST_S):
            sys.exit((folder / "workers.log").read_text())
    rows = merged(work)
    return rows, sum(times - 1 for times in observer.asked.values())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--times", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    given = arguments.parse_args()
    drawn = random.Random(given.seed)
    observer = Observer()
    repeated = []
    with tempfile.TemporaryDirectory(prefix="fr1-kill-") as name, LocalS3(Path(name, "s3")) as server:
        os.environ.update({ACCESS_KEY_ENV: server.access_key, SECRET_KEY_ENV: server.secret_key})
        folder = Path(name)
        expected, took = undisturbed(job(server.endpoint, observer, "undisturbed"), observer, folder)
        print(f"undisturbed: {PARTS} parts of {PART} images, two workers, {took:.1f} s; seed {given.seed}")
        for number in range(given.times):
            after_s, which = drawn.uniform(0, took), drawn.randrange(2)
            work = job(server.endpoint, observer, f"try-{number}")
            rows, again = disturbed(work, observer, folder, after_s, which)
            repeated.append(again)
            same = "equal" if rows == expected else "OTHER ROWS"
            print(
                f"  worker {which} killed after {after_s:5.2f} s: rows {same}, {again} images again",
                flush=True,
            )
            if rows != expected:
                sys.exit(1)
    told = "kept" if max(repeated) <= PART else "MISSED"
    print(
        f"killed {given.times} times: rows equal each time; repeated at worst {max(repeated)} images, on "
        f"average {sum(repeated) / len(repeated):.1f}, of a part of {PART} (target at most {PART}): {told}"
    )


if __name__ == "__main__":
    main()
