"""Stage 2, ``knowledge``: D[y, m] and Vocab[y, m] by retrieval (paper, Sec. 3.2.1).

For each (label, modality) of the datasets, passages are retrieved, the writer extracts a record
from them, and Text-to-Findings makes canonical groups of its phrases. A finding that no retrieved
passage speaks of is the writer's own invention and is kept out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fundus_r1.errors import ModelError, StageError
from fundus_r1.models.chat import open_chat
from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.ontology.findings import mentions
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import pairs
from fundus_r1.ontology.vocabulary import Groups, group, vocabulary
from fundus_r1.progress import Progress
from fundus_r1.prompts.knowledge import RECORD_SCHEMA, KnowledgeRecord, knowledge_question, read_record
from fundus_r1.retrieval import KnowledgeBase, corpus_digest, query_for
from fundus_r1.rows import Knowledge, Modality, Passage
from fundus_r1.spec import Science, Spec
from fundus_r1.spec.models import Chat
from fundus_r1.spec.science import Dataset, KnowledgeScience
from fundus_r1.stages.base import Context, Counts, Result, Stage


class KnowledgeSlice(Spec):
    """What of the science the knowledge depends on."""

    knowledge: KnowledgeScience
    datasets: tuple[Dataset, ...]
    """Whose labels are asked for."""
    writer: Chat
    corpus: str
    """SHA-256 over what the sources hold."""


def _select(science: Science) -> KnowledgeSlice:
    return KnowledgeSlice(
        knowledge=science.knowledge,
        datasets=science.index.datasets,
        writer=science.models.writer,
        corpus=corpus_digest(science.knowledge.sources),
    )


@dataclass(frozen=True)
class _Search:
    """One (label, modality) with what was found for it."""

    label: str
    modality: Modality
    query: str
    passages: Sequence[Passage]

    def request(self) -> ChatRequest:
        question = knowledge_question(self.query, LABELS[self.label].name, self.modality.value, self.passages)
        return ChatRequest(
            task="knowledge",
            messages=(("user", question),),
            inputs={"label": self.label, "modality": self.modality, "passages": self.passages},
            schema=RECORD_SCHEMA,
        )

    def record(self, answer: ChatAnswer) -> KnowledgeRecord:
        record = read_record(answer.text)
        if record is None:
            raise ModelError(
                f"The writer {answer.model} gave no record that can be read: {answer.text[:200]!r}",
                where=f"knowledge of {self.label} on {self.modality}",
                hint="take a model that keeps to a JSON schema, or raise science.models.writer.max_tokens",
            )
        return record

    def evidence(self) -> dict[str, tuple[str, ...]]:
        """Finding -> ids of the passages that speak of it."""
        found: dict[str, list[str]] = {}
        for passage in self.passages:
            for key in {mention.key for mention in mentions(passage.text)}:
                found.setdefault(key, []).append(passage.passage_id)
        return {key: tuple(ids) for key, ids in found.items()}

    def row(self, record: KnowledgeRecord, groups: Groups, model: str) -> Knowledge:
        evidence = self.evidence()
        return Knowledge(
            label=self.label,
            modality=self.modality,
            query=self.query,
            description=record.description,
            required=groups.required,
            supportive=groups.supportive,
            absent=groups.absent,
            evidence={key: evidence[key] for key in groups.all},
            passages=tuple(passage.passage_id for passage in self.passages),
            model=model,
        )


def run(ctx: Context[KnowledgeSlice]) -> Result:
    """Writes ``knowledge.jsonl``, ``vocabulary.jsonl`` and ``passages.jsonl``."""
    science = ctx.science
    if corpus_digest(science.knowledge.sources) != science.corpus:
        raise StageError(
            "The notes of this program are others than those that the run was planned with",
            where=f"science.knowledge.sources={', '.join(science.knowledge.sources)}",
            hint="plan and run with the same version of the program",
        )
    base = KnowledgeBase(science.knowledge.sources, science.knowledge.passages)
    searches = []
    for label, modality in pairs(science.datasets):
        query = query_for(label, modality)
        searches.append(_Search(label, modality, query, base.retrieve(query)))
    progress = Progress(ctx.output.stage, len(searches), "labels")

    writer = open_chat(science.writer, ctx.placement.endpoints.writer, role="writer")
    answers = writer.complete([search.request() for search in searches])
    records = [search.record(answer) for search, answer in zip(searches, answers, strict=True)]
    worded = [group(record.required, record.supportive, record.absent) for record in records]
    grounded = [groups.only(search.evidence()) for groups, search in zip(worded, searches, strict=True)]
    rows = [
        search.row(record, groups, answer.model)
        for search, record, groups, answer in zip(searches, records, grounded, answers, strict=True)
    ]
    progress.set(len(rows))

    by_pair = {(row.label, row.modality): groups for row, groups in zip(rows, grounded, strict=True)}
    entries = vocabulary(by_pair, science.datasets, science.knowledge.scope)
    used = {passage.passage_id: passage for search in searches for passage in search.passages}
    ctx.output.write_rows("knowledge.jsonl", rows)
    ctx.output.write_rows("vocabulary.jsonl", entries)
    ctx.output.write_rows("passages.jsonl", [used[key] for key in sorted(used)])
    counts: Counts = {"pairs": len(rows), "passages": len(used), **_counts(worded, grounded)}
    counts["asked_at_most"] = max((len(entry.asked) for entry in entries), default=0)
    return Result(counts, models={"writer": ", ".join(sorted({row.model for row in rows}))})


def _counts(worded: Sequence[Groups], grounded: Sequence[Groups]) -> Counts:
    """How many findings were kept, and what was kept out."""
    unknown = sorted({phrase for groups in worded for phrase in groups.unknown})
    return {
        "required": sum(len(groups.required) for groups in grounded),
        "supportive": sum(len(groups.supportive) for groups in grounded),
        "absent": sum(len(groups.absent) for groups in grounded),
        "ungrounded": sum(
            len(before.all) - len(after.all) for before, after in zip(worded, grounded, strict=True)
        ),
        "conflicts": sum(len(groups.conflicts) for groups in worded),
        "unknown": len(unknown),
        "unknown_phrases": "; ".join(unknown) or None,
    }


STAGE = Stage(
    name="knowledge",
    summary="Retrieves what is known of each label on each modality and makes the vocabulary of findings.",
    revision=1,
    after=(),
    slice_type=KnowledgeSlice,
    select=_select,
    run=run,
    prompts=("query", "knowledge"),
)
