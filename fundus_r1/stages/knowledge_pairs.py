"""One (label, modality) from its passages to D[y, m] and its groups (paper, Sec. 3.2.1).

A finding that no retrieved passage speaks of is the writer's own invention and is kept out. A pair
for which nothing was found, whose record cannot be read, or in which no finding is left, has an empty
vocabulary and is listed. A normal eye is no such pair: its required findings are none, and what must
not be seen stands among the absent ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.ontology.findings import mentions
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.reviewed import ReviewedEntry
from fundus_r1.ontology.vocabulary import Groups, group
from fundus_r1.prompts.knowledge import RECORD_SCHEMA, knowledge_question, read_record
from fundus_r1.retrieval import query_for
from fundus_r1.rows import Knowledge, LeftOut, Modality, Passage, Uncovered

SHOWN = 200
"""Characters of an unreadable answer that are kept."""

NOTHING = Groups((), (), ())


@dataclass(frozen=True)
class Known:
    """What is known of one pair."""

    row: Knowledge
    groups: Groups
    uncovered: Uncovered | None = None
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Search:
    """One pair with what was found for it."""

    label: str
    modality: Modality
    passages: Sequence[Passage]

    @property
    def query(self) -> str:
        """The query of Sec. 3.2.1."""
        return query_for(self.label, self.modality)

    def request(self) -> ChatRequest:
        """The question for the record."""
        question = knowledge_question(self.query, LABELS[self.label].name, self.modality.value, self.passages)
        return ChatRequest(
            task="knowledge",
            messages=(("user", question),),
            inputs={"label": self.label, "modality": self.modality, "passages": self.passages},
            schema=RECORD_SCHEMA,
        )

    def known(self, answer: ChatAnswer | None) -> Known:
        """The knowledge that the writer's answer gives.

        Args:
            answer: None where the writer was not asked, since there was nothing to read.
        """
        if answer is None:
            return self._nothing("no_passage", "none", "the sources hold no passage on it")
        record = read_record(answer.text)
        if record is None:
            return self._nothing("no_record", answer.model, answer.text[:SHOWN] or "an empty answer")
        worded = group(record.required, record.supportive, record.absent)
        evidence = self._evidence()
        kept = worded.only(evidence)
        row = Knowledge(
            label=self.label,
            modality=self.modality,
            query=self.query,
            description=record.description,
            required=kept.required,
            supportive=kept.supportive,
            absent=kept.absent,
            evidence={key: evidence[key] for key in kept.all},
            passages=tuple(passage.passage_id for passage in self.passages),
            model=answer.model,
        )
        uncovered = None if kept.all else self._uncovered("no_finding", record.description[:SHOWN])
        return Known(row, kept, uncovered, tuple(self._left_out(worded, kept)))

    def _nothing(self, reason: str, model: str, detail: str) -> Known:
        row = Knowledge(
            label=self.label,
            modality=self.modality,
            query=self.query,
            description="",
            required=(),
            supportive=(),
            absent=(),
            evidence={},
            passages=tuple(passage.passage_id for passage in self.passages),
            model=model,
        )
        return Known(row, NOTHING, self._uncovered(reason, detail))

    def _uncovered(self, reason: str, detail: str) -> Uncovered:
        return Uncovered.model_validate(
            {"label": self.label, "modality": self.modality, "reason": reason, "detail": detail}
        )

    def _evidence(self) -> dict[str, tuple[str, ...]]:
        """Finding -> ids of the passages that speak of it."""
        found: dict[str, list[str]] = {}
        for passage in self.passages:
            for key in {mention.key for mention in mentions(passage.text)}:
                found.setdefault(key, []).append(passage.passage_id)
        return {key: tuple(ids) for key, ids in found.items()}

    def _left_out(self, worded: Groups, kept: Groups) -> Iterator[LeftOut]:
        gone = [key for key in worded.all if key not in kept.all]
        for kind, named in (
            ("unknown", worded.unknown),
            ("ungrounded", gone),
            ("conflict", worded.conflicts),
        ):
            for what in named:
                yield LeftOut.model_validate(
                    {"label": self.label, "modality": self.modality, "kind": kind, "what": what}
                )


def reviewed(entry: ReviewedEntry) -> Known:
    """What a person says of a pair."""
    return Known(entry.row(query_for(entry.label, entry.modality)), entry.groups)
