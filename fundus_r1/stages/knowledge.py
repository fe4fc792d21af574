"""Stage 2, ``knowledge``: D[y, m] and Vocab[y, m] by retrieval (paper, Sec. 3.2.1).

For each (label, modality) of the datasets, passages are retrieved, the writer extracts a record
from them, and Text-to-Findings makes canonical groups of its phrases. Pairs of a vocabulary that a
person has reviewed are taken from there instead: for them nothing is retrieved and nobody asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fundus_r1.errors import ModelError, StageError
from fundus_r1.models.chat import open_chat
from fundus_r1.models.protocol import ChatAnswer
from fundus_r1.models.weights import materialise, model_cache
from fundus_r1.ontology.reviewed import VocabularyFile
from fundus_r1.ontology.tasks import pairs
from fundus_r1.ontology.vocabulary import vocabulary
from fundus_r1.progress import Progress
from fundus_r1.retrieval import KnowledgeBase, corpus_digest, open_knowledge_base
from fundus_r1.rows import Modality, Passage
from fundus_r1.spec import Science, Spec
from fundus_r1.spec.models import Chat
from fundus_r1.spec.science import Dataset, KnowledgeScience
from fundus_r1.stages.base import Context, Counts, Result, Stage
from fundus_r1.stages.knowledge_pairs import Known, Search, reviewed
from fundus_r1.stages.knowledge_review import open_reviewed

TOLD = 12
"""Unknown phrases that the record names; ``left_out.jsonl`` has all of them."""

Pair = tuple[str, Modality]


class KnowledgeSlice(Spec):
    """What of the science the knowledge depends on."""

    knowledge: KnowledgeScience
    """`datasets` is None here: it is the next field."""
    datasets: tuple[Dataset, ...]
    """Whose labels are covered."""
    writer: Chat
    corpus: str
    """SHA-256 over what the program brings along of the sources."""


def _select(science: Science) -> KnowledgeSlice:
    knowledge = science.knowledge
    return KnowledgeSlice(
        knowledge=knowledge.model_copy(update={"datasets": None, "snapshot": knowledge.pinned_snapshot}),
        datasets=knowledge.datasets or science.index.datasets,
        writer=science.models.writer,
        corpus=corpus_digest(knowledge.sources),
    )


def run(ctx: Context[KnowledgeSlice]) -> Result:
    """Writes ``knowledge.jsonl``, ``vocabulary.jsonl``, ``passages.jsonl`` and what was kept out."""
    science = ctx.science
    if corpus_digest(science.knowledge.sources) != science.corpus:
        raise StageError(
            "The notes of this program are others than those that the run was planned with",
            where=f"science.knowledge.sources={', '.join(science.knowledge.sources)}",
            hint="plan and run with the same version of the program",
        )
    wanted = pairs(science.datasets)
    given = VocabularyFile({}, {})
    if science.knowledge.vocabulary is not None:
        given = open_reviewed(science.knowledge.vocabulary, ctx.store)
    counts: Counts = {"pairs": len(wanted), "reviewed": sum(pair in given.entries for pair in wanted)}
    known: dict[Pair, Known] = {
        pair: reviewed(given.entries[pair]) for pair in wanted if pair in given.entries
    }
    passages = dict(given.sources)
    open_pairs = [pair for pair in wanted if pair not in known]
    if open_pairs:
        searches = _retrieve(ctx, open_pairs, counts)
        known.update(_extract(ctx, searches, counts))
        passages.update({row.passage_id: row for search in searches for row in search.passages})
    return _write(ctx, {pair: known[pair] for pair in wanted}, passages, counts)


def _retrieve(ctx: Context[KnowledgeSlice], wanted: Sequence[Pair], counts: Counts) -> list[Search]:
    """The passages of each pair; also writes what the sources tried and what was refused."""
    science = ctx.science.knowledge
    progress = Progress(ctx.output.stage, len(wanted), "labels")
    with open_knowledge_base(science, ctx.placement.retrieval, ctx.store, _embedder(ctx)) as base:
        searches = []
        for label, modality in wanted:
            searches.append(Search(label, modality, base.retrieve(label, modality)))
            progress.advance()
        counts["snapshot"] = base.snapshot()
        counts.update(base.counts())
        ctx.output.write_rows("neutralised.jsonl", base.neutralised)
        ctx.output.write_rows("refused.jsonl", base.refused)
        if not any(search.passages for search in searches):
            raise _nothing_found(ctx, base)
    return searches


def _embedder(ctx: Context[KnowledgeSlice]) -> Path | None:
    ref = ctx.science.knowledge.embedder
    return None if ref is None else materialise(ref, model_cache(ctx.placement), ctx.store)


def _nothing_found(ctx: Context[KnowledgeSlice], base: KnowledgeBase) -> StageError:
    refused = base.refused
    told = (
        f"; {len(refused)} pages were refused, first {refused[0].page}: {refused[0].reason}"
        if refused
        else ""
    )
    return StageError(
        f"No source has a passage on any label{told}",
        where=f"science.knowledge.sources={', '.join(ctx.science.knowledge.sources)}",
        hint="look at the addresses in placement.retrieval, or add the source notes",
    )


def _extract(ctx: Context[KnowledgeSlice], searches: Sequence[Search], counts: Counts) -> dict[Pair, Known]:
    """The writer's records as knowledge.

    Raises:
        ModelError: for more than `bad_share` of the pairs asked, the writer gave no record.
    """
    model = open_chat(ctx.science.writer, ctx.placement.endpoints.writer, role="writer", store=ctx.store)
    asked = [search for search in searches if search.passages]
    answers = model.complete([search.request() for search in asked])
    counts.update({f"writer_{name}": count for name, count in model.usage.counts().items()})
    said: dict[Pair, ChatAnswer] = {
        (search.label, search.modality): answer for search, answer in zip(asked, answers, strict=True)
    }
    found = {
        (search.label, search.modality): search.known(said.get((search.label, search.modality)))
        for search in searches
    }
    bad = [one.uncovered for one in found.values() if one.uncovered and one.uncovered.reason == "no_record"]
    if len(bad) > ctx.science.knowledge.bad_share * len(asked):
        raise ModelError(
            f"The writer {answers[0].model} gave no record that can be read for {len(bad)} of {len(asked)} "
            f"labels; the first answer: {bad[0].detail!r}",
            where=f"knowledge of {bad[0].label} on {bad[0].modality}",
            hint="take a model that keeps to a JSON schema, or raise science.models.writer.max_tokens",
        )
    return found


def _write(
    ctx: Context[KnowledgeSlice], known: Mapping[Pair, Known], passages: Mapping[str, Passage], counts: Counts
) -> Result:
    science = ctx.science
    groups = {pair: one.groups for pair, one in known.items()}
    entries = vocabulary(groups, science.datasets, science.knowledge.scope)
    rows = [one.row for one in known.values()]
    used = sorted({key for row in rows for key in row.passages})
    uncovered = [one.uncovered for one in known.values() if one.uncovered]
    left_out = [row for one in known.values() for row in one.left_out]
    ctx.output.write_rows("knowledge.jsonl", rows)
    ctx.output.write_rows("vocabulary.jsonl", entries)
    ctx.output.write_rows("passages.jsonl", [passages[key] for key in used])
    ctx.output.write_rows("uncovered.jsonl", uncovered)
    ctx.output.write_rows("left_out.jsonl", left_out)
    unknown = sorted({row.what for row in left_out if row.kind == "unknown"})
    counts |= {
        "passages": len(used),
        "required": sum(len(one.required) for one in groups.values()),
        "supportive": sum(len(one.supportive) for one in groups.values()),
        "absent": sum(len(one.absent) for one in groups.values()),
        "ungrounded": sum(row.kind == "ungrounded" for row in left_out),
        "conflicts": sum(row.kind == "conflict" for row in left_out),
        "unknown": len(unknown),
        "unknown_phrases": "; ".join(unknown[:TOLD]) or None,
        "uncovered": len(uncovered),
        "asked_at_most": max((len(entry.asked) for entry in entries), default=0),
    }
    models = sorted({row.model for row in rows if row.description})
    return Result(counts, models={"writer": ", ".join(models)} if models else {})


STAGE = Stage(
    name="knowledge",
    summary="Retrieves what is known of each label on each modality and makes the vocabulary of findings.",
    revision=3,
    after=(),
    slice_type=KnowledgeSlice,
    select=_select,
    run=run,
    prompts=("query", "knowledge"),
)
