"""Cards from the outputs of the stages, read side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_run import KINDS, PART, MadeRun, put, write_run

from fundus_r1.errors import DataError, StageError
from fundus_r1.rows import Sample, Trace
from fundus_r1.stages.gallery import SINGLE_TRACES, cards, chosen, heading, write_gallery
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.tables import to_parquet

COUNT = PART + 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    return FolderStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def outputs(store: FolderStore) -> dict[str, StageOutput]:
    return write_run(store, COUNT)


def rows_without(outputs: dict[str, StageOutput], unwanted: Callable[[Trace], bool]) -> list[Trace]:
    return [row for row in outputs["traces"].read_rows("traces.jsonl", Trace) if not unwanted(row)]


def test_each_trace_gets_its_own_image_question_votes_and_verdict(outputs: dict[str, StageOutput]) -> None:
    made, order = MadeRun(), iter(outputs["index"].read_rows("samples.jsonl", Sample))
    seen = 0
    for mine, image in cards(outputs):
        sample = next(order)
        number = int(sample.path.removeprefix("eye ").removesuffix(".jpg"))
        [card] = mine
        assert (card.sample, image) == (made.sample(number), made.image(number))
        assert (card.trace, card.verdict) == (made.trace(number), made.verdict(number))
        assert (card.triplet, card.findings) == (made.triplet(number), made.findings(number))
        seen += 1
    assert seen == COUNT


def test_cards_that_are_asked_for_come_back_with_their_images(
    store: FolderStore, outputs: dict[str, StageOutput]
) -> None:
    wanted = set(chosen(outputs, 9))
    written = write_gallery(
        OutputWriter(store, "report", "7" * 64), outputs, heading(outputs, ""), keep=wanted
    )
    assert {card.trace.triplet_id for card, _ in written.kept} == wanted
    assert all(image == MadeRun().image(int(card.sample.sample_id[-10:-4])) for card, image in written.kept)


def test_the_choice_is_spread_over_labels_and_verdicts_and_always_the_same(
    outputs: dict[str, StageOutput],
) -> None:
    picked = chosen(outputs, 16)
    assert picked == chosen(outputs, 16) and len(set(picked)) == 16
    kinds = {
        (card.trace.label, card.verdict.accepted)
        for mine, _ in cards(outputs)
        for card in mine
        if card.trace.triplet_id in picked
    }
    assert kinds == {(label, accepted) for _, _, label, _, _ in KINDS for accepted in (True, False)}


def test_images_without_a_trace_are_passed_over(store: FolderStore, outputs: dict[str, StageOutput]) -> None:
    kept = rows_without(outputs, lambda row: row.label == "pdr")
    verdicts = [MadeRun().verdict(int(row.sample_id[-10:-4])) for row in kept]
    fewer = outputs | {
        "traces": put(store, "traces", lambda writer: writer.write_rows("traces.jsonl", kept), "2" * 64),
        "quality": put(
            store, "quality", lambda writer: writer.write_rows("verdicts.jsonl", verdicts), "2" * 64
        ),
    }
    assert [card.trace for mine, _ in cards(fewer) for card in mine] == kept


@pytest.mark.parametrize("damage", ["a verdict is missing", "another order", "a trace of no image"])
def test_outputs_that_do_not_fit_together_are_an_error(
    store: FolderStore, outputs: dict[str, StageOutput], damage: str
) -> None:
    rows = rows_without(outputs, lambda _: False)
    verdicts = [MadeRun().verdict(int(row.sample_id[-10:-4])) for row in rows]
    if damage == "a verdict is missing":
        verdicts.pop()
    elif damage == "another order":
        rows[3], rows[4] = rows[4], rows[3]
    else:
        rows.append(rows[0].model_copy(update={"sample_id": "z/none.png"}))
        verdicts.append(verdicts[0])
    broken = outputs | {
        "traces": put(store, "traces", lambda writer: writer.write_rows("traces.jsonl", rows), "3" * 64),
        "quality": put(
            store, "quality", lambda writer: writer.write_rows("verdicts.jsonl", verdicts), "3" * 64
        ),
    }
    with pytest.raises(StageError, match="do not fit together"):
        list(cards(broken))


def test_a_run_without_traces_has_an_empty_gallery(
    store: FolderStore, outputs: dict[str, StageOutput]
) -> None:
    none = outputs | {
        "traces": put(store, "traces", lambda writer: writer.write_rows("traces.jsonl", ()), "4" * 64),
        "quality": put(store, "quality", lambda writer: writer.write_rows("verdicts.jsonl", ()), "4" * 64),
    }
    writer = OutputWriter(store, "report", "4" * 64)
    assert write_gallery(writer, none, heading(none, "")).traces == 0
    assert "gallery/index.html" in writer.files and "gallery.html" in writer.files


def test_one_part_of_images_is_read_at_a_time(
    tmp_path: Path, outputs: dict[str, StageOutput], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    index = outputs["index"]
    original = StageOutput.read_bytes

    def counting(self: StageOutput, name: str) -> bytes:
        if name.startswith("samples/"):
            read.append(name)
        return original(self, name)

    monkeypatch.setattr(StageOutput, "read_bytes", counting)
    first = next(cards(outputs))
    assert first and read == index.names("samples/")[:1]


def test_the_one_file_gallery_is_bounded(store: FolderStore, outputs: dict[str, StageOutput]) -> None:
    writer = OutputWriter(store, "report", "5" * 64)
    write_gallery(writer, outputs, heading(outputs, "A run"))
    page = store.get(f"{writer.prefix}/gallery.html")
    assert page is not None
    assert page.count(b"data:image/jpeg") == SINGLE_TRACES
    assert len(page) < 5_000_000


def test_a_thumbnail_cannot_be_made_of_what_is_no_image(store: FolderStore) -> None:
    outputs = write_run(FolderStore(store.root / "bad"), 3)
    made = MadeRun()
    data = to_parquet([made.sample(number) for number in range(3)], [b"no image"] * 3, Sample)
    broken = outputs | {
        "index": put(
            store,
            "index",
            lambda writer: (
                writer.write_bytes("samples/part-00000.parquet", data, rows=3),
                writer.write_rows("triplets.jsonl", map(made.triplet, range(3))),
            ),
            "6" * 64,
        )
    }
    writer = OutputWriter(store, "report", "6" * 64)
    with pytest.raises(DataError, match="cannot be decoded"):
        write_gallery(writer, broken, heading(outputs, ""))
