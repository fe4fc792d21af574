from __future__ import annotations

from fundus_r1.datasets.census import census
from fundus_r1.rows import Modality, Sample, Split


def test_images_are_counted_under_each_of_their_labels() -> None:
    def sample(name: str, labels: tuple[str, ...], split: Split, findings: tuple[str, ...] | None) -> Sample:
        return Sample(
            sample_id=name, dataset="top", modality=Modality.UWF, labels=labels, split=split, patient="p",
            path=name, digest="d", pixels="p", width=1, height=1, media_type="image/png", findings=findings,
        )  # fmt: skip

    rows = census(
        [
            sample("a", ("rvo", "glaucoma"), Split.TRAIN, None),
            sample("b", ("rvo",), Split.TRAIN, ()),
            sample("c", ("rvo",), Split.VALIDATION, None),
        ]
    )
    assert [(r["label"], r["split"], r["samples"], r["masked"]) for r in rows] == [
        ("glaucoma", "train", 1, 0),
        ("rvo", "train", 2, 1),
        ("rvo", "validation", 1, 0),
    ]
    assert {r["modality"] for r in rows} == {"UWF"}
    assert census([]) == []
