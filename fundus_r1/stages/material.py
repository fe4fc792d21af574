"""What traces are composed from and checked against, gathered from the stages before.

A triplet of whose label nothing is known on its modality has no material: a trace of it would connect
its findings to nothing, and nothing could be held against it.
Of the findings only VF(x) and where it comes from is kept: a large run has rollouts of many gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fundus_r1.errors import StageError
from fundus_r1.prompts.material import Material
from fundus_r1.rows import Findings, Knowledge, Trace, Triplet
from fundus_r1.storage.output import StageOutput


def gather(inputs: Mapping[str, StageOutput]) -> list[Material]:
    """One `Material` for each triplet with findings and knowledge, in the order of the triplets.

    Args:
        inputs: outputs of index, knowledge and findings.

    Raises:
        StageError: a triplet's label has no row of knowledge for its modality.
    """
    knowledge = {
        (row.label, row.modality): row for row in inputs["knowledge"].read_rows("knowledge.jsonl", Knowledge)
    }
    found = {
        row.sample_id: (row.present, row.source)
        for row in inputs["findings"].read_rows("findings.jsonl", Findings)
    }
    gathered = []
    for triplet in inputs["index"].read_rows("triplets.jsonl", Triplet):
        if triplet.sample_id not in found:
            continue
        known = knowledge.get((triplet.label, triplet.modality))
        if known is None:
            raise StageError(
                f"There is no knowledge of {triplet.label} on {triplet.modality}",
                where=f"triplet {triplet.triplet_id}",
                hint="the stage knowledge covers the pairs of ontology.tasks; add this one there",
            )
        if not known.covered:
            continue
        present, source = found[triplet.sample_id]
        gathered.append(Material(triplet, present, source, known))
    return gathered


def as_trace(material: Material, mode: Literal["knowledge", "free"], text: str, model: str) -> Trace:
    """What a model wrote of a triplet, as a row."""
    return Trace(
        triplet_id=material.triplet.triplet_id,
        sample_id=material.triplet.sample_id,
        label=material.triplet.label,
        modality=material.triplet.modality,
        mode=mode,
        findings=material.present,
        source=material.source,
        text=text.strip(),
        model=model,
    )
