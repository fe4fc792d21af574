from __future__ import annotations

import pytest

from fundus_r1.benchmarks.finding_quality import average_s2, finding_quality
from fundus_r1.rows import Findings, Modality, Sample, Split


def sample(name: str, truth: tuple[str, ...] | None, dataset: str = "idrid") -> Sample:
    return Sample(
        sample_id=name, dataset=dataset, modality=Modality.CFP, labels=("pdr",), split=Split.TRAIN,
        patient=f"{dataset}:{name}", path=name, digest="", pixels="", width=64, height=64,
        media_type="image/png", findings=truth,
    )  # fmt: skip


def seen(name: str, observed: tuple[str, ...], asked: tuple[str, ...], rollouts: int = 5) -> Findings:
    return Findings(
        sample_id=name, modality=Modality.CFP, source="pixel", asked=asked, rollouts=rollouts, votes={},
        abstentions={}, observed=observed, present=("from_masks",), raw=(), model="m",
    )  # fmt: skip


ASKED = ("microaneurysm", "hard_exudate", "neovascularization")


def test_observed_against_masks():
    samples = [
        sample("1", ("microaneurysm", "hard_exudate")),
        sample("2", ("microaneurysm",)),
        sample("3", ()),
        sample("4", ("microaneurysm",)),
        sample("5", None),
    ]
    findings = [
        seen("1", ("microaneurysm", "neovascularization"), ASKED),
        seen("2", ("hard_exudate",), ASKED),
        seen("3", (), ASKED),
        seen("4", ("microaneurysm",), ("microaneurysm",)),
        seen("5", ("microaneurysm",), ASKED),
    ]
    exudate, aneurysm = finding_quality(findings, samples, {})
    assert exudate.method == aneurysm.method == "ours"
    assert aneurysm.finding == "microaneurysm"
    assert (aneurysm.images, aneurysm.positives) == (4, 3)
    assert (aneurysm.sensitivity, aneurysm.specificity) == (2 / 3, 1.0)
    assert aneurysm.s2 == pytest.approx(0.8)
    # Image 4 was not asked about exudates; neovascularization is in no mask of the dataset.
    assert (exudate.images, exudate.positives) == (3, 1)
    assert (exudate.sensitivity, exudate.specificity, exudate.s2) == (0.0, 0.5, 0.0)
    assert average_s2([exudate, aneurysm]) == pytest.approx(0.4)


def test_what_was_not_looked_at_is_not_measured():
    assert finding_quality([seen("1", (), ASKED, rollouts=0)], [sample("1", ("microaneurysm",))], {}) == []
    assert average_s2([]) is None


def test_a_finding_without_negatives_has_no_specificity():
    (row,) = finding_quality([seen("1", ("microaneurysm",), ASKED)], [sample("1", ("microaneurysm",))], {})
    assert (row.sensitivity, row.specificity, row.s2) == (1.0, None, None)


def test_masks_of_one_dataset_say_nothing_about_another():
    samples = [sample("1", ("microaneurysm",)), sample("2", ("drusen",), dataset="other")]
    rows = finding_quality(
        [seen("1", (), (*ASKED, "drusen")), seen("2", (), (*ASKED, "drusen"))], samples, {}
    )
    assert {row.finding: row.images for row in rows} == {"microaneurysm": 1, "drusen": 1}


def test_both_methods_are_measured_on_the_same_images_and_findings():
    samples = [
        sample("1", ("microaneurysm",)),
        sample("2", ("hard_exudate",)),
        sample("3", ("hard_exudate",)),
    ]
    findings = [
        seen("1", ("microaneurysm",), ASKED),
        seen("2", ("microaneurysm",), ("microaneurysm", "hard_exudate")),
        seen("3", ("hard_exudate",), ASKED),
    ]
    # Image 3 has no free-form trace; nobody asked about drusen.
    free = {"1": {"drusen"}, "2": {"hard_exudate", "microaneurysm"}, "4": {"drusen"}}
    rows = {(row.method, row.finding): row for row in finding_quality(findings, samples, free)}
    lesions = ("hard_exudate", "microaneurysm")
    assert list(rows) == [(method, lesion) for method in ("ours", "free") for lesion in lesions]
    assert {(row.images, row.positives) for row in rows.values()} == {(2, 1)}
    figures = {key: (row.sensitivity, row.specificity) for key, row in rows.items()}
    assert figures == {
        ("ours", "hard_exudate"): (0.0, 1.0),
        ("ours", "microaneurysm"): (1.0, 0.0),
        ("free", "hard_exudate"): (1.0, 1.0),
        ("free", "microaneurysm"): (0.0, 0.0),
    }


def test_a_free_form_trace_that_states_nothing_is_measured_too():
    samples = [sample("1", ("microaneurysm",)), sample("2", ())]
    findings = [seen(name, (), ASKED) for name in "12"]
    ours, free = finding_quality(findings, samples, {"1": frozenset(), "2": frozenset()})
    assert (free.sensitivity, free.specificity, free.s2) == (0.0, 1.0, 0.0) and ours.images == 2
