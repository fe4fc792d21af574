"""VQA triplets from task templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.datasets.templates import MAX_OPTIONS, triplets_of
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Modality, Sample, Split

UWF = TASKS["uwf_disease"].labels


def sample(dataset: str, modality: Modality, labels: tuple[str, ...], name: str = "a.jpg") -> Sample:
    return Sample(
        sample_id=f"{dataset}/{name}", dataset=dataset, modality=modality, labels=labels, split=Split.TRAIN,
        patient="x:1", path=name, digest="d", pixels="p", width=9, height=9, media_type="image/png",
    )  # fmt: skip


def test_all_labels_of_a_small_task_are_options() -> None:
    (triplet,) = triplets_of(sample("kermany", Modality.OCT, ("dme",)), 0)
    assert set(triplet.option_labels.values()) == {"normal", "cnv", "dme", "drusen"}
    assert triplet.task == "oct_disease"
    assert triplet.answer == "Diabetic macular edema"
    assert triplet.question in TASKS["oct_disease"].questions


@given(
    labels=st.sets(st.sampled_from(UWF[1:]), min_size=1, max_size=4),
    name=st.text(min_size=1, max_size=8),
    seed=st.integers(0, 99),
)
def test_one_triplet_a_label_and_no_option_is_right_too(labels: set[str], name: str, seed: int) -> None:
    given_labels = tuple(sorted(labels))
    row = sample("top", Modality.UWF, given_labels, name)
    triplets = triplets_of(row, seed)
    assert triplets == triplets_of(row, seed)
    assert tuple(triplet.label for triplet in triplets) == given_labels
    assert len({triplet.triplet_id for triplet in triplets}) == len(labels)
    for triplet in triplets:
        assert list(triplet.options) == list("ABCDEF"[: len(triplet.options)])
        assert len(triplet.options) == min(MAX_OPTIONS, len(UWF) - len(labels) + 1)
        assert set(triplet.option_labels.values()) & labels == {triplet.label}
        assert {k: LABELS[v].name for k, v in triplet.option_labels.items()} == triplet.options
        assert list(triplet.options.values()).count(triplet.answer) == 1


def test_the_right_letter_and_the_wording_vary() -> None:
    triplets = [triplets_of(sample("top", Modality.UWF, ("rvo",), f"{n}.jpg"), 0)[0] for n in range(400)]
    letters = [next(k for k, v in t.options.items() if v == t.answer) for t in triplets]
    for letter in "ABCDEF":
        assert 0.08 < letters.count(letter) / len(letters) < 0.26
    assert {t.question for t in triplets} == set(TASKS["uwf_disease"].questions)
    assert {label for t in triplets for label in t.option_labels.values()} == set(UWF)


def test_another_seed_is_another_order_and_the_same_id() -> None:
    rows = [sample("idrid", Modality.CFP, ("pdr",), f"{n}.jpg") for n in range(9)]
    first, second = ([triplets_of(row, seed)[0] for row in rows] for seed in (0, 1))
    assert [t.triplet_id for t in first] == [t.triplet_id for t in second]
    assert [t.options for t in first] != [t.options for t in second]


def test_a_task_with_one_label_is_an_open_question() -> None:
    (triplet,) = triplets_of(sample("idrid", Modality.CFP, ("diabetic_retinopathy",)), 0)
    assert (triplet.task, triplet.options, triplet.option_labels) == ("dr_lesions", {}, {})
    assert triplet.answer == "Diabetic retinopathy"


def test_a_label_that_the_dataset_does_not_have_is_refused() -> None:
    with pytest.raises(KeyError, match="kermany"):
        triplets_of(sample("kermany", Modality.OCT, ("glaucoma",)), 0)
