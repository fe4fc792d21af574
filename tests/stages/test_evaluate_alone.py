from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fundus_r1.errors import DataError, ModelError
from fundus_r1.rows import Prediction, Score
from fundus_r1.stages.evaluate_alone import evaluate_alone


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A server with one model, which says "Drusen" to whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply({"object": "list", "data": [{"id": "eye-7b", "object": "model"}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            message = {"role": "assistant", "content": "<think>Mounds.</think> <answer>Drusen</answer>"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            self._reply({"model": "eye-7b", "choices": [choice]})

        def _reply(self, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data" / "OmniMedVQA"
    file = root / "QA_information/Open-access/JSIEC.json"
    file.parent.mkdir(parents=True)
    (root / "Images/JSIEC").mkdir(parents=True)
    items = []
    for number, right in enumerate(["Drusen", "CNV", "Drusen", "Drusen"]):
        # A TIFF travels as PNG: an endpoint takes PNG and JPEG only.
        image = f"Images/JSIEC/{number}.{'tif' if number else 'png'}"
        Image.new("RGB", (48, 48), (number, 40, 20)).save(root / image)
        items.append(
            {
                "dataset": "JSIEC", "question_id": f"JSIEC_{number}", "question_type": "Disease Diagnosis",
                "question": "What is it?", "gt_answer": right, "image_path": image,
                "option_A": "CNV", "option_B": "Drusen", "modality_type": "Fundus Photography",
            }
        )  # fmt: skip
    file.write_text(json.dumps(items))
    return tmp_path / "data"


def rows(path: Path, row_type: type) -> list[Any]:
    return [row_type.model_validate_json(line) for line in path.read_text().splitlines()]


def test_an_endpoint_is_scored(endpoint, data, tmp_path):
    out = tmp_path / "deep" / "out"
    shown = evaluate_alone(endpoint, data, out)
    said = rows(out / "predictions.jsonl", Prediction)
    assert [p.question_id for p in said] == [f"JSIEC_{n}" for n in range(4)]
    assert {(p.model, p.source, p.extracted) for p in said} == {("eye-7b", "given", ("B",))}
    (overall,) = [s for s in rows(out / "scores.jsonl", Score) if s.level == "overall"]
    assert (overall.benchmark, overall.value, overall.questions) == ("omnimedvqa", 0.75, 4)
    lines = shown.splitlines()
    assert lines[0] == "eye-7b"
    assert lines[2].split() == ["omnimedvqa", "overall", "accuracy", "75.0", "4"]
    assert lines[-1].startswith("0 of 4 answers could not be read")


def test_limit_and_choice_of_benchmarks(endpoint, data, tmp_path):
    evaluate_alone(endpoint, data, tmp_path / "out", limit=1)
    assert len(rows(tmp_path / "out/predictions.jsonl", Prediction)) == 1
    with pytest.raises(DataError, match="no benchmark question"):
        evaluate_alone(endpoint, data, tmp_path / "out", benchmarks=["funbench"])


def test_a_folder_without_questions_is_refused_before_a_model_is_asked(tmp_path):
    with pytest.raises(DataError, match="no benchmark question") as caught:
        evaluate_alone("http://127.0.0.1:9/v1", tmp_path, tmp_path / "out")
    assert caught.value.where == str(tmp_path)


def test_a_damaged_image_is_refused_by_name(endpoint, data, tmp_path):
    (data / "OmniMedVQA/Images/JSIEC/0.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match="JSIEC_0") as caught:
        evaluate_alone(endpoint, data, tmp_path / "out")
    assert caught.value.where.endswith("0.png")


def test_a_folder_that_holds_no_model_is_refused(data, tmp_path):
    with pytest.raises(ModelError):
        evaluate_alone(str(tmp_path), data, tmp_path / "out")


@pytest.mark.shared
def test_real_questions_about_real_images(endpoint, shared, tmp_path):
    shown = evaluate_alone(endpoint, shared, tmp_path / "out")
    said = rows(tmp_path / "out/predictions.jsonl", Prediction)
    assert len(said) == 21
    # The right ones are those about drusen; where no option is "Drusen", nothing can be read.
    assert {p.question_id for p in said if p.correct} == {
        p.question_id for p in said if p.task == "DD" and p.answers == p.extracted
    }
    assert 0 < sum(p.correct for p in said) < 21
    assert "omnimedvqa" in shown
