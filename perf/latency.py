"""How close the client of HTTP endpoints comes to what latency and concurrency allow.

A server in a process of its own answers each request after 200 ms and computes nothing. The ideal is
requests x latency / concurrency; the figure is the measured time over it. The target is 1.15 at most.
What is asked is as large as in stage 3: an image of 40 kB, a question of 1,500 characters, a JSON schema, and
five answers to each request. One request before the measurement loads the client's modules.

    python perf/latency.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection as Pipe

from fundus_r1.models.openai_http import OpenAIChat
from fundus_r1.models.openai_vision import OpenAIVision
from fundus_r1.models.protocol import ChatRequest, VisionRequest
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint

TARGET = 1.15
NAMES = ("drusen", "hard_exudate", "microaneurysm", "retinal_detachment")
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string", "enum": ["present", "absent"]} for name in NAMES},
    "required": list(NAMES),
    "additionalProperties": False,
}
SAID = json.dumps(dict.fromkeys(NAMES, "absent"))


def reply(n: int, said: str) -> bytes:
    """An HTTP answer with `n` choices."""
    message = {"role": "assistant", "content": said}
    choices = [{"index": i, "finish_reason": "stop", "message": message} for i in range(n)]
    usage = {"prompt_tokens": 400, "completion_tokens": 30 * n, "total_tokens": 400 + 30 * n}
    body = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "idle",
                       "choices": choices, "usage": usage}).encode()  # fmt: skip
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Idle(asyncio.Protocol):
    """Waits for the end of a request, then for the latency, then answers."""

    def __init__(self, latency_s: float, answer: bytes):
        self._latency_s = latency_s
        self._answer = answer
        self._head = b""
        self._left: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left is None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            length = self._head[:end].lower().split(b"content-length:")[1].split(b"\r\n")[0]
            self._left = int(length) + end + 4 - len(self._head)
        else:
            self._left -= len(data)
        if self._left <= 0:
            self._head, self._left = b"", None
            asyncio.get_running_loop().call_later(self._latency_s, self._transport.write, self._answer)


def serve(latency_s: float, n: int, tell: Pipe, said: str = SAID) -> None:
    """Serves for ever, and tells its port."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: Idle(latency_s, reply(n, said)), "127.0.0.1", 0
        )
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def ask_about_images(place: Endpoint, requests: int) -> tuple[float, float]:
    """Seconds, and seconds of this process's CPU, for so many requests with five answers each."""
    model = OpenAIVision(place, "idle")
    image = random.Random(0).randbytes(40_000)
    prompt = "Which of the findings are present? " * 43

    def asked(number: int) -> Iterator[VisionRequest]:
        return (VisionRequest(image, prompt, 5, 512, 1.0, seed, SCHEMA) for seed in range(number))

    list(model.generate(asked(1)))
    start, computed = time.perf_counter(), time.process_time()
    answered = sum(len(answer.texts) for answer in model.generate(asked(requests)))
    seconds, cpu = time.perf_counter() - start, time.process_time() - computed
    model.close()
    assert answered == 5 * requests and not model.usage.counts().get("retried")
    return seconds, cpu


def ask_texts(place: Endpoint, requests: int) -> tuple[float, float]:
    """Seconds, and seconds of this process's CPU, for so many requests of 1,500 characters."""
    model = OpenAIChat(Chat(engine="openai", model="idle"), place)
    asked = [
        ChatRequest("trace", (("user", f"{number} {'why? ' * 300}"),), schema=SCHEMA)
        for number in range(requests)
    ]
    model.complete(asked[:1])
    start, computed = time.perf_counter(), time.process_time()
    answered = len(model.complete(asked))
    seconds, cpu = time.perf_counter() - start, time.process_time() - computed
    model.close()
    assert answered == requests and not model.usage.counts().get("retried")
    return seconds, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    given = parser.parse_args()
    ideal = given.requests * given.latency / given.concurrency
    spawn = multiprocessing.get_context("spawn")
    for name, n, measure in (("image n=5", 5, ask_about_images), ("text", 1, ask_texts)):
        here, there = spawn.Pipe()
        server = spawn.Process(target=serve, args=(given.latency, n, there), daemon=True)
        server.start()
        try:
            place = Endpoint(url=f"http://127.0.0.1:{here.recv()}/v1", concurrency=given.concurrency)
            seconds, cpu = measure(place, given.requests)
        finally:
            server.terminate()
            server.join()
        print(f"{name}: {given.requests} requests in {seconds:.2f} s, ideal {ideal:.2f} s, "
              f"ratio {seconds / ideal:.3f} (target {TARGET}); "
              f"{1000 * cpu / given.requests:.2f} ms of CPU a request", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
