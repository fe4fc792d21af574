"""How close stage 3's worker comes to what a vLLM server can do with the same requests.

The tiny model is served by the real vLLM CPU build. The same requests (drawn fundus photographs,
the joint question, five rollouts, a JSON schema) are sent in five ways, one after the other:

- ``vllm bench serve`` at the same concurrency (it streams its answers, with one seed for all);
- a bare asyncio client at the same concurrency, which prepares nothing and reads nothing;
- a worker of stage 3 over HTTP, from the index's part to its rows, as a pod would run it;
- one request after the other, with the five rollouts in one request;
- one rollout after the other, as a client that knows no ``n`` asks.

Prints the middle of ratios over some rounds. Targets: worker / best other client >= 0.95, worker /
sequential >= 8. What the server itself gains over one request after the other is printed too: no
client can gain more. 256 images are a part of the default size; each pass has images that the
server has not seen. First passes of the client and the worker are thrown away.

    .venv/bin/python perf/findings_throughput.py [--images 256] [--concurrency 32]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import datetime
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from PIL import Image

from fundus_r1.datasets.synth import draw_collection
from fundus_r1.fingerprint import sha256
from fundus_r1.models.presence import question, schema
from fundus_r1.models.weights import materialise, model_id
from fundus_r1.rows import Findings, Modality, Sample, Split, VocabularyEntry
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.models import Models, TinyModel
from fundus_r1.spec.placement import Endpoint, Endpoints, StorePlace
from fundus_r1.spec.science import FindingsScience, Synthetic
from fundus_r1.stages.base import Context
from fundus_r1.stages.findings import STAGE
from fundus_r1.stages.workers import worker_runs
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import to_parquet

TINY = TinyModel(hidden=64, layers=2)
KEYS = ("microaneurysm", "retinal_hemorrhage", "hard_exudate", "cotton_wool_spot", "neovascularization")
ROLLOUTS, MAX_TOKENS = 5, 96
START_S = 240.0
NEAR, FAR = 0.95, 8.0


class Round(NamedTuple):
    """Images a second of each, measured one right after the other."""

    client: float
    worker: float
    bench: float
    alone: float
    singly: float


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(model: Path, concurrency: int, log: Path) -> Iterator[str]:
    """The server's address, once it answers."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("vllm")), "serve", str(model), "--host", "127.0.0.1",
        "--port", str(port), "--served-model-name", model_id(TINY), "--dtype", "float32",
        "--max-model-len", "2048", "--max-num-seqs", str(ROLLOUTS * concurrency), "--enforce-eager",
        # A prompt cut in pieces rewinds its seeded generator, which torch's CPU generator refuses.
        "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192",
        "--limit-mm-per-prompt", '{"image":1,"video":0}', "--no-enable-log-requests",
        "--structured-outputs-config", '{"backend":"xgrammar","disable_any_whitespace":true}',
    ]  # fmt: skip
    # Half of the cores compute; the server's own work and its clients need the others.
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    env = {
        **os.environ, "OMP_NUM_THREADS": threads, "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING",
    }  # fmt: skip
    with log.open("wb") as sink:
        server = subprocess.Popen(command, stdout=sink, stderr=sink, env=env)
    try:
        deadline = time.monotonic() + START_S
        while True:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server did not start:\n{log.read_text()[-3000:]}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).is_success:
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    except httpx.HTTPError as error:
        sys.exit(f"{error}:\n{log.read_text()[-3000:]}")
    finally:
        server.terminate()
        server.wait(30)


def drawn_images(folder: Path, count: int) -> list[bytes]:
    draw_collection(folder, Synthetic(seed=7, patients=24))
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    images = [path.read_bytes() for path in files]
    return [images[number % len(images)] for number in range(count)]


def fresh(images: list[bytes], seed: int) -> list[bytes]:
    """The same images with one pixel changed, so that the server's caches know none of them."""
    made = []
    for number, image in enumerate(images):
        with Image.open(io.BytesIO(image)) as opened:
            changed = opened.convert("RGB")
        changed.putpixel((0, 0), (seed % 256, number % 256, number // 256))
        sink = io.BytesIO()
        changed.save(sink, "PNG")
        made.append(sink.getvalue())
    return made


def context(store: FolderStore, images: list[bytes], url: str, concurrency: int, seed: int) -> Context:
    """An index of one part and its vocabulary; `seed` keeps measurements apart."""
    samples = [
        Sample(
            sample_id=f"set/{number:05d}",
            dataset="set",
            modality=Modality.CFP,
            labels=("mild_npdr",),
            split=Split.TRAIN,
            patient=f"set:{number}",
            path=str(number),
            digest=sha256(image),
            pixels=sha256(image),
            width=512,
            height=512,
            media_type="image/png",
        )
        for number, image in enumerate(images)
    ]
    index = OutputWriter(store, "index", sha256(str(seed).encode()))
    index.write_bytes("samples/part-00000.parquet", to_parquet(samples, images), rows=len(images))
    index.write_rows("samples.jsonl", samples)
    entry = VocabularyEntry(
        label="mild_npdr", modality=Modality.CFP, required=KEYS, supportive=(), absent=(), asked=KEYS
    )
    knowledge = OutputWriter(store, "knowledge", "0" * 64)
    knowledge.write_rows("vocabulary.jsonl", [entry])
    inputs = {}
    for writer in (index, knowledge):
        record = writer.close(
            revision=1,
            science={},
            prompts={},
            inputs={},
            counts={},
            models={},
            started=datetime.datetime.now(datetime.UTC),
        )
        inputs[writer.stage] = StageOutput(store, record)
    science = Science(
        models=Models(observer=TINY),
        findings=FindingsScience(rollouts=ROLLOUTS, max_tokens=MAX_TOKENS, seed=seed),
    )
    placement = Placement(
        store=StorePlace(kind="folder", path=str(store.root)),
        endpoints=Endpoints(observer=Endpoint(url=f"{url}/v1", concurrency=concurrency)),
    )
    writer = OutputWriter(store, "findings", sha256(f"findings {seed}".encode()))
    return Context(STAGE.select(science), placement, store, writer, inputs)


def by_worker(folder: Path, images: list[bytes], url: str, concurrency: int, seed: int) -> float:
    """Images a second of a worker; everything but making the index counts."""
    store = FolderStore(folder / f"store-{seed}")
    ctx = context(store, images, url, concurrency, seed)
    assert STAGE.fan_out is not None
    started = time.perf_counter()
    STAGE.fan_out.work(ctx, 0)
    took = time.perf_counter() - started
    (run,) = worker_runs(store, ctx.output.prefix)
    assert run.images == len(images)
    STAGE.run(ctx)
    rows = [
        Findings.model_validate_json(line)
        for line in (store.get(f"{ctx.output.prefix}/findings.jsonl") or b"").splitlines()
    ]
    assert all(len(row.raw) == ROLLOUTS for row in rows)
    silent = sum(sum(row.abstentions.values()) for row in rows)
    told = f"{silent} of {len(rows) * len(KEYS) * ROLLOUTS} judgements abstained; {dict(run.usage)}"
    print(f"    (worker's own rate {run.images_per_s}/s; {told})", flush=True)
    return len(images) / took


def kind_of(image: bytes) -> str:
    return "png" if image.startswith(b"\x89PNG") else "jpeg"


def bodies(images: list[bytes], seed: int) -> list[dict[str, Any]]:
    """What the worker sends, made beforehand."""
    form = {"name": "answer", "schema": schema(KEYS), "strict": True}
    made = []
    for number, image in enumerate(images):
        url = f"data:image/{kind_of(image)};base64,{base64.b64encode(image).decode()}"
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": question(Modality.CFP, KEYS)},
        ]
        made.append(
            {
                "model": model_id(TINY), "messages": [{"role": "user", "content": content}], "n": ROLLOUTS,
                "max_tokens": MAX_TOKENS, "temperature": 1.0,
                "seed": int(sha256(f"{seed}:{number}".encode())[:7], 16),
                "response_format": {"type": "json_schema", "json_schema": form},
            }
        )  # fmt: skip
    return made


def by_client(images: list[bytes], url: str, concurrency: int, seed: int, *, singly: bool = False) -> float:
    """Images a second of a client that only sends and waits; `singly`: rollout by rollout."""
    made = bodies(images, seed)
    if singly:
        made = [{**body, "n": 1, "seed": body["seed"] + n} for body in made for n in range(ROLLOUTS)]

    async def send() -> float:
        waiting = iter(made)
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(timeout=600, limits=limits) as client:

            async def lane() -> None:
                for body in waiting:
                    answer = await client.post(f"{url}/v1/chat/completions", json=body)
                    assert len(answer.raise_for_status().json()["choices"]) == body["n"]

            started = time.perf_counter()
            await asyncio.gather(*(lane() for _ in range(concurrency)))
            return time.perf_counter() - started

    return len(images) / asyncio.run(send())


def by_bench(folder: Path, images: list[bytes], url: str, model: Path, concurrency: int) -> float:
    """Images a second as ``vllm bench serve`` measures them."""
    lines = []
    for number, image in enumerate(images):
        path = folder / f"bench-{number:05d}.{kind_of(image)}"
        path.write_bytes(image)
        lines.append(json.dumps({"prompt": question(Modality.CFP, KEYS), "image_files": [str(path)]}))
    (folder / "bench.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    form = {"name": "answer", "schema": schema(KEYS), "strict": True}
    extra = {
        "n": ROLLOUTS, "temperature": 1.0, "seed": 3,
        "response_format": {"type": "json_schema", "json_schema": form},
    }  # fmt: skip
    command = [
        str(Path(sys.executable).with_name("vllm")), "bench", "serve", "--backend", "openai-chat",
        "--base-url", url, "--endpoint", "/v1/chat/completions", "--model", str(model),
        "--served-model-name", model_id(TINY), "--dataset-name", "custom_image", "--dataset-path",
        str(folder / "bench.jsonl"), "--num-prompts", str(len(images)), "--custom-output-len",
        str(MAX_TOKENS), "--max-concurrency", str(concurrency), "--extra-body", json.dumps(extra),
        "--custom-ensure-client-side-data", "--skip-chat-template", "--disable-tqdm",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    rate = re.search(r"Request throughput \(req/s\):\s+([\d.]+)", done.stdout)
    ok = re.search(r"Successful requests:\s+(\d+)", done.stdout)
    if rate is None or ok is None or int(ok[1]) != len(images):
        sys.exit(f"vllm bench serve did not get all answers:\n{(done.stdout + done.stderr)[-3000:]}")
    return float(rate[1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--images", type=int, default=256)
    arguments.add_argument("--sequential", type=int, default=8, help="images of the sequential client")
    arguments.add_argument("--concurrency", type=int, default=32)
    arguments.add_argument(
        "--rounds", type=int, default=3, help="each with all four; the middle ratio counts"
    )
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="fr1-throughput-") as name:
        folder = Path(name)
        model = materialise(TINY, folder / "models")
        images = drawn_images(folder / "drawn", given.images)
        sizes = sum(len(image) for image in images) // len(images)
        print(
            f"{len(images)} images of {sizes} bytes, {len(KEYS)} findings, n={ROLLOUTS}, "
            f"concurrency {given.concurrency}"
        )
        with served(model, given.concurrency, folder / "server.log") as url:
            by_client(fresh(images, 0), url, given.concurrency, seed=0)
            by_worker(folder, fresh(images[:8], 1), url, given.concurrency, seed=0)
            rounds = [
                Round(
                    client=by_client(fresh(images, 3 * seed), url, given.concurrency, seed),
                    worker=by_worker(folder, fresh(images, 3 * seed + 1), url, given.concurrency, seed),
                    bench=by_bench(folder, fresh(images, 3 * seed + 2), url, model, given.concurrency),
                    alone=by_client(fresh(images[: given.sequential], 128 + seed), url, 1, 128 + seed),
                    singly=by_client(
                        fresh(images[: given.sequential], 160 + seed), url, 1, 160 + seed, singly=True
                    ),
                )
                for seed in range(1, given.rounds + 1)
            ]
    for one in rounds:
        print("  images/s: " + ", ".join(f"{who} {rate:.2f}" for who, rate in one._asdict().items()))

    def middle(of: Callable[[Round], float]) -> float:
        return statistics.median(of(one) for one in rounds)

    tell("worker / best other client", middle(lambda one: one.worker / max(one.client, one.bench)), NEAR)
    tell("worker / one request after the other", middle(lambda one: one.worker / one.alone), FAR)
    most = middle(lambda one: max(one.client, one.bench) / one.alone)
    print(f"  (best other client / one request after the other: {most:.2f})")
    tell("worker / one rollout after the other", middle(lambda one: one.worker / one.singly), FAR)


def tell(what: str, ratio: float, target: float) -> None:
    print(f"{what}: {ratio:.3f} (target >= {target}): {'kept' if ratio >= target else 'MISSED'}")


if __name__ == "__main__":
    main()
