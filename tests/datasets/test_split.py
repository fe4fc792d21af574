"""The split by patient."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.datasets.split import split_of, unit
from fundus_r1.rows import Split

PATIENTS = st.text(min_size=1, max_size=20)


@given(patient=PATIENTS, seed=st.integers(0, 99), low=st.floats(0, 0.99), high=st.floats(0, 0.99))
def test_a_larger_share_only_adds_patients_to_validation(
    patient: str, seed: int, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    if split_of(patient, seed, low) is Split.VALIDATION:
        assert split_of(patient, seed, high) is Split.VALIDATION


@given(patient=PATIENTS, seed=st.integers(0, 99))
def test_no_share_is_no_validation(patient: str, seed: int) -> None:
    assert split_of(patient, seed, 0.0) is Split.TRAIN


@given(first=st.sets(PATIENTS, max_size=20), second=st.sets(PATIENTS, max_size=20), seed=st.integers(0, 9))
def test_a_patient_is_on_one_side_whoever_else_is_there(first: set[str], second: set[str], seed: int) -> None:
    alone = {patient: split_of(patient, seed, 0.3) for patient in first}
    together = {patient: split_of(patient, seed, 0.3) for patient in first | second}
    assert alone.items() <= together.items()


@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.05, 0.1, 0.3, 0.5]))
def test_the_share_is_about_right(seed: int, share: float) -> None:
    sides = [split_of(f"kermany:{number}", seed, share) for number in range(2000)]
    found = sides.count(Split.VALIDATION) / len(sides)
    # Six standard deviations of a binomial share.
    assert abs(found - share) < 6 * (share * (1 - share) / len(sides)) ** 0.5


def test_another_seed_is_another_split() -> None:
    names = [f"top:{number}" for number in range(100)]
    assert [split_of(n, 0, 0.5) for n in names] != [split_of(n, 1, 0.5) for n in names]


def test_the_number_is_the_same_on_every_machine() -> None:
    assert unit("split", 0, "kermany:1") == 0.7889026166983939
    assert unit("a", "bc") != unit("ab", "c")
