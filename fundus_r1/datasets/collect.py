"""From what an adapter says to `Sample` rows: every image is decoded once, every loss has a reason.

Pixels decide what is the same picture. Of equal pictures with equal labels the first is kept; if
their labels contradict, none is, because nothing tells which is right. A picture that the dataset's
own test part holds is never trained on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading
from fundus_r1.datasets.images import BadImageError, ImageFacts, Limits, examine, foreground
from fundus_r1.datasets.views import Picture
from fundus_r1.errors import DataError
from fundus_r1.rows import Quarantined, Sample, Split

THREADS = min(8, os.cpu_count() or 1)
_SHOWN = 3

Tell = Callable[[], object]
"""Called after each image."""


@dataclass(frozen=True)
class Indexed:
    """A sample, and where its picture lies on this machine."""

    sample: Sample
    file: Picture
    facts: ImageFacts


@dataclass
class Collection:
    """All of one dataset."""

    samples: list[Indexed] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)


@dataclass(frozen=True)
class _Decoded:
    candidate: Candidate
    facts: ImageFacts


def image_count(reading: Reading) -> int:
    """How often `collect` will call `tell` for a reading."""
    return len(reading.candidates) + len(reading.held_out)


def examine_all(files: Sequence[Picture], limits: Limits, tell: Tell) -> Iterator[ImageFacts | BadImageError]:
    """Examines pictures on all processors, results in the order of the pictures."""

    def one(file: Picture) -> ImageFacts | BadImageError:
        try:
            return examine(file, limits)
        except BadImageError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        for result in pool.map(one, files):
            tell()
            yield result


def collect(
    adapter: Adapter,
    readings: Sequence[tuple[Path, Reading]],
    limits: Limits,
    split: Callable[[str], Split],
    tell: Tell,
) -> Collection:
    """Decodes, merges and labels the images of one dataset.

    Args:
        adapter: the dataset.
        readings: (folder, what the adapter read in it) pairs, the folder that wins first.
        limits: what images are accepted.
        split: patient -> side.
        tell: called after each image.

    Raises:
        DataError: a folder in the official layout has no image that can be used.
    """
    collection = Collection()
    decoded: list[_Decoded] = []
    held_out: dict[str, str] = {}
    names: set[str] = set()
    for folder, reading in readings:
        collection.quarantined += reading.quarantined
        before = len(decoded)
        facts = examine_all([c.file for c in reading.candidates], limits, tell)
        for candidate, result in zip(reading.candidates, facts, strict=True):
            if isinstance(result, BadImageError):
                _reject(collection, adapter, candidate, result.reason, result.detail)
            elif candidate.name in names:
                _reject(collection, adapter, candidate, "duplicate", "another data folder has this file too")
            else:
                names.add(candidate.name)
                decoded.append(_Decoded(candidate, result))
        if len(decoded) == before:
            raise DataError(
                f"The folder has the layout of {adapter.name} but no image that can be used",
                where=str(folder),
                hint=_examples(collection.quarantined) or f"expected: {adapter.layout}",
            )
        for file, result in zip(reading.held_out, examine_all(reading.held_out, limits, tell), strict=True):
            if isinstance(result, ImageFacts):
                held_out.setdefault(result.pixels, file.name)
    pictures: dict[str, list[_Decoded]] = {}
    for item in sorted(decoded, key=lambda item: item.candidate.name):
        pictures.setdefault(item.facts.pixels, []).append(item)
    for pixels, same in pictures.items():
        if pixels in held_out:
            for item in same:
                detail = f"the picture is {held_out[pixels]} of the official testing set"
                _reject(collection, adapter, item.candidate, "duplicate", detail)
        else:
            _merge(collection, adapter, same, limits, split)
    collection.samples.sort(key=lambda indexed: indexed.sample.sample_id)
    return collection


def _merge(
    collection: Collection,
    adapter: Adapter,
    same: list[_Decoded],
    limits: Limits,
    split: Callable[[str], Split],
) -> None:
    """Makes at most one sample of the candidates that show one picture."""
    labelled = _agreeing(collection, adapter, [item for item in same if not item.candidate.annotates])
    annotated = [item for item in same if item.candidate.annotates]
    findings: tuple[str, ...] | None = None
    usable: _Decoded | None = None
    own = [labelled] if labelled is not None and _has_pixel_labels(labelled.candidate) else []
    for item in [*own, *annotated]:
        if usable is not None:
            _reject(collection, adapter, item.candidate, "duplicate", f"repeats {usable.candidate.name}")
            continue
        try:
            findings, usable = _pixel_findings(item, limits), item
        except BadImageError as error:
            _reject(collection, adapter, item.candidate, "bad_row", error.detail)
    contradicting = labelled is None and len(annotated) < len(same)
    kept = labelled or (None if contradicting else usable)
    if kept is None:
        return
    if not kept.candidate.labels:
        _reject(collection, adapter, kept.candidate, "unlabelled", "no graded picture shows the same")
        return
    sample = _sample(adapter, kept, findings, split)
    collection.samples.append(Indexed(sample, kept.candidate.file, kept.facts))


def _has_pixel_labels(candidate: Candidate) -> bool:
    return candidate.masks is not None or candidate.findings is not None


def _agreeing(collection: Collection, adapter: Adapter, same: list[_Decoded]) -> _Decoded | None:
    labels = {item.candidate.labels for item in same}
    for item in same if len(labels) > 1 else same[1:]:
        other = next(o for o in same if o is not item)
        detail = f"repeats {other.candidate.name}"
        if len(labels) > 1:
            detail = f"is the picture {other.candidate.name}, and their labels contradict"
        _reject(collection, adapter, item.candidate, "duplicate", detail)
    return same[0] if len(labels) == 1 else None


def _pixel_findings(item: _Decoded, limits: Limits) -> tuple[str, ...]:
    if item.candidate.findings is not None:
        return tuple(sorted(item.candidate.findings))
    size = (item.facts.width, item.facts.height)
    present = []
    for finding, mask in (item.candidate.masks or {}).items():
        try:
            if foreground(mask, size, limits):
                present.append(finding)
        except BadImageError as error:
            raise BadImageError("unreadable", f"mask {mask.name}: {error.detail}") from error
    return tuple(sorted(present))


def _sample(
    adapter: Adapter, item: _Decoded, findings: tuple[str, ...] | None, split: Callable[[str], Split]
) -> Sample:
    candidate, facts = item.candidate, item.facts
    return Sample(
        sample_id=f"{adapter.name}/{candidate.name}",
        dataset=adapter.name,
        modality=candidate.modality or adapter.modality,
        labels=candidate.labels,
        split=split(candidate.patient),
        patient=candidate.patient,
        eye=candidate.eye,
        path=candidate.name,
        digest=facts.digest,
        pixels=facts.pixels,
        width=facts.width,
        height=facts.height,
        media_type=facts.media_type,
        findings=findings,
        attributes=dict(candidate.attributes),
    )


def _reject(collection: Collection, adapter: Adapter, candidate: Candidate, reason: str, detail: str) -> None:
    collection.quarantined.append(
        Quarantined.model_validate(
            {"dataset": adapter.name, "path": candidate.name, "reason": reason, "detail": detail}
        )
    )


def check_share(dataset: str, good: int, quarantined: Sequence[Quarantined], bad_share: float) -> None:
    """Refuses a dataset (or a benchmark) of which too much was quarantined.

    Args:
        dataset: its name.
        good: rows that can be used.
        quarantined: rows that cannot.
        bad_share: the largest share of the latter that is accepted.

    Raises:
        DataError: the share is larger.
    """
    total = good + len(quarantined)
    if len(quarantined) <= bad_share * total:
        return
    raise DataError(
        f"{len(quarantined)} of {total} rows of {dataset} had to be left out, more than the accepted "
        f"share of {bad_share:g}",
        where=_examples(quarantined),
        hint="mend the files, or raise science.index.bad_share if this is what the data is",
    )


def _examples(quarantined: Sequence[Quarantined]) -> str:
    reasons: dict[str, int] = {}
    for row in quarantined:
        reasons[row.reason] = reasons.get(row.reason, 0) + 1
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    first = "; ".join(f"{row.path}: {row.detail}" for row in quarantined[:_SHOWN])
    return f"{counts}; first: {first}" if quarantined else ""
