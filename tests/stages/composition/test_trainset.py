from __future__ import annotations

from typing import Any

import pytest

from fundus_r1.errors import StageError
from fundus_r1.prompts.student import parse_student
from fundus_r1.rows import Conversation, Prompt, Reason, Split, Trace, Verdict
from fundus_r1.spec import SETUPS, Science
from fundus_r1.stages.quality import STAGE as QUALITY
from fundus_r1.stages.traces import STAGE as TRACES
from fundus_r1.stages.trainset import STAGE
from fundus_r1.storage.tables import from_parquet


def setup(science: Science, name: str, **trainset: object) -> Science:
    tree = science.model_dump()
    tree["setup"] = name
    tree["trainset"] |= trainset
    return Science.model_validate(tree)


@pytest.fixture
def checked(world: Any, science: Science) -> Any:
    world.run(TRACES, science)
    world.run(QUALITY, science)
    return world


def sft_of(output: Any) -> list[tuple[Conversation, bytes]]:
    return from_parquet(output.read_bytes("sft.parquet"), Conversation)


def grpo_of(output: Any) -> list[tuple[Prompt, bytes]]:
    return from_parquet(output.read_bytes("grpo.parquet"), Prompt)


def passing(world: Any, split: Split | None = None) -> list[str]:
    splits = {row.sample_id: row.split for row in world.samples}
    return [
        row.triplet_id
        for row in world.triplets
        if world.deserves[row.triplet_id] and split in (None, splits[row.sample_id])
    ]


@pytest.mark.parametrize("name", SETUPS)
def test_every_setup_gets_what_it_trains_with(checked: Any, science: Science, name: str) -> None:
    output = checked.run(STAGE, setup(science, name))
    recipe = SETUPS[name]
    assert ("sft.parquet" in output, "grpo.parquet" in output) == (recipe.sft, recipe.grpo)
    texts = output.read_json("knowledge_texts.json")
    assert texts["moderate_npdr|CFP"] == "D of moderate_npdr" and len(texts) == 3
    if recipe.sft:
        rows = sft_of(output)
        assert [row.triplet_id for row, _ in rows] == passing(checked)
        assert {row.split for row, _ in rows} == set(Split)
        for row, image in rows:
            assert image == f"image of {row.sample_id}".encode()
            assert parse_student(row.response).well_formed == recipe.traces
            assert ("<think>" in row.prompt) == recipe.traces
    if recipe.grpo:
        assert [row.triplet_id for row, _ in grpo_of(output)] == passing(checked, Split.TRAIN)


def test_a_response_is_the_accepted_trace_or_the_answer(checked: Any, science: Science) -> None:
    traces = {row.triplet_id: row.text for row in checked.outputs["traces"].read_rows("traces.jsonl", Trace)}
    answers = {row.triplet_id: row.answer for row in checked.triplets}
    for row, _ in sft_of(checked.run(STAGE, setup(science, "G"))):
        assert row.response == traces[row.triplet_id]
    for row, _ in sft_of(checked.run(STAGE, setup(science, "B"))):
        assert row.response == f"<answer>{answers[row.triplet_id]}</answer>"


def test_a_prompt_carries_what_its_rewards_need(checked: Any, science: Science) -> None:
    triplets = {row.triplet_id: row for row in checked.triplets}
    findings = {row.sample_id: row.present for row in checked.findings}
    for row, image in grpo_of(checked.run(STAGE, setup(science, "C"))):
        triplet = triplets[row.triplet_id]
        assert (row.answer, row.options, row.option_labels) == (
            triplet.answer,
            triplet.options,
            triplet.option_labels,
        )
        assert row.findings == findings[row.sample_id] and row.split is Split.TRAIN
        assert image == f"image of {row.sample_id}".encode() and "<think>" in row.prompt


def test_all_takes_triplets_whose_trace_was_rejected_too(checked: Any, science: Science) -> None:
    output = checked.run(STAGE, setup(science, "D", answers="all", prompts="all"))
    train = {row.sample_id for row in checked.samples if row.split is Split.TRAIN}
    assert [row.triplet_id for row, _ in sft_of(output)] == [row.triplet_id for row in checked.triplets]
    assert [row.triplet_id for row, _ in grpo_of(output)] == [
        row.triplet_id for row in checked.triplets if row.sample_id in train
    ]


def test_the_draw_is_of_the_seed_alone(checked: Any, science: Science) -> None:
    def drawn(seed: int, limit: int) -> list[str]:
        output = checked.run(STAGE, setup(science, "G", limit=limit, seed=seed))
        return [row.triplet_id for row, _ in grpo_of(output)]

    everything = passing(checked, Split.TRAIN)
    few = drawn(0, 9)
    assert few == drawn(0, 9) and len(few) == 9
    assert few == [triplet_id for triplet_id in everything if triplet_id in few]
    assert set(few) < set(drawn(0, 10))
    assert few != drawn(1, 9)
    assert drawn(0, 10_000) == everything


def test_setups_share_a_training_set_where_they_train_on_the_same(science: Science) -> None:
    slices = {name: STAGE.select(setup(science, name)).model_dump_json() for name in SETUPS}
    assert len({slices[name] for name in "FGHIJ"}) == 1
    assert len(set(slices.values())) == 6


def test_the_same_input_gives_the_same_bytes(checked: Any, science: Science) -> None:
    first = checked.run(STAGE, science).record.files
    assert checked.run(STAGE, science).record.files == first


def test_without_an_accepted_trace_the_error_says_why(checked: Any, science: Science) -> None:
    rows = [
        row.model_copy(update={"accepted": False, "rules": ((Reason.FORMAT, "no tags"),)})
        for row in checked.outputs["quality"].read_rows("verdicts.jsonl", Verdict)
    ]
    funnel = {"traces": 84, "accepted": 0, "reasons": {"format": 3, "incorrect_finding": 81}}

    def write(writer: Any) -> None:
        writer.write_rows("verdicts.jsonl", rows)
        writer.write_json("funnel.json", funnel)

    checked.put("quality", write)
    for name in ("B", "C", "G"):
        with pytest.raises(StageError, match="accepted 0 of 84") as caught:
            checked.run(STAGE, setup(science, name))
        assert "incorrect_finding 81, format 3" in caught.value.where and caught.value.hint
    assert checked.run(STAGE, setup(science, "A")).record.counts["conversations"] == 0
    assert checked.run(STAGE, setup(science, "D", answers="all", prompts="all")).record.counts["prompts"]


def test_a_label_of_which_nothing_is_known_has_no_trace_and_nothing_to_be_judged_against(
    world: Any, science: Science
) -> None:
    world.forget("no_dr")
    traces = world.run(TRACES, science)
    kept = [row.triplet_id for row in world.triplets if row.label != "no_dr"]
    assert [row.triplet_id for row in traces.read_rows("traces.jsonl", Trace)] == kept
    assert traces.record.counts["without_material"] == len(world.triplets) - len(kept) > 0
    verdicts = world.run(QUALITY, science).read_rows("verdicts.jsonl", Verdict)
    assert [row.triplet_id for row in verdicts] == kept
    texts = world.run(STAGE, science).read_json("knowledge_texts.json")
    assert set(texts) == {"mild_npdr|CFP", "moderate_npdr|CFP"}
