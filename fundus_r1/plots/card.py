"""What the gallery shows of one trace: the card, as values for the page.

A card holds no markup and no text of a source: passages are named by reference and licence. The
trace, the question and what a model said are data; the page sets them as text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fundus_r1.ontology.labels import LABELS
from fundus_r1.plots.highlight import pieces
from fundus_r1.prompts.student import parse_student
from fundus_r1.rows import Findings, Reason, Sample, Trace, Triplet, Verdict

Opinion = Literal["accepted", "rejected", "unreadable", "not_asked"]


@dataclass(frozen=True)
class Card:
    """One trace with its image's sample, question, votes and verdict."""

    sample: Sample
    triplet: Triplet
    findings: Findings
    trace: Trace
    verdict: Verdict

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Kinds of reasons against the trace, whoever gave them, each once."""
        given = {reason for reason, _ in self.verdict.reasons}
        return tuple(reason for reason in Reason if reason in given)

    @property
    def rules(self) -> Opinion:
        """What the rules say."""
        return "rejected" if self.verdict.rules else "accepted"

    @property
    def disagreement(self) -> bool:
        """Whether the writer was asked, could be read, and says something else than the rules."""
        return self.verdict.writer in ("accepted", "rejected") and self.verdict.writer != self.rules

    @property
    def label_name(self) -> str:
        return LABELS[self.trace.label].name

    def texts(self) -> tuple[str, ...]:
        """What is searched, beside the sample's id."""
        findings = " ".join(self.trace.findings)
        return (
            self.label_name,
            self.trace.label,
            findings.replace("_", " "),
            self.triplet.question,
            self.trace.text,
        )

    def as_json(self, image: int) -> dict[str, Any]:
        """As the page reads it.

        Args:
            image: number of the image in its chunk.
        """
        told = parse_student(self.trace.text)
        reasoning = told.think if told.well_formed and told.think else self.trace.text
        return {
            "image": image,
            "sample": self.sample.sample_id,
            "triplet": self.trace.triplet_id,
            "dataset": self.sample.dataset,
            "split": self.sample.split.value,
            "labels": [LABELS[key].name for key in self.sample.labels],
            "label": self.label_name,
            "modality": self.trace.modality.value,
            "source": self.trace.source,
            "mode": self.trace.mode,
            "model": self.trace.model,
            "question": self.triplet.question,
            "options": list(self.triplet.options.items()),
            "truth": self.triplet.answer,
            "answer": told.answer if told.well_formed else None,
            "trace": [
                piece.text if piece.kind == "plain" else [piece.kind, piece.text, piece.finding]
                for piece in pieces(reasoning, self.trace.findings)
            ],
            "findings": list(self.trace.findings),
            "votes": [
                [key, self.findings.votes.get(key, 0), self.findings.abstentions.get(key, 0)]
                for key in self.findings.asked
            ],
            "rollouts": self.findings.rollouts,
            "accepted": self.verdict.accepted,
            "rules": [[reason.value, detail] for reason, detail in self.verdict.rules],
            "writer": self.verdict.writer,
            "objections": [[reason.value, detail] for reason, detail in self.verdict.objections],
            "checker": self.verdict.model,
            "known": f"{self.trace.label}|{self.trace.modality.value}",
        }
