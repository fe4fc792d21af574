"""One image's whole way through a run: label -> D[y, m] -> votes -> trace -> verdict -> rewards.

Reads what the run has left in its store, also while it is not finished: what is not there yet is None,
and `Way.missing` names the stages. Of large files only the lines about this image are parsed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from fundus_r1.errors import DataError, StageError
from fundus_r1.prompts.student import parse_student
from fundus_r1.rewards.answer import answer_reward, predicted
from fundus_r1.rewards.format import format_reward
from fundus_r1.rows import Findings, Knowledge, Passage, Row, Sample, Trace, Triplet, Verdict, VocabularyEntry
from fundus_r1.spec import RunSpec
from fundus_r1.stages import STAGES
from fundus_r1.stages.job import fingerprints
from fundus_r1.storage.output import StageOutput, find_record
from fundus_r1.storage.parts import PartSet
from fundus_r1.storage.protocol import Store

R = TypeVar("R", bound=Row)

NEAREST = 5
"""Ids that an error names, at most."""


class Rollout(BaseModel):
    """A rollout of GRPO as it was rewarded; only some of each step are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    step: int
    triplet_id: str
    text: str
    score: float
    answer: float
    format: float
    process: float


@dataclass(frozen=True)
class Asked:
    """One question about the image, and what came of it."""

    triplet: Triplet
    trace: Trace | None
    verdict: Verdict | None
    rollouts: tuple[Rollout, ...]

    @property
    def own_rewards(self) -> tuple[float, float] | None:
        """(answer, format): what the trace itself would be rewarded for, process apart."""
        if self.trace is None:
            return None
        text = self.trace.text
        return answer_reward(predicted(text, self.triplet)), format_reward(parse_student(text))


@dataclass(frozen=True)
class Way:
    """What a run knows of one image."""

    sample: Sample
    knowledge: tuple[Knowledge, ...]
    """D[y, m] for each label of the image."""
    passages: Mapping[str, Passage]
    vocabulary: tuple[VocabularyEntry, ...]
    findings: Findings | None
    asked: tuple[Asked, ...]
    missing: tuple[str, ...] = field(default=())
    """Stages whose output is not in the store."""


def outputs_of(spec: RunSpec, store: Store) -> dict[str, StageOutput]:
    """The outputs of a resolved run that are in the store."""
    known = fingerprints(spec.science)
    records = {name: find_record(store, name, known[name]) for name in STAGES}
    return {name: StageOutput(store, record) for name, record in records.items() if record is not None}


def _lines(output: StageOutput, name: str, words: set[str]) -> Iterator[bytes]:
    """Lines in which one of some JSON strings stands."""
    wanted = [json.dumps(word, ensure_ascii=False).encode() for word in sorted(words)]
    for line in output.read_bytes(name).splitlines():
        if any(word in line for word in wanted):
            yield line


def _about(
    outputs: Mapping[str, StageOutput], stage: str, name: str, row_type: type[R], words: set[str]
) -> list[R]:
    if stage not in outputs or name not in outputs[stage] or not words:
        return []
    return [row_type.model_validate_json(line) for line in _lines(outputs[stage], name, words)]


def find_sample(wanted: str, ids: list[str]) -> int:
    """The place of the one id that is, ends in, or contains what is wanted, in this order.

    Raises:
        DataError: there is none, or there are several; the nearest are named.
    """
    ends = [place for place, name in enumerate(ids) if name.endswith(wanted)]
    holds = ends or [place for place, name in enumerate(ids) if wanted in name]
    exact = [place for place in ends if ids[place] == wanted]
    for found in (exact, ends, holds):
        if len(found) == 1:
            return found[0]
    if holds:
        some = ", ".join(ids[place] for place in holds[:NEAREST])
        more = f", and {len(holds) - NEAREST} more" if len(holds) > NEAREST else ""
        raise DataError(
            f"{len(holds)} images fit {wanted!r}", where=f"{some}{more}", hint="name one of them in full"
        )
    near = difflib.get_close_matches(wanted, ids, NEAREST, cutoff=0.3)
    raise DataError(
        f"No image of this run fits {wanted!r}",
        where=f"nearest: {', '.join(near)}" if near else f"{len(ids)} images are in the index",
        hint="give a sample id, or a part of one that no other has, as samples.jsonl and the gallery show it",
    )


def way_of(wanted: str, spec: RunSpec, store: Store) -> Way:
    """Gathers one image's way.

    Args:
        wanted: a sample id, or a part of it that no other has.
        spec: of the run, resolved.
        store: of the run.

    Raises:
        StageError: the run has no index yet.
        DataError: no image fits, or several do.
    """
    outputs = outputs_of(spec, store)
    if "index" not in outputs:
        raise StageError(
            "The run has no index yet, so no image is known",
            where=f"{store.uri}/index/{fingerprints(spec.science)['index']}",
            hint="give the spec, --set, --data and --out with which the run was started, or run it first",
        )
    index = outputs["index"]
    ids = [json.loads(line)["sample_id"] for line in index.read_bytes("samples.jsonl").splitlines()]
    place = find_sample(wanted, ids)
    [sample] = [
        row
        for row in _about(outputs, "index", "samples.jsonl", Sample, {ids[place]})
        if row.sample_id == ids[place]
    ]
    mine = {sample.sample_id}
    triplets = [
        row for row in _about(outputs, "index", "triplets.jsonl", Triplet, mine) if row.sample_id in mine
    ]
    knowledge = tuple(
        row
        for row in _about(outputs, "knowledge", "knowledge.jsonl", Knowledge, set(sample.labels))
        if row.label in sample.labels and row.modality is sample.modality
    )
    passages = {passage for row in knowledge for passage in row.passages}
    vocabulary = tuple(
        row
        for row in _about(outputs, "knowledge", "vocabulary.jsonl", VocabularyEntry, set(sample.labels))
        if row.label in sample.labels and row.modality is sample.modality
    )
    return Way(
        sample=sample,
        knowledge=knowledge,
        passages={
            row.passage_id: row for row in _about(outputs, "knowledge", "passages.jsonl", Passage, passages)
        },
        vocabulary=vocabulary,
        findings=_findings(outputs, spec, store, sample, place),
        asked=_asked(outputs, triplets),
        missing=tuple(name for name in STAGES if name not in outputs),
    )


def _findings(
    outputs: Mapping[str, StageOutput], spec: RunSpec, store: Store, sample: Sample, place: int
) -> Findings | None:
    """VF(x), from the merged output or, while workers are at it, from the part that holds the image."""
    number, before = 0, 0
    names = outputs["index"].names("samples/")
    sizes = [outputs["index"].record.files[name].rows or 0 for name in names]
    while before + sizes[number] <= place:
        before += sizes[number]
        number += 1
    part = f"parts/{number:05d}.jsonl"
    if "findings" in outputs:
        merged = outputs["findings"]
        lines = list(_lines(merged, part if part in merged else "findings.jsonl", {sample.sample_id}))
    else:
        prefix = f"findings/{fingerprints(spec.science)['findings']}"
        parts = PartSet(store, prefix, len(names), spec.placement.findings.lease_s)
        lines = [] if number in parts.missing() else parts.read(number).splitlines()
    rows = map(Findings.model_validate_json, lines)
    return next((row for row in rows if row.sample_id == sample.sample_id), None)


def _asked(outputs: Mapping[str, StageOutput], triplets: list[Triplet]) -> tuple[Asked, ...]:
    ids = {row.triplet_id for row in triplets}
    traces = {row.triplet_id: row for row in _about(outputs, "traces", "traces.jsonl", Trace, ids)}
    verdicts = {row.triplet_id: row for row in _about(outputs, "quality", "verdicts.jsonl", Verdict, ids)}
    rollouts: dict[str, list[Rollout]] = {}
    if "grpo" in outputs and "rollouts.jsonl" in outputs["grpo"]:
        for line in _lines(outputs["grpo"], "rollouts.jsonl", ids) if ids else ():
            values: dict[str, Any] = json.loads(line)
            if values["triplet_id"] in ids:
                rollouts.setdefault(values["triplet_id"], []).append(Rollout.model_validate(values))
    return tuple(
        Asked(
            triplet=row,
            trace=traces.get(row.triplet_id),
            verdict=verdicts.get(row.triplet_id),
            rollouts=tuple(rollouts.get(row.triplet_id, ())),
        )
        for row in triplets
    )
