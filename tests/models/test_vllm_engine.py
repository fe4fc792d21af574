"""vLLM in process: repeatable, independent, constrained, and gone when it is closed."""

from __future__ import annotations

import io
import itertools
import json
import shutil

import psutil
import pytest
from PIL import Image

from fundus_r1.errors import DataError, ModelError
from fundus_r1.models.protocol import VisionRequest
from fundus_r1.models.tiny import build_tiny
from fundus_r1.models.vllm_engine import VllmVision, _arguments
from fundus_r1.spec.models import TinyModel
from fundus_r1.spec.placement import Engine

pytestmark = pytest.mark.engines

ENGINE = Engine(max_model_len=512, max_num_seqs=32, kv_cache_gib=1)
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string", "enum": ["present", "absent"]} for name in ("drusen", "tear")},
    "required": ["drusen", "tear"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"), TinyModel())


@pytest.fixture(scope="module")
def vision(folder):
    model = VllmVision(folder, ENGINE, model_name="tiny")
    yield model
    model.close()


def png(shade: int, side: tuple[int, int] = (224, 224)) -> bytes:
    image = Image.new("RGB", side, (200, 90, 30))
    image.paste((shade, shade // 2, 0), (40, 60, 140, 150))
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def request(shade: int = 0, **changes) -> VisionRequest:
    values = {
        "image": png(shade),
        "prompt": f"What is it? {'Well? ' * (shade % 5)}",
        "n": 3,
        "max_tokens": 24,
        "temperature": 1.0,
        "seed": shade,
    }
    return VisionRequest(**(values | changes))


def texts(vision, *requests):
    return [answer.texts for answer in vision.generate(list(requests))]


# These two open engines of their own and look at the whole process, so they stand before the first
# test that opens the shared one.


def test_it_closes_without_a_trace_and_opens_again(folder, capfd):
    import torch

    here, set_threads, threads = psutil.Process(), torch.set_num_threads, torch.get_num_threads()
    before = set(here.children(recursive=True))
    said = []
    for _ in range(2):
        model = VllmVision(folder, ENGINE, model_name="tiny")
        assert torch.get_num_threads() == 1
        said.append(texts(model, request()))
        model.close()
        model.close()
        assert set(here.children(recursive=True)) <= before
        assert not torch.distributed.is_initialized()
        assert torch.set_num_threads is set_threads and torch.get_num_threads() == threads
    assert said[0] == said[1]
    assert capfd.readouterr().out == ""


def test_a_broken_model_is_an_error_for_people(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 no weights here")
    with pytest.raises(ModelError, match="could not load") as refused:
        VllmVision(broken, ENGINE, model_name="broken")
    assert refused.value.where == str(broken)
    with pytest.raises(ModelError, match="max_model_len"):
        VllmVision(folder, Engine(max_model_len=1_000_000), model_name="tiny")


def test_the_same_list_gets_the_same_answers(vision):
    asked = [request(shade) for shade in range(0, 250, 30)]
    first = list(vision.generate(asked))
    assert list(vision.generate(asked)) == first
    assert [len(answer.texts) for answer in first] == [3] * len(asked)
    assert {answer.model for answer in first} == {"tiny"}
    assert list(vision.generate([])) == []


def test_an_answer_depends_on_its_own_request_alone(vision):
    asked = [request(shade, schema=SCHEMA if shade % 2 else None) for shade in range(0, 250, 21)]
    together = texts(vision, *asked)
    assert texts(vision, *reversed(asked)) == together[::-1]
    assert [texts(vision, one)[0] for one in asked] == together


def test_rollouts_and_seeds_differ(vision):
    (first,), (second,) = (texts(vision, request(seed=seed)) for seed in (1, 2))
    # Neighbouring seeds share no rollout, though vLLM numbers rollouts from the seed on.
    assert len({*first, *second}) == 6


def test_greedy_rollouts_are_alike(vision):
    (answer,) = texts(vision, request(temperature=0.0))
    assert len(answer) == 3 and len(set(answer)) == 1
    assert texts(vision, request(temperature=0.0, n=1, seed=9)) == [answer[:1]]


def test_the_image_changes_the_answer(vision):
    greedy = texts(vision, *(request(n=1, temperature=0.0, image=png(shade)) for shade in (0, 120, 250)))
    assert len(set(greedy)) == 3
    near, far = texts(vision, *(request(image=png(shade)) for shade in (0, 250)))
    assert not set(near) & set(far)


def test_answers_keep_to_the_schema_without_filling(vision):
    asked = [request(shade, schema=SCHEMA, max_tokens=60) for shade in (0, 100)]
    for text in itertools.chain(*texts(vision, *asked)):
        said = json.loads(text)
        assert set(said) == {"drusen", "tear"} and set(said.values()) <= {"present", "absent"}
        assert len(text) <= len('{"drusen": "present", "tear": "present"}')


def test_any_size_and_kind_of_image_is_taken(vision):
    sink = io.BytesIO()
    Image.new("L", (1500, 900), 80).save(sink, "JPEG")
    (answer,) = texts(vision, request(image=sink.getvalue()))
    assert len(answer) == 3


def test_what_does_not_fit_is_refused_and_the_engine_goes_on(vision):
    before = texts(vision, request())
    with pytest.raises(ModelError, match="refused") as refused:
        texts(vision, request(), request(prompt="much " * 600))
    assert "placement.engine.max_model_len" in refused.value.hint
    with pytest.raises(ModelError, match="was cut after") as cut:
        texts(vision, request(prompt="a " * 350, max_tokens=500, n=1))
    assert "placement.engine.max_model_len" in cut.value.hint
    with pytest.raises(DataError, match="cannot be decoded"):
        texts(vision, request(image=b"\x89PNG no image"))
    assert texts(vision, request()) == before


def test_a_stream_is_read_as_far_as_it_is_used_and_can_be_left(vision):
    before = texts(vision, request())
    taken = itertools.count()
    answers = vision.generate(request(number % 250, max_tokens=2) for number in taken)
    assert [len(answer.texts) for answer in itertools.islice(answers, 40)] == [3] * 40
    answers.close()
    assert next(taken) < 40 + 4 * ENGINE.max_num_seqs + 20
    assert not vision._llm.llm_engine.has_unfinished_requests()
    assert texts(vision, request()) == before


def test_a_short_answer_does_not_wait_for_a_long_one(vision):
    long, short = request(max_tokens=80, n=1), [request(shade, max_tokens=2) for shade in range(60)]
    engine = vision._llm.llm_engine
    steps = 0

    def counted(step=engine.step):
        nonlocal steps
        steps += 1
        return step()

    engine.step = counted
    try:
        answers = texts(vision, long, *short)
    finally:
        del engine.step
    # 180 sequences of two tokens fit beside the long one into the steps that it takes alone.
    assert len(answers) == 61 and steps < 100


def test_what_was_asked_is_counted(folder, vision):
    before = vision.usage.counts()
    texts(vision, request(max_tokens=5), request(1, max_tokens=5, temperature=0.0))
    spent = {name: n - before.get(name, 0) for name, n in vision.usage.counts().items()}
    assert spent["requests"] == 2 and spent["prompt_tokens"] > 100
    assert 4 <= spent["completion_tokens"] <= 20


def test_what_a_gpu_is_told():
    place = Engine(tensor_parallel=4, gpu_memory=0.8, image_cache_gib=2.5, max_num_seqs=99)
    told = _arguments(place, on_cpu=False)
    assert (told["tensor_parallel_size"], told["gpu_memory_utilization"], told["max_num_seqs"]) == (
        4,
        0.8,
        99,
    )
    assert told["enable_prefix_caching"] is True and told["mm_processor_cache_gb"] == 2.5
    assert "enforce_eager" not in told and "enable_chunked_prefill" not in told
    here = _arguments(place, on_cpu=True)
    assert here["enable_prefix_caching"] is False and here["mm_processor_cache_gb"] == 0
    assert here["enable_chunked_prefill"] is False and here["dtype"] == "float32"
