"""The funnel of stage 5, and how far the rules and the writer agree about traces (paper, Sec. 3.2.3).

The two are compared over the traces of which both have an opinion: all that the rules accept, and
the share of what they reject that the writer was shown. So shares hold within a row of the table,
and there is no share over the whole table. An opinion that could not be read is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from fundus_r1.prompts.material import WRITERS_REASONS
from fundus_r1.rows import Reason, Verdict

Source = Literal["pixel", "observer"]


def funnel(sources: Sequence[Source], verdicts: Sequence[Verdict], triplets: int | None) -> dict[str, Any]:
    """From triplets to accepted traces; a trace counts once for each of its reasons.

    Args:
        sources: where the findings of each trace come from.
        verdicts: as many.
        triplets: how many there were.
    """
    by_source: dict[Source, dict[str, int]] = {
        source: {"traces": 0, "accepted": 0} for source in ("pixel", "observer")
    }
    for source, verdict in zip(sources, verdicts, strict=True):
        by_source[source]["traces"] += 1
        by_source[source]["accepted"] += verdict.accepted
    opinions = Counter(verdict.writer for verdict in verdicts)
    return {
        "triplets": triplets,
        "traces": len(verdicts),
        "accepted": sum(verdict.accepted for verdict in verdicts),
        "reasons": _counted(_kinds(verdict.reasons) for verdict in verdicts),
        "by_rules": _counted(_kinds(verdict.rules) for verdict in verdicts),
        "by_writer": _counted(_kinds(verdict.objections) for verdict in verdicts),
        "writer": {
            opinion: opinions[opinion] for opinion in ("accepted", "rejected", "unreadable", "not_asked")
        },
        "by_source": by_source,
        "agreement": agreement(verdicts),
    }


def agreement(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """Opinion against opinion, and reason against reason.

    Returns:
        ``traces``: compared; ``table``: rules' opinion -> writer's opinion -> traces; ``reasons``:
        reason -> traces that ``both``, ``rules`` alone and ``writer`` alone reject for it.
    """
    words = {True: "accepted", False: "rejected"}
    table = {mine: dict.fromkeys(words.values(), 0) for mine in words.values()}
    reasons: dict[Reason, dict[str, int]] = {
        reason: {"both": 0, "rules": 0, "writer": 0} for reason in WRITERS_REASONS
    }
    compared = [verdict for verdict in verdicts if verdict.writer in ("accepted", "rejected")]
    for verdict in compared:
        table[words[not verdict.rules]][verdict.writer] += 1
        rules, writer = _kinds(verdict.rules), _kinds(verdict.objections)
        for reason in rules | writer:
            who = "both" if reason in rules & writer else "rules" if reason in rules else "writer"
            reasons[reason][who] += 1
    return {
        "traces": len(compared),
        "table": table,
        "reasons": {reason.value: counts for reason, counts in reasons.items() if any(counts.values())},
    }


def _kinds(reasons: Iterable[tuple[Reason, str]]) -> set[Reason]:
    return {reason for reason, _ in reasons}


def _counted(kinds: Iterable[set[Reason]]) -> dict[str, int]:
    counts = Counter(reason for each in kinds for reason in each)
    return {reason.value: counts[reason] for reason in Reason if counts[reason]}
