"""Training examples of stage 6 (paper, Sec. 3.4): SFT conversations and GRPO prompts, as rows.

Setups with traces learn from accepted traces; setups without learn the answer alone. GRPO always
asks for a trace, whatever SFT taught, because its rewards are defined on trace and answer
(Sec. 3.3). An image of the validation split never becomes a GRPO prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from fundus_r1.prompts.student import student_prompt, student_response
from fundus_r1.rows import Conversation, Prompt, Split, Trace, Triplet, Verdict


def accepted_texts(traces: Iterable[Trace], verdicts: Iterable[Verdict]) -> dict[str, str]:
    """Triplet id -> text, for the traces that passed the quality check."""
    passed = {verdict.triplet_id for verdict in verdicts if verdict.accepted}
    return {trace.triplet_id: trace.text for trace in traces if trace.triplet_id in passed}


def trace_conversations(
    triplets: Iterable[Triplet], texts: Mapping[str, str], splits: Mapping[str, Split]
) -> list[Conversation]:
    """Conversations whose response is an accepted trace.

    Args:
        triplets: all triplets.
        texts: triplet id -> accepted trace; triplets without one are left out.
        splits: sample id -> split.
    """
    return [
        Conversation(
            triplet_id=triplet.triplet_id,
            sample_id=triplet.sample_id,
            prompt=student_prompt(triplet.question, triplet.options, reasoning=True),
            response=texts[triplet.triplet_id],
            split=splits[triplet.sample_id],
        )
        for triplet in triplets
        if triplet.triplet_id in texts
    ]


def answer_conversations(triplets: Iterable[Triplet], splits: Mapping[str, Split]) -> list[Conversation]:
    """Conversations whose response is the answer alone.

    Args:
        triplets: those to use.
        splits: sample id -> split.
    """
    return [
        Conversation(
            triplet_id=triplet.triplet_id,
            sample_id=triplet.sample_id,
            prompt=student_prompt(triplet.question, triplet.options, reasoning=False),
            response=student_response(None, triplet.answer),
            split=splits[triplet.sample_id],
        )
        for triplet in triplets
    ]


def grpo_prompts(
    triplets: Iterable[Triplet],
    findings: Mapping[str, tuple[str, ...]],
    splits: Mapping[str, Split],
    split: Split = Split.TRAIN,
) -> list[Prompt]:
    """GRPO prompts of one split.

    Args:
        triplets: those to use.
        findings: sample id -> VF(x); an image without is taken to show none.
        splits: sample id -> split.
        split: whose prompts; this project trains on none but those of the training split.
    """
    return [
        Prompt(
            triplet_id=triplet.triplet_id,
            sample_id=triplet.sample_id,
            prompt=student_prompt(triplet.question, triplet.options, reasoning=True),
            answer=triplet.answer,
            options=triplet.options,
            option_labels=triplet.option_labels,
            right=triplet.right,
            modality=triplet.modality,
            findings=findings.get(triplet.sample_id, ()),
            split=splits[triplet.sample_id],
        )
        for triplet in triplets
        if splits[triplet.sample_id] is split
    ]


def drawn(prompts: list[Prompt], limit: int | None, seed: int) -> list[Prompt]:
    """At most `limit` prompts, drawn by the hash of seed and triplet id, in their given order.

    A prompt's luck depends on itself alone: one more triplet displaces at most one other.
    """
    if limit is None or limit >= len(prompts):
        return prompts

    def lot(prompt: Prompt) -> str:
        return hashlib.sha256(f"{seed}:{prompt.triplet_id}".encode()).hexdigest()

    lucky = {prompt.triplet_id for prompt in sorted(prompts, key=lot)[:limit]}
    return [prompt for prompt in prompts if prompt.triplet_id in lucky]
