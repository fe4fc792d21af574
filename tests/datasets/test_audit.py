"""The leakage audit."""

from __future__ import annotations

from fundus_r1.datasets.audit import find_leaks
from fundus_r1.rows import Modality, Question, Sample, Split


def sample(name: str, patient: str, *, digest: str = "", pixels: str = "") -> Sample:
    return Sample(
        sample_id=name, dataset="kermany", modality=Modality.OCT, labels=("cnv",), split=Split.TRAIN,
        patient=patient, path=name, digest=digest or f"d-{name}", pixels=pixels or f"p-{name}",
        width=9, height=9, media_type="image/png",
    )  # fmt: skip


def question(image: str, patient: str | None = None, *, digest: str = "", pixels: str = "") -> Question:
    return Question(
        question_id=image, benchmark="omnimedvqa", source="given", task="DD", question="?",
        options={"A": "x"}, answers=("A",), image=image,
        digest=digest or f"qd-{image}", pixels=pixels or f"qp-{image}",
        patient=patient, media_type="image/png",
    )  # fmt: skip


def leaks(samples: list[Sample], questions: list[Question]) -> list[tuple[str, str, str]]:
    return [(leak.sample_id, leak.kind, leak.benchmark_image) for leak in find_leaks(samples, questions)]


def test_content_is_found_by_bytes_and_by_pixels() -> None:
    samples = [sample("a", "k:1", digest="same"), sample("b", "k:2", pixels="same too"), sample("c", "k:3")]
    questions = [question("x", digest="same"), question("y", pixels="same too")]
    assert leaks(samples, questions) == [("a", "content", "x"), ("b", "content", "y")]


def test_patients_are_found_by_name() -> None:
    assert leaks([sample("a", "k:1"), sample("b", "k:11")], [question("x", "k:1")]) == [("a", "patient", "x")]


def test_content_takes_precedence_over_the_patient() -> None:
    samples = [sample("a", "k:1", digest="same")]
    assert leaks(samples, [question("x", "k:1"), question("y", digest="same")]) == [("a", "content", "y")]


def test_the_patient_of_a_leaked_image_is_in_the_benchmark() -> None:
    samples = [sample("a", "k:1"), sample("b", "k:1", pixels="same"), sample("c", "k:2")]
    assert leaks(samples, [question("x", None, pixels="same")]) == [
        ("a", "patient", "x"),
        ("b", "content", "x"),
    ]


def test_nothing_leaks_without_questions() -> None:
    assert leaks([sample("a", "k:1")], []) == []
    assert leaks([], [question("x", "k:1")]) == []
