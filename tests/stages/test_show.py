"""One image's way, gathered from what a run has left so far."""

from __future__ import annotations

import json

import pytest
from made_run import MadeRun, put, write_run

from fundus_r1.errors import DataError, StageError
from fundus_r1.rows import Findings
from fundus_r1.spec import RunSpec
from fundus_r1.spec.placement import Placement, StorePlace
from fundus_r1.stages import STAGES
from fundus_r1.stages.job import fingerprints
from fundus_r1.stages.show import find_sample, way_of
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.parts import PartSet

COUNT = 20
MADE = MadeRun()
MODERATE = 2
"""Number of an image of moderate NPDR whose trace is accepted."""


@pytest.fixture
def spec() -> RunSpec:
    rules = {"engine": "rules", "model": "rules"}
    return RunSpec.model_validate(
        {
            "name": "made",
            "science": {"setup": "G", "models": {"writer": rules, "judge": rules}},
            "placement": Placement(store=StorePlace(kind="folder", path="unused")).model_dump(),
        }
    )


def rollout(number: int, step: int, **values: object) -> dict[str, object]:
    return {
        "step": step, "uid": f"u{step}", "triplet_id": MADE.triplet(number).triplet_id,
        "text": "<think>a</think>", "score": 2.0, "answer": 1.0, "format": 1.0, "process": 0.0,
        "response_length": 3, **values,
    }  # fmt: skip


def add_rollouts(store: FolderStore, spec: RunSpec, lines: list[dict[str, object]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    known = fingerprints(spec.science)["grpo"]
    put(store, "grpo", lambda writer: writer.write_bytes("rollouts.jsonl", text.encode()), known)


def test_the_whole_way_is_gathered_from_label_to_rewards(store: FolderStore, spec: RunSpec) -> None:
    write_run(store, COUNT, known=fingerprints(spec.science))
    add_rollouts(store, spec, [rollout(MODERATE, 1), rollout(MODERATE, 2, process=1.0), rollout(3, 1)])
    way = way_of(MADE.sample(MODERATE).sample_id, spec, store)
    assert way.sample == MADE.sample(MODERATE)
    assert [(row.label, row.modality) for row in way.knowledge] == [("moderate_npdr", "CFP")]
    assert set(way.passages) == set(way.knowledge[0].passages)
    assert way.findings == MADE.findings(MODERATE)
    [asked] = way.asked
    assert (asked.triplet, asked.trace) == (MADE.triplet(MODERATE), MADE.trace(MODERATE))
    assert asked.verdict == MADE.verdict(MODERATE)
    assert [(row.step, row.process) for row in asked.rollouts] == [(1, 0.0), (2, 1.0)]
    assert asked.own_rewards == (1.0, 1.0)
    assert way.missing == ("trainset", "sft", "evaluate", "report")


def test_a_run_that_has_only_read_its_data_shows_what_is_there(store: FolderStore, spec: RunSpec) -> None:
    known = fingerprints(spec.science)
    write_run(store, COUNT, known={"index": known["index"]})
    way = way_of("eye 000002", spec, store)
    assert way.sample == MADE.sample(2)
    assert (way.knowledge, way.findings) == ((), None)
    assert [(row.triplet, row.trace, row.verdict, row.rollouts) for row in way.asked] == [
        (MADE.triplet(2), None, None, ())
    ]
    assert way.asked[0].own_rewards is None
    assert way.missing == tuple(name for name in STAGES if name != "index")


def test_while_workers_observe_the_finished_part_is_shown(store: FolderStore, spec: RunSpec) -> None:
    known = fingerprints(spec.science)
    outputs = write_run(store, COUNT, known={"index": known["index"]})
    rows = [
        json.loads(line)["sample_id"] for line in outputs["index"].read_bytes("samples.jsonl").splitlines()
    ]
    findings = [MADE.findings(int(name[-10:-4])) for name in rows]
    data = "".join(f"{row.model_dump_json()}\n" for row in findings).encode()
    PartSet(store, f"findings/{known['findings']}", 1, 30.0).work(0, lambda _: (data, len(findings)))
    way = way_of("eye 000005", spec, store)
    assert isinstance(way.findings, Findings) and way.findings == MADE.findings(5)
    assert "findings" in way.missing


def test_without_an_index_the_error_says_what_to_give(store: FolderStore, spec: RunSpec) -> None:
    with pytest.raises(StageError, match="no index yet") as caught:
        way_of("x", spec, store)
    assert "--out" in caught.value.hint


IDS = ["a/eye 1.png", "a/eye 11.png", "b/eye 1.png", "b/left/eye 2.png"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("a/eye 1.png", 0), ("eye 11.png", 1), ("b/eye 1.png", 2), ("left", 3), ("eye 11", 1)],
)
def test_an_id_its_end_or_a_part_of_it_names_an_image(wanted: str, found: int) -> None:
    assert find_sample(wanted, IDS) == found


def test_an_exact_id_is_not_ambiguous_though_it_ends_another() -> None:
    assert find_sample("eye.png", ["left/eye.png", "eye.png"]) == 1


def test_an_ambiguous_part_names_the_images_that_fit() -> None:
    with pytest.raises(DataError, match=r"2 images fit 'eye 1\.png'") as caught:
        find_sample("eye 1.png", IDS)
    assert "a/eye 1.png, b/eye 1.png" in caught.value.where


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(DataError, match="No image of this run fits") as caught:
        find_sample("a/eye_1.png", IDS)
    assert "a/eye 1.png" in caught.value.where
