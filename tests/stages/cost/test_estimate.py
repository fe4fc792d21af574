"""The sums of an estimate: by hand for a small run, and what must hold for any."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_r1.rows import Modality
from fundus_r1.spec import SETUPS, Placement, RunSpec
from fundus_r1.spec.cost import CostAssumptions
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint, Endpoints
from fundus_r1.stages import STAGES
from fundus_r1.stages.cost import Asked, Quantities, Size, StageCost, cost, too_long
from fundus_r1.stages.cost.work import Work

unhurried = settings(deadline=None, max_examples=50)
BIG = Size(32e9, 0.67e9, 4, 16384)
SMALL = Size(3e9, 0.67e9, 4, 16384)
KNOWN = Quantities(
    images={Modality.CFP: 40.0, Modality.OCT: 60.0},
    sides={Modality.CFP: 560.0, Modality.OCT: 280.0},
    masked=10.0,
    triplets=120.0,
    accepted=60.0,
    pairs=7.0,
    asked=20.0,
    asked_at_most=20.0,
    questions=30.0,
    student=SMALL,
    observer=BIG,
    free_form=None,
)


def spec(**science: Any) -> RunSpec:
    return RunSpec.model_validate({"science": {"quality": {"checks": "rules+writer"}, **science}})


def by_stage(found: list[StageCost]) -> dict[str, dict[str, Asked]]:
    return {stage.stage: {row.role: row for row in stage.asked} for stage in found}


def grown(known: Quantities, times: float) -> Quantities:
    return replace(
        known,
        images={modality: count * times for modality, count in known.images.items()},
        masked=known.masked * times,
        triplets=known.triplets * times,
        accepted=known.accepted * times,
    )


def test_the_requests_of_a_small_run_are_those_counted_by_hand() -> None:
    asked = by_stage(cost(spec(), KNOWN))
    requests = {(stage, role): row.requests for stage, rows in asked.items() for role, row in rows.items()}
    rollouts = 60 * 0.9 * 8 * 4  # accepted, of the training split, epochs, rollouts
    assert requests == pytest.approx(
        {
            ("knowledge", "writer"): 7,
            ("findings", "observer"): 100,
            ("traces", "writer"): 120,
            ("traces", "free_form"): 10,  # one of each image with masks
            ("quality", "writer"): 120 * (0.6 + 0.4 * 0.05),
            ("sft", "student"): 0,
            ("grpo", "student"): rollouts,
            ("grpo", "judge"): rollouts,
            ("evaluate", "student"): 3 * 30,
        }
    )


def test_rollouts_share_their_prompt_and_write_their_own_answers() -> None:
    one, five = (
        by_stage(cost(spec(findings={"rollouts": n, "votes_over": 0}), KNOWN))["findings"]["observer"]
        for n in (1, 5)
    )
    assert five.prompt_tokens == one.prompt_tokens
    assert five.completion_tokens == pytest.approx(5 * one.completion_tokens)


def test_an_image_counts_with_the_tokens_of_its_modality() -> None:
    work = Work(CostAssumptions(), KNOWN)
    assert work.image_tokens(BIG) == pytest.approx((40 * 400 + 60 * 100) / 100)
    assert work.image_tokens(replace(BIG, most_image_tokens=100)) == pytest.approx(100)


def test_gpu_hours_and_dollars_are_those_counted_by_hand() -> None:
    assumed = CostAssumptions(gpu_tflops=1, prefill_utilisation=0.5, decode_utilisation=0.1)
    work = Work(assumed, replace(KNOWN, images={Modality.OCT: 1.0}))
    endpoint = Endpoint(
        url="http://127.0.0.1/v1", usd_per_million_prompt_tokens=2, usd_per_million_completion_tokens=10
    )
    # 10 requests of 100 image and 50 text tokens, 20 tokens written for each.
    row = work.vision("observer", Size(1e9, 0, 4, 16384), 10, 50, 20, endpoint)
    assert (row.prompt_tokens, row.completion_tokens) == (1500, 200)
    read, written = 2 * 1e9 * 1500 / 0.5e12, 2 * 1e9 * 200 / 0.1e12
    assert row.gpu_hours == pytest.approx((read + written) / 3600)
    assert row.usd == pytest.approx(1500 * 2e-6 + 200 * 10e-6)
    tower = work.vision("observer", Size(1e9, 1e9, 4, 16384), 10, 50, 20)
    assert tower.gpu_hours is not None and row.gpu_hours is not None
    assert tower.gpu_hours - row.gpu_hours == pytest.approx(2 * 1e9 * 4 * 1000 / 0.5e12 / 3600)
    assert tower.usd is None


def test_training_counts_a_backward_pass_twice_and_a_frozen_tower_only_forwards() -> None:
    work = Work(CostAssumptions(gpu_tflops=1, training_utilisation=0.5), KNOWN)
    size = Size(1e9, 1e8, 4, 16384)
    frozen = work.training(size, 10, 50, 100, forwards=0, vision=False)
    learning = work.training(size, 10, 50, 100, forwards=2, vision=True)
    assert frozen == pytest.approx(10 * (6 * 1e9 * 150 + 2 * 1e8 * 4 * 100) / 0.5e12 / 3600)
    assert learning == pytest.approx(10 * (10 * 1e9 * 150 + 10 * 1e8 * 4 * 100) / 0.5e12 / 3600)


def test_rules_and_unknown_models_cost_no_tokens_or_no_known_hours() -> None:
    rules = spec(models={"writer": {"engine": "rules"}, "judge": {"engine": "rules"}})
    asked = by_stage(cost(rules, KNOWN))
    assert asked["knowledge"] == asked["quality"] == {}
    assert set(asked["traces"]) == {"free_form"}
    assert asked["traces"]["free_form"].gpu_hours is None
    assert set(asked["grpo"]) == {"student"}
    assert Work(CostAssumptions(), KNOWN).text("writer", Chat(), 5, 10, 10, None).requests == 0


def test_the_free_form_mode_moves_all_traces_to_the_other_model() -> None:
    asked = by_stage(cost(spec(traces={"mode": "free"}), KNOWN))["traces"]
    assert {role: row.requests for role, row in asked.items()} == {"free_form": 120}
    without = by_stage(cost(spec(traces={"baseline": False}), KNOWN))["traces"]
    assert set(without) == {"writer"}


def test_a_reviewed_vocabulary_asks_no_writer() -> None:
    asked = by_stage(cost(spec(knowledge={"vocabulary": {"path": "reviewed.yaml"}}), KNOWN))
    assert asked["knowledge"] == {}
    assert asked["traces"]["writer"].requests == 120


@pytest.mark.parametrize(("setup", "judged"), [("F", 0.0), ("G", 1.0), ("H", 0.6), ("I", 0.4), ("J", 2.0)])
def test_the_judge_is_asked_as_the_process_reward_asks(setup: str, judged: float) -> None:
    asked = by_stage(cost(spec(setup=setup), KNOWN))["grpo"]
    found = asked["judge"].requests if "judge" in asked else 0.0
    assert found == pytest.approx(judged * asked["student"].requests)


@pytest.mark.parametrize("setup", SETUPS)
def test_a_setup_pays_only_for_what_it_trains(setup: str) -> None:
    recipe = SETUPS[setup]
    found = {stage.stage: stage for stage in cost(spec(setup=setup), KNOWN)}
    for name, trains in (("sft", recipe.sft), ("grpo", recipe.grpo)):
        assert bool(found[name].asked) == trains
        assert bool(found[name].store_bytes) == trains
    assert found["evaluate"].asked[0].requests == 30 * (1 + recipe.sft + recipe.grpo)


@unhurried
@given(st.floats(min_value=0.5, max_value=1e5))
def test_what_depends_on_the_images_is_linear_in_them(times: float) -> None:
    once, more = by_stage(cost(spec(), KNOWN)), by_stage(cost(spec(), grown(KNOWN, times)))
    for stage in ("findings", "traces", "quality", "sft", "grpo"):
        for role, row in once[stage].items():
            other = more[stage][role]
            assert other.requests == pytest.approx(times * row.requests)
            assert other.prompt_tokens == pytest.approx(times * row.prompt_tokens)
            assert other.completion_tokens == pytest.approx(times * row.completion_tokens)
            if row.gpu_hours is not None:
                assert other.gpu_hours == pytest.approx(times * row.gpu_hours)
    assert once["knowledge"] == more["knowledge"]
    assert once["evaluate"]["student"].requests == more["evaluate"]["student"].requests


@unhurried
@given(st.sets(st.sampled_from(STAGES)))
def test_a_stage_in_the_store_costs_nothing_and_changes_no_other(hits: set[str]) -> None:
    whole, rest = cost(spec(), KNOWN), cost(spec(), replace(KNOWN, hits=frozenset(hits)))
    assert [stage.stage for stage in rest] == list(STAGES)
    for before, after in zip(whole, rest, strict=True):
        if before.stage in hits:
            assert (after.hit, after.asked, after.store_bytes) == (True, (), 0.0)
        else:
            assert after == before


@unhurried
@given(st.integers(min_value=1, max_value=40), st.integers(min_value=2, max_value=40))
def test_more_rollouts_never_cost_less(votes: int, group: int) -> None:
    def of(extra: int) -> list[StageCost]:
        findings = {"rollouts": votes + extra, "votes_over": 0}
        return cost(spec(findings=findings, grpo={"rollouts": group + extra}), KNOWN)

    for fewer, more in zip(of(0), of(1), strict=True):
        assert more.store_bytes >= fewer.store_bytes
        for small, large in zip(fewer.asked, more.asked, strict=True):
            assert large.requests >= small.requests
            assert large.prompt_tokens >= small.prompt_tokens
            assert large.completion_tokens >= small.completion_tokens
            assert (large.gpu_hours or 0) >= (small.gpu_hours or 0)


def test_the_store_holds_images_rows_and_kept_answers() -> None:
    found = {stage.stage: stage for stage in cost(spec(), KNOWN)}
    image = 0.3 * (40 * 560**2 + 60 * 280**2) / 100
    assert found["index"].store_bytes == pytest.approx((100 + 30) * (image + 600) + 120 * 600)
    # Raw rollouts in parts and once more in the merged file.
    written = found["findings"].asked[0].completion_tokens * 4
    assert found["findings"].store_bytes == pytest.approx(2 * (100 * 600 + written))
    writer, free_form = (row.completion_tokens * 4 for row in found["traces"].asked)
    rows = 2 * (130 * 600 + writer + free_form)
    assert found["traces"].store_bytes == pytest.approx(rows + 120 * 600 + writer)
    served = spec().model_copy(
        update={"placement": Placement(endpoints=Endpoints(free_form=Endpoint(url="http://127.0.0.1/v1")))}
    )
    kept = {stage.stage: stage for stage in cost(served, KNOWN)}["traces"].store_bytes
    assert kept == pytest.approx(found["traces"].store_bytes + 10 * 600 + free_form)
    assert found["sft"].store_bytes == 2 * 3.67e9


def test_images_that_would_not_fit_are_named_with_the_limit() -> None:
    large = replace(KNOWN, sides={Modality.CFP: 2800.0, Modality.OCT: 280.0})
    told = too_long(spec(), large)
    assert len(told) == 3
    assert all("CFP" in line and "10,000 tokens" in line for line in told)
    assert ["max_prompt_length" in told[0], "max_length" in told[1], "max_model_len" in told[2]] == [True] * 3
    assert too_long(spec(), KNOWN) == []


def test_a_rollout_that_would_be_cut_is_told() -> None:
    short = spec(findings={"max_tokens": 512})
    (told,) = too_long(short, replace(KNOWN, asked_at_most=72.0))
    assert "72 findings" in told and "science.findings.max_tokens=512" in told
    assert too_long(spec(), replace(KNOWN, asked_at_most=72.0)) == []
