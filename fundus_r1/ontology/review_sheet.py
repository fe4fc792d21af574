"""Writes the whole vocabulary as a YAML file for review (paper, Sec. 3.2.1).

Writing and `ontology.reviewed.read_vocabulary` are inverse: what was written gives the same groups,
descriptions and sources. The text of passages is not in the file; their references are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.reviewed import GROUPS
from fundus_r1.rows import Knowledge, Passage

_HEAD = """\
# Vocabulary of visual findings, for review. Each entry is one label on one modality:
#   description  what is known of it, in sentences; traces are composed from and checked against them
#   required     findings that are decisive for the label; a normal eye has none
#   supportive   findings that may be there and decide nothing
#   absent       findings that speak against the label ("no neovascularization")
# A finding stands in one group only, under its name or a synonym, with the sources that support it: keys of
# `sources` at the end, or a reference in several words. A label without an entry is looked up.
# Check with: fundus-r1 vocabulary check FILE. Use with: science.knowledge.vocabulary: {path: FILE}
"""


def vocabulary_text(rows: Sequence[Knowledge], passages: Mapping[str, Passage]) -> str:
    """The YAML of a vocabulary.

    Args:
        rows: what is known of each (label, modality); one without a description is left out and named
            in a comment, because nothing was found for it.
        passages: id -> passage, of those that the rows name as evidence.
    """
    found = [row for row in rows if row.description]
    cited = sorted({key for row in found for keys in row.evidence.values() for key in keys} & passages.keys())
    sources = {key: _source(passages[key]) for key in cited}
    blocks = [_HEAD, "format: 1\n", "vocabulary:\n" if found else "vocabulary: []\n"]
    for row in rows:
        title = f"# {LABELS[row.label].name} on {row.modality}"
        if row.description:
            blocks.append(f"{title}\n{_dump([_written(row)])}")
        else:
            blocks.append(f"{title}: nothing was found; write an entry to give it one.\n")
    return "\n".join([*blocks, _dump({"sources": sources})])


def _dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)


def _source(passage: Passage) -> dict[str, str]:
    told = {
        "reference": passage.reference,
        "title": passage.title,
        "section": passage.section,
        "source": passage.source,
        "licence": passage.licence,
    }
    return {key: text for key, text in told.items() if text}


def _written(row: Knowledge) -> dict[str, Any]:
    groups = zip(GROUPS, (row.required, row.supportive, row.absent), strict=True)
    listed = {
        group: {FINDINGS[key].name: list(row.evidence[key]) for key in keys} for group, keys in groups if keys
    }
    return {
        "label": row.label,
        "modality": row.modality.value,
        "description": row.description,
        **listed,
    }
