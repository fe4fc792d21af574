"""Stage 3: each sample one row, by vote or by mask, whoever computes it and in whatever order."""

from __future__ import annotations

import datetime
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fundus_r1.errors import ModelError, StageError, StoreError
from fundus_r1.fingerprint import sha256
from fundus_r1.models.protocol import VisionAnswer, VisionRequest
from fundus_r1.models.usage import Usage
from fundus_r1.models.weights import materialise, model_cache
from fundus_r1.progress import EVENTS_FILE
from fundus_r1.rows import Findings, Modality, Sample, Split, VocabularyEntry, WorkerRun
from fundus_r1.spec import Placement, Science
from fundus_r1.spec.models import Models, TinyModel
from fundus_r1.spec.placement import Engine, StorePlace, Workers
from fundus_r1.spec.science import FindingsScience, Index
from fundus_r1.stages import observing
from fundus_r1.stages.base import Context, as_json
from fundus_r1.stages.findings import STAGE, merge
from fundus_r1.stages.votes import Tally
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import to_parquet

ASKED = ("microaneurysm", "retinal_hemorrhage", "hard_exudate")
TINY = TinyModel(hidden=64, layers=2)
PART = 4


def noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).resize((224, 224)).save(sink, "PNG")
    return sink.getvalue()


def sample(number: int, image: bytes) -> Sample:
    return Sample(
        sample_id=f"idrid/{number:03d}.png", dataset="idrid", modality=Modality.CFP, labels=("mild_npdr",),
        split=Split.TRAIN, patient=f"idrid:{number}", path=f"{number}.png", digest=sha256(image),
        pixels=sha256(image), width=224, height=224, media_type="image/png",
        findings=("hard_exudate",) if number % 3 == 0 else None,
    )  # fmt: skip


class World:
    """A store with an index and its vocabulary."""

    def __init__(self, store, cache, images: list[bytes], science: FindingsScience = FindingsScience()):  # noqa: B008
        self.store = store
        self.samples = [sample(number, image) for number, image in enumerate(images)]
        self.science = Science(findings=science, models=Models(observer=TINY), index=Index(part_size=PART))
        self.placement = Placement(
            store=StorePlace(kind="folder", path="unused"),
            cache=str(cache),
            findings=Workers(workers=2, lease_s=30),
            engine=Engine(max_model_len=512, max_num_seqs=32),
        )
        index = OutputWriter(store, "index", sha256(b"".join(images)))
        for start in range(0, len(images), PART):
            part = slice(start, start + PART)
            data = to_parquet(self.samples[part], images[part])
            index.write_bytes(f"samples/part-{start // PART:05d}.parquet", data, rows=len(images[part]))
        index.write_rows("samples.jsonl", self.samples)
        knowledge = OutputWriter(store, "knowledge", "0" * 64)
        entry = VocabularyEntry(
            label="mild_npdr", modality=Modality.CFP, required=ASKED[:1], supportive=(), absent=ASKED[1:],
            asked=ASKED,
        )  # fmt: skip
        knowledge.write_rows("vocabulary.jsonl", [entry])
        self.inputs = {"index": self.close(index), "knowledge": self.close(knowledge)}

    def close(self, writer: OutputWriter, **counts) -> StageOutput:
        record = writer.close(
            revision=1, science={}, prompts={}, inputs={}, counts=counts, models={},
            started=datetime.datetime.now(datetime.UTC),
        )  # fmt: skip
        return StageOutput(self.store, record)

    def context(self) -> Context:
        science = STAGE.select(self.science)
        inputs = {name: output.record.fingerprint for name, output in self.inputs.items()}
        writer = OutputWriter(self.store, "findings", STAGE.fingerprint(science, inputs))
        return Context(science, self.placement, self.store, writer, self.inputs)

    def run(self) -> tuple[StageOutput, list[Findings]]:
        ctx = self.context()
        result = STAGE.run(ctx)
        assert result.models == {"observer": "tiny-64x2-seed0"}
        output = self.close(ctx.output, **result.counts)
        return output, list(output.read_rows("findings.jsonl", Findings))


class Scripted:
    """An observer whose answer follows from the request alone; it counts what it is asked."""

    def __init__(self):
        self.asked: list[VisionRequest] = []
        self.opened = self.closed = 0
        self.streams = 0
        self.usage = Usage()

    def open(self, ctx):
        self.opened += 1
        return self

    def generate(self, requests):
        self.streams += 1
        for request in requests:
            self.asked.append(request)
            self.usage.add(requests=1, completion_tokens=request.n)
            yield VisionAnswer(tuple(self.say(request, n) for n in range(request.n)), "scripted")

    def say(self, request: VisionRequest, number: int) -> str:
        bits = int(sha256(request.image + f"{request.seed}{number}".encode())[:8], 16)
        if bits % 5 == 0:
            return "I cannot tell."
        said = {
            name: "present" if bits >> place & 1 else "absent"
            for place, name in enumerate(request.schema["required"])
        }
        return json.dumps(said)

    def close(self):
        self.closed += 1


@pytest.fixture
def observer(monkeypatch):
    scripted = Scripted()
    monkeypatch.setattr(observing, "open_observer", scripted.open)
    return scripted


IMAGES = [noise(seed) for seed in range(10)]


def test_every_sample_has_its_row_in_order(store, tmp_path, observer):
    world = World(store, tmp_path, IMAGES)
    output, rows = world.run()
    assert [row.sample_id for row in rows] == [sample.sample_id for sample in world.samples]
    for row, one in zip(rows, world.samples, strict=True):
        assert row.asked == ASKED and row.rollouts == len(row.raw) == 5 and row.model == "scripted"
        assert row.observed == tuple(key for key in ASKED if row.votes[key] > 2)
        assert row.source == ("pixel" if one.findings else "observer")
        assert row.present == (one.findings or row.observed)
        silent = sum(text == "I cannot tell." for text in row.raw)
        assert row.abstentions == dict.fromkeys(ASKED, silent)
    votes = output.read_json("votes.json")
    assert sum(votes["histogram"].values()) == len(rows) * len(ASKED)
    assert sum(n for key, n in votes["histogram"].items() if int(key) > 2) == output.record.counts["kept"]
    assert output.record.counts["pixel"] == 4 and output.record.counts["abstentions"] > 0
    assert observer.opened == observer.closed == 1
    assert len({request.seed for request in observer.asked}) == len(rows)


def test_workers_share_the_parts_and_the_merge_computes_nothing(store, tmp_path, observer):
    alone = World(store, tmp_path, IMAGES).run()[0].read_bytes("findings.jsonl")
    observer.asked.clear()
    other = type(store)(tmp_path / "other")
    world = World(other, tmp_path, IMAGES)
    fan_out = STAGE.fan_out
    assert fan_out.missing(world.context()) == [0, 1, 2]
    workers = [threading.Thread(target=fan_out.work, args=(world.context(), number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert fan_out.missing(world.context()) == []
    assert len(observer.asked) == len(IMAGES)
    opened = observer.opened
    assert world.run()[0].read_bytes("findings.jsonl") == alone
    assert observer.opened == opened == observer.closed


def test_the_size_of_the_parts_changes_no_row(store, tmp_path, observer, monkeypatch):
    rows = World(store, tmp_path, IMAGES).run()[1]
    monkeypatch.setitem(globals(), "PART", 7)
    assert World(type(store)(tmp_path / "other"), tmp_path, IMAGES).run()[1] == rows


def test_masked_images_need_not_be_asked(store, tmp_path, observer):
    world = World(store, tmp_path, IMAGES, FindingsScience(observe_masked=False))
    rows = world.run()[1]
    for row in rows:
        if row.source == "pixel":
            assert row.rollouts == 0 and row.raw == row.observed == row.asked == () and row.model == ""
            assert row.present == ("hard_exudate",)
    assert len(observer.asked) == sum(row.source == "observer" for row in rows) == 6


def test_no_model_is_loaded_where_masks_say_all(store, tmp_path, observer):
    world = World(store, tmp_path, IMAGES[:1], FindingsScience(observe_masked=False))
    assert world.run()[1][0].source == "pixel"
    assert observer.opened == 0


def test_the_observer_is_freed_when_it_fails(store, tmp_path, observer, monkeypatch):
    def fail(requests):
        raise StageError("no power")

    monkeypatch.setattr(observer, "generate", fail)
    with pytest.raises(StageError):
        World(store, tmp_path, IMAGES).run()
    assert observer.closed == 1


def test_the_merge_refuses_rows_that_are_missing_double_or_strange(store, tmp_path, observer):
    world = World(store, tmp_path, IMAGES)
    rows = world.run()[1]
    assert merge(world.samples, rows[::-1]) == rows
    with pytest.raises(StageError, match=r"1 samples without a row \(idrid/000.png\)"):
        merge(world.samples, rows[1:])
    with pytest.raises(StageError, match="1 samples with several rows"):
        merge(world.samples, [*rows, rows[0]])
    with pytest.raises(StageError, match="1 rows without a sample"):
        merge(world.samples[1:], rows)


def test_the_histogram_counts_each_question_once(store, tmp_path, observer):
    rows = World(store, tmp_path, IMAGES).run()[1]
    tally = Tally(5)
    assert list(tally.passing(rows)) == rows
    counted = tally.histogram()
    for votes in range(6):
        per_finding = sum(by[str(votes)] for by in counted["by_finding"].values())
        assert counted["histogram"][str(votes)] == per_finding


def test_a_part_is_one_stream_and_each_answer_is_told_when_it_comes(store, tmp_path, observer, monkeypatch):
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS_FILE, str(events))
    told: list[int] = []
    say = observer.say

    def watching(request: VisionRequest, number: int) -> str:
        if number == 0:
            told.append(len(events.read_text().splitlines()) if events.exists() else 0)
        return say(request, number)

    monkeypatch.setattr(observer, "say", watching)
    World(store, tmp_path, IMAGES).run()
    assert observer.streams == 3
    assert told == list(range(len(IMAGES))), "an image is told before the next one is asked about"
    progress = [json.loads(line) for line in events.read_text().splitlines()]
    assert [event["done"] for event in progress] == list(range(1, len(IMAGES) + 1))
    assert {event["total"] for event in progress} == {len(IMAGES)}


BROKEN = ['{"microaneurysm": "present", "retinal hem', "", "微动脉瘤：存在", "[]", '{"microaneurysm": 1}']


def test_answers_that_cannot_be_read_are_counted_abstentions(store, tmp_path, observer, monkeypatch):
    monkeypatch.setattr(observer, "say", lambda request, number: BROKEN[number])
    output, rows = World(store, tmp_path, IMAGES[:3]).run()
    for row in rows:
        assert row.raw == tuple(BROKEN)
        assert row.votes == {ASKED[0]: 1, ASKED[1]: 0, ASKED[2]: 0} and row.observed == ()
        assert row.abstentions == {ASKED[0]: 4, ASKED[1]: 5, ASKED[2]: 5}
    assert output.record.counts["abstentions"] == 14 * 3
    assert output.read_json("votes.json")["agreement"]["all"]["items"] == 0


@pytest.mark.parametrize(("answers", "told"), [(3, "no answer"), (5, "more answers than it was asked for")])
def test_an_observer_that_answers_too_little_or_too_much_is_refused(
    store, tmp_path, observer, monkeypatch, answers, told
):
    def miscount(requests):
        assert len(list(requests)) == 4
        return [VisionAnswer(("",) * 5, "m")] * answers

    monkeypatch.setattr(observer, "generate", miscount)
    world = World(store, tmp_path, IMAGES[:4])
    with pytest.raises(ModelError, match=told):
        world.run()
    assert STAGE.fan_out.missing(world.context()) == [0], "and nothing of the part is kept"


def test_the_number_of_workers_may_change_between_attempts(store, tmp_path, observer, monkeypatch):
    alone = World(type(store)(tmp_path / "alone"), tmp_path, IMAGES).run()[0].read_bytes("findings.jsonl")
    world, fan_out = World(store, tmp_path, IMAGES), STAGE.fan_out
    observer.asked.clear()
    generate = observer.generate

    def evicted(requests):
        answers = generate(requests)
        if observer.streams == 1:
            next(answers)
            raise StageError("evicted")
        return answers

    monkeypatch.setattr(observer, "generate", evicted)
    observer.streams = 0
    with pytest.raises(StageError):
        fan_out.work(world.context(), 0)
    assert fan_out.missing(world.context()) == [1, 2]
    monkeypatch.setattr(observer, "generate", generate)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda worker: fan_out.work(world.context(), worker), (7, 1, 4)))
    output = world.run()[0]
    assert output.read_bytes("findings.jsonl") == alone
    assert len(IMAGES) <= len(observer.asked) <= len(IMAGES) + PART


def test_what_each_worker_did_is_told_and_summed(store, tmp_path, observer):
    world = World(store, tmp_path, IMAGES)
    for worker in range(2):
        STAGE.fan_out.work(world.context(), worker)
    killed = WorkerRun(
        worker=1, attempt="0", parts=1, images=4, seconds=2.0, images_per_s=2.0, usage={"requests": 4}
    )
    store.put(f"{world.context().output.prefix}/workers/1-0.json", killed.model_dump_json().encode())
    output, _ = world.run()
    runs = list(output.read_rows("workers.jsonl", WorkerRun))
    assert [(run.worker, run.parts, run.images) for run in runs] == [(0, 3, 10), (1, 1, 4)]
    assert all(run.images_per_s > 0 for run in runs)
    counts = output.record.counts
    assert counts["workers"] == 2
    assert counts["observer_requests"] == 10 + 4 and counts["observer_completion_tokens"] == 50


def test_what_a_worker_left_and_nobody_can_read_is_told(store, tmp_path, observer):
    world = World(store, tmp_path, IMAGES[:2])
    store.put(f"{world.context().output.prefix}/workers/9-x.json", b"{")
    with pytest.raises(StoreError, match="left about itself"):
        world.run()


def test_a_worker_foresees_its_share_of_the_images(store, tmp_path, observer, monkeypatch):
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS_FILE, str(events))
    STAGE.fan_out.work(World(store, tmp_path, IMAGES).context(), 1)
    progress = [json.loads(line) for line in events.read_text().splitlines()]
    assert progress[0]["worker"] == 1 and progress[0]["total"] == 5
    # It was alone after all, so it did more than its share; the time left is never negative.
    assert progress[-1]["done"] == progress[-1]["total"] == 10
    assert all(event["eta_s"] >= 0 for event in progress)


@given(st.permutations(range(6)), st.lists(st.integers(0, 7), max_size=3), st.sets(st.integers(0, 5)))
def test_the_merge_takes_exactly_one_row_a_sample(order, more, gone):
    samples = [sample(number, b"") for number in range(6)]
    numbers = [n for n in order if n not in gone] + more
    rows = [row(f"idrid/{n:03d}.png") for n in numbers]
    if sorted(numbers) == list(range(6)):
        assert [one.sample_id for one in merge(samples, rows)] == [one.sample_id for one in samples]
    else:
        with pytest.raises(StageError, match="not what the index has"):
            merge(samples, rows)


def row(sample_id: str) -> Findings:
    return Findings(
        sample_id=sample_id, modality=Modality.CFP, source="observer", asked=(), rollouts=0, votes={},
        abstentions={}, observed=(), present=(), raw=(), model="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda samples: samples[::-1], "are not sorted"),
        (lambda samples: [samples[0], *samples], "are not sorted"),
        (lambda samples: [*samples, sample(11, b"")], "more samples than its parts"),
        (lambda samples: samples[:-1], "1 rows without a sample"),
        (lambda samples: [*samples[:-1], sample(10, b"")], "1 samples without a row"),
    ],
)
def test_an_index_that_does_not_fit_its_parts_is_refused(store, tmp_path, observer, change, told):
    world = World(store, tmp_path, IMAGES)
    world.run()
    index = OutputWriter(store, "index", world.inputs["index"].record.fingerprint)
    index.files.update(world.inputs["index"].record.files)
    index.write_rows("samples.jsonl", change(world.samples))
    world.inputs["index"] = world.close(index)
    with pytest.raises(StageError, match=told):
        world.run()


def test_damage_in_one_part_costs_that_part_alone(store, tmp_path, observer):
    world = World(store, tmp_path, IMAGES)
    before = world.run()[0]
    prefix = world.context().output.prefix
    store.put(f"{prefix}/{before.record.files['parts/00001.jsonl'].key}", b"bit rot")
    with pytest.raises(StoreError, match="Part 1 does not have the checksum") as caught:
        world.run()
    store.delete(caught.value.where.removeprefix(f"{store.uri}/"))
    observer.asked.clear()
    assert world.run()[0].read_bytes("findings.jsonl") == before.read_bytes("findings.jsonl")
    assert len(observer.asked) == PART


def test_the_fingerprint_follows_the_science(store, tmp_path):
    inputs = {"index": "a", "knowledge": "b"}

    def of(science: Science) -> str:
        return STAGE.fingerprint(STAGE.select(science), inputs)

    base = of(Science())
    assert of(Science(findings=FindingsScience(seed=1))) != base
    assert of(Science(models=Models(observer=TINY))) != base
    assert of(Science(setup="A", models=Models(student=TINY))) == base
    assert as_json(STAGE.select(Science())).keys() == {"findings", "observer"}


@pytest.mark.engines
def test_noise_in_one_image_changes_its_row_alone(store, tmp_path):
    """The real engine: an answer hangs on its own image, and on nothing that is asked beside it."""
    materialise(TINY, model_cache(Placement(cache=str(tmp_path))))
    before = World(store, tmp_path, IMAGES[:6]).run()[1]
    changed = [*IMAGES[:6]]
    changed[2] = noise(99)
    after = World(type(store)(tmp_path / "other"), tmp_path, changed).run()[1]
    assert [old == new for old, new in zip(before, after, strict=True)] == [n != 2 for n in range(6)]
    assert all(not any(row.abstentions.values()) for row in before)
    assert len({row.raw for row in before}) == 6
