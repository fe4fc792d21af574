"""The leakage audit: no training image is, or shows a patient of, a benchmark's image.

Content is compared by the file's digest or by the decoded pixels, so a loss-free copy in another
format is found; one that was resized or compressed again is not. Patients are compared by name,
``kermany:154835``, where the benchmark's file names tell them; and once a training image is found
in a benchmark, that image's patient is known to be in it too. (Omni-Fundus, for one, contains test
B-scans of Kermany's set, and older copies of that set have patients in both parts.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fundus_r1.rows import Leak, Question, Sample


def find_leaks(samples: Sequence[Sample], questions: Iterable[Question]) -> list[Leak]:
    """One row for each sample that must leave the training set, in the order of the samples.

    A sample that leaks both by content and by patient is reported by content.
    """
    by_content: dict[str, Question] = {}
    by_patient: dict[str, Question] = {}
    for question in questions:
        by_content.setdefault(question.digest, question)
        by_content.setdefault(question.pixels, question)
        if question.patient is not None:
            by_patient.setdefault(question.patient, question)
    same: dict[str, Question] = {}
    for sample in samples:
        found = by_content.get(sample.digest) or by_content.get(sample.pixels)
        if found is not None:
            same[sample.sample_id] = found
    for sample in samples:
        if sample.sample_id in same:
            by_patient.setdefault(sample.patient, same[sample.sample_id])
    leaks = []
    for sample in samples:
        cause = same.get(sample.sample_id) or by_patient.get(sample.patient)
        if cause is not None:
            leaks.append(
                Leak(
                    sample_id=sample.sample_id,
                    patient=sample.patient,
                    kind="content" if sample.sample_id in same else "patient",
                    benchmark=cause.benchmark,
                    benchmark_image=cause.image,
                )
            )
    return leaks
