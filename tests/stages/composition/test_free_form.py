"""Free-form traces: the baseline of Tab. 6 beside the paper's mode, and as a mode of its own."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from PIL import Image

from fundus_r1.errors import ModelError, StageError
from fundus_r1.models.protocol import VisionAnswer, VisionRequest
from fundus_r1.models.usage import Usage
from fundus_r1.models.weights import model_id
from fundus_r1.prompts.student import student_response
from fundus_r1.rows import Reason, Trace, Verdict
from fundus_r1.spec import Science
from fundus_r1.spec.models import TinyModel
from fundus_r1.spec.placement import Engine
from fundus_r1.stages import free_form, writing
from fundus_r1.stages.quality import STAGE as QUALITY
from fundus_r1.stages.traces import STAGE
from fundus_r1.storage.output import StageOutput

SAYS = (
    "Scattered microaneurysms and dot hemorrhages are seen. Some drusen are visible too. Therefore, this is "
    "moderate NPDR."
)


class Vision:
    """Writes the same trace of any image; remembers what it was asked and whether it was closed."""

    def __init__(self, fails_after: int | None = None, text: str = student_response(SAYS, "Moderate NPDR")):
        self.usage = Usage()
        self.asked: list[VisionRequest] = []
        self.closed = False
        self.fails_after = fails_after
        self.text = text

    def generate(self, requests: Iterable[VisionRequest]) -> Iterator[VisionAnswer]:
        for request in requests:
            if len(self.asked) == self.fails_after:
                raise ModelError("gone", transient=True)
            self.asked.append(request)
            self.usage.add(requests=1)
            yield VisionAnswer((f" {self.text}\n",), "vision-1")

    def close(self) -> None:
        self.closed = True


def with_traces(science: Science, **traces: object) -> Science:
    tree = science.model_dump()
    tree["traces"] |= traces
    return Science.model_validate(tree)


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Vision:
    made = Vision()
    monkeypatch.setattr(free_form, "open_vision", lambda *_, **__: made)
    return made


def rows_of(output: StageOutput, name: str) -> list[Trace]:
    return list(output.read_rows(name, Trace))


def masked(world: Any) -> list[str]:
    return [row.sample_id for row in world.findings if row.source == "pixel"]


def test_the_baseline_has_one_trace_of_each_image_with_masks(
    world: Any, science: Science, vision: Vision
) -> None:
    plain = rows_of(world.run(STAGE, science), "traces.jsonl")
    output = world.run(STAGE, with_traces(science, baseline=True))
    free = rows_of(output, "free.jsonl")
    assert [row.sample_id for row in free] == masked(world)
    assert {row.mode for row in free} == {"free"} and {row.model for row in free} == {"vision-1"}
    assert {row.text for row in free} == {vision.text}
    present = {row.sample_id: row.present for row in world.findings}
    assert all(row.findings == present[row.sample_id] and row.source == "pixel" for row in free)
    assert rows_of(output, "traces.jsonl") == plain
    assert output.record.models == {"writer": "rules", "free_form": "vision-1"}
    assert output.record.counts["free"] == output.record.counts["free_form_requests"] == len(free)
    assert vision.closed


def test_each_request_carries_its_own_image_and_question(
    world: Any, science: Science, vision: Vision
) -> None:
    world.run(STAGE, with_traces(science, baseline=True, free_max_tokens=77))
    assert [request.image.decode() for request in vision.asked] == [
        f"image of {name}" for name in masked(world)
    ]
    by_sample = {row.sample_id: row for row in world.triplets}
    for request, name in zip(vision.asked, masked(world), strict=True):
        assert by_sample[name].question in request.prompt and by_sample[name].answer in request.prompt
        assert (request.n, request.max_tokens, request.temperature, request.schema) == (1, 77, 0.0, None)
    assert len({request.seed for request in vision.asked}) == len(vision.asked)


def test_an_image_with_several_triplets_has_one_trace_in_the_baseline(
    world: Any, science: Science, vision: Vision
) -> None:
    again = [row.model_copy(update={"triplet_id": f"{row.sample_id}#1"}) for row in world.triplets]
    world.triplets = sorted([*world.triplets, *again], key=lambda row: row.triplet_id)
    world.begin()
    free = rows_of(world.run(STAGE, with_traces(science, baseline=True)), "free.jsonl")
    assert [row.triplet_id for row in free] == [f"{name}#0" for name in masked(world)]
    output = world.run(STAGE, with_traces(science, mode="free"))
    assert [row.triplet_id for row in rows_of(output, "traces.jsonl")] == [
        row.triplet_id for row in world.triplets
    ]
    assert rows_of(output, "free.jsonl") == free


def test_in_free_mode_all_traces_are_free_and_the_writer_is_not_opened(
    world: Any, science: Science, vision: Vision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "open_chat", None)
    output = world.run(STAGE, with_traces(science, mode="free"))
    rows = rows_of(output, "traces.jsonl")
    assert [row.triplet_id for row in rows] == [row.triplet_id for row in world.triplets]
    assert {row.mode for row in rows} == {"free"}
    assert len(vision.asked) == len(rows), "what the baseline shows is not asked for again"
    assert [row.sample_id for row in rows_of(output, "free.jsonl")] == masked(world)
    assert output.record.models == {"free_form": "vision-1"}

    verdicts = list(world.run(QUALITY, science).read_rows("verdicts.jsonl", Verdict))
    assert not any(row.accepted for row in verdicts)
    moderate = {row.triplet_id for row in world.triplets if row.label == "moderate_npdr"}
    for row in verdicts:
        reasons = {reason for reason, _ in row.rules}
        assert {Reason.FINDING_INCORRECT, Reason.KNOWLEDGE_OMITTED} <= reasons
        assert (Reason.ANSWER_MISMATCH in reasons) == (row.triplet_id not in moderate)


def test_without_an_image_with_masks_no_vision_model_is_opened(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_form, "open_vision", None)
    world.findings = [row.model_copy(update={"source": "observer"}) for row in world.findings]
    world.begin()
    output = world.run(STAGE, with_traces(science, baseline=True))
    assert rows_of(output, "free.jsonl") == [] and output.record.models == {"writer": "rules"}


def test_only_parts_with_an_image_that_is_wanted_are_read(
    world: Any, science: Science, vision: Vision, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {world.findings[place].sample_id for place in (0, 1, 35)}
    world.findings = [
        row.model_copy(update={"source": "pixel" if row.sample_id in few else "observer"})
        for row in world.findings
    ]
    world.begin()
    read: list[str] = []
    whole = StageOutput.read_bytes

    def told(self: StageOutput, name: str) -> bytes:
        read.append(name)
        return whole(self, name)

    monkeypatch.setattr(StageOutput, "read_bytes", told)
    free = rows_of(world.run(STAGE, with_traces(science, baseline=True)), "free.jsonl")
    assert {row.sample_id for row in free} == few
    assert [name for name in read if name.startswith("samples/")] == [
        "samples/part-00000.parquet",
        "samples/part-00003.parquet",
    ]


def test_what_a_try_that_died_has_paid_for_is_not_asked_again(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Vision(fails_after=25), Vision()
    models = iter([first, second])
    monkeypatch.setattr(free_form, "open_vision", lambda *_, **__: next(models))
    free = with_traces(science, mode="free")
    with pytest.raises(ModelError, match="gone"):
        world.run(STAGE, free)
    assert first.closed
    output = world.run(STAGE, free)
    assert len(first.asked) == 25 and len(second.asked) == len(world.triplets) - 20, "a part holds ten images"
    assert [row.triplet_id for row in rows_of(output, "traces.jsonl")] == [
        row.triplet_id for row in world.triplets
    ]


@pytest.mark.parametrize("text", ["", "不知道", "no tags at all", "<think>never ends"])
def test_an_answer_of_no_use_is_kept_and_counted(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(free_form, "open_vision", lambda *_, **__: Vision(text=text))
    output = world.run(STAGE, with_traces(science, mode="free"))
    assert output.record.counts["malformed"] == len(world.triplets)
    assert {row.text for row in rows_of(output, "traces.jsonl")} == {text}
    verdicts = world.run(QUALITY, science).read_rows("verdicts.jsonl", Verdict)
    assert all(Reason.FORMAT in dict(row.rules) for row in verdicts)


def test_a_triplet_whose_image_the_index_lacks_is_an_error(
    world: Any, science: Science, vision: Vision
) -> None:
    world.samples = world.samples[:-1]
    world.begin()
    with pytest.raises(StageError, match="does not hold the images"):
        world.run(STAGE, with_traces(science, mode="free"))


def test_without_an_endpoint_a_served_model_says_what_to_do(world: Any, science: Science) -> None:
    with pytest.raises(ModelError, match="qwen3-vl-plus") as told:
        world.run(STAGE, with_traces(science, baseline=True))
    assert "placement.endpoints.free_form" in str(told.value)


def test_what_no_trace_depends_on_moves_no_fingerprint(science: Science) -> None:
    def chosen(**traces: object) -> str:
        return STAGE.select(with_traces(science, **traces)).model_dump_json()

    def other(role: str, **traces: object) -> str:
        tree = with_traces(science, **traces).model_dump()
        tree["models"][role] = (
            {"engine": "openai", "model": "x"} if role == "writer" else {"kind": "served", "name": "x"}
        )
        return STAGE.select(Science.model_validate(tree)).model_dump_json()

    assert other("free_form") == chosen() and other("writer") != chosen()
    assert other("free_form", baseline=True) != chosen(baseline=True)
    assert other("writer", mode="free") == chosen(mode="free")
    assert other("free_form", mode="free") != chosen(mode="free")


@pytest.mark.engines
def test_a_real_model_looks_at_each_image_and_its_garbage_is_kept_and_rejected(
    world: Any, science: Science
) -> None:
    def png(sample_id: str) -> bytes:
        buffer = io.BytesIO()
        shade = int(sample_id[-6:-4]) * 2
        Image.new("RGB", (56, 56), (120, shade, 20)).save(buffer, format="PNG")
        return buffer.getvalue()

    world.image_of = png
    world.triplets = world.triplets[:9]
    world.begin()
    world.placement = world.placement.model_copy(
        update={"engine": Engine(max_model_len=1024, max_num_seqs=8)}
    )
    tree = with_traces(science, baseline=True, free_max_tokens=8).model_dump()
    tree["models"]["free_form"] = {"kind": "tiny", "hidden": 64, "layers": 2}
    output = world.run(STAGE, Science.model_validate(tree))
    free = rows_of(output, "free.jsonl")
    assert [row.sample_id for row in free] == masked(world)[: len(free)] and len(free) == 5
    assert all(row.text for row in free) and output.record.counts["free_malformed"] == len(free)
    assert output.record.models["free_form"] == model_id(TinyModel(hidden=64, layers=2))


def test_a_baseline_without_an_endpoint_is_told_before_the_writer_is_asked(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "open_chat", None)
    tree = with_traces(science, baseline=True).model_dump()
    tree["models"]["free_form"] = {"kind": "served", "name": "somebody/some-model"}
    with pytest.raises(ModelError, match="no endpoint is given") as refused:
        world.run(STAGE, Science.model_validate(tree))
    assert refused.value.where == "placement.endpoints.free_form"
