"""The writer without a language model: composes a trace from VF(x) and D[y, m] (Sec. 3.2.3).

Three steps as the paper guides its writer: summarise the findings, connect them to the knowledge,
derive the answer. Only VF(x) is stated as present, whether it fits the label or not: judging that
is the quality check's task. Wording varies with the triplet's id, so the same input always gives
the same text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.prompts.material import Material
from fundus_r1.prompts.student import student_response
from fundus_r1.rows import Knowledge, Modality

ABSENT_TOLD = 4
"""At most so many absent findings are named."""

_VIEWS = {
    Modality.CFP: ("The fundus photograph", "This color fundus photograph", "The CFP image"),
    Modality.OCT: ("The OCT B-scan", "This OCT scan", "The OCT image"),
    Modality.UWF: ("The ultra-widefield image", "This ultra-widefield fundus image", "The UWF image"),
}
_SHOWS = ("shows", "demonstrates", "reveals")
_ALSO = ("There are also {}.", "In addition, {} can be seen.", "{} are visible as well.")
_NONE_OF = ("No {} is observed.", "There is no {}.", "No {} can be seen.")
_LINKS = (
    "Together, these findings are characteristic of {label} on {modality}.",
    "On {modality}, this combination is typical of {label}.",
    "By what is known of {modality} imaging, this picture is characteristic of {label}.",
)
_LINKS_ONE = (
    "This finding is decisive for {label} on {modality}.",
    "On {modality}, this sign is characteristic of {label}.",
    "By what is known of {modality} imaging, this sign is characteristic of {label}.",
)
_LINKS_SUPPORT = (
    "On {modality}, this is consistent with {label}.",
    "This supports {label} on {modality}.",
    "Such a picture is compatible with {label} on {modality}.",
)
_LINKS_NONE = (
    "On {modality}, such an unremarkable picture is expected of {label}.",
    "An image without abnormal signs is characteristic of {label} on {modality}.",
    "By what is known of {modality} imaging, such a picture is typical of {label}.",
)
_ANSWERS = (
    "The answer is therefore {}.",
    "Hence the answer is {}.",
    "It follows that the answer is {}.",
)


class _Choice:
    """Picks among wordings, differently for each triplet and each place in the text."""

    def __init__(self, seed: str):
        self._digest = hashlib.sha256(seed.encode()).digest()
        self._place = 0

    def __call__(self, wordings: Sequence[str]) -> str:
        self._place += 1
        return wordings[self._digest[self._place] % len(wordings)]


def _series(names: Sequence[str], last: str) -> str:
    """``a, b, and c``, or ``a and b``."""
    if len(names) < 3:
        return f" {last} ".join(names)
    return f"{', '.join(names[:-1])}, {last} {names[-1]}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def compose_trace(inputs: dict[str, Any]) -> str:
    """A trace ``<think>...</think> <answer>...</answer>``.

    Args:
        inputs: what `Material.inputs` gives.
    """
    material = Material(**inputs)
    triplet, knowledge = material.triplet, material.knowledge
    pick = _Choice(triplet.triplet_id)
    shown = material.present
    decisive = [key for key in shown if key in knowledge.required]
    others = [key for key in shown if key not in knowledge.required]
    missing = [key for key in knowledge.absent if key not in shown][:ABSENT_TOLD]
    lines = _summary(triplet.modality, decisive, others, missing, pick)
    link = pick(_links(decisive, others, knowledge))
    lines.append(link.format(label=_spoken(triplet.label), modality=triplet.modality))
    lines.append(pick(_ANSWERS).format(triplet.answer))
    return student_response(" ".join(lines), triplet.answer)


def _links(decisive: list[str], others: list[str], knowledge: Knowledge) -> Sequence[str]:
    if decisive:
        return _LINKS if decisive[1:] or others else _LINKS_ONE
    return _LINKS_SUPPORT if others or knowledge.required else _LINKS_NONE


def _spoken(label: str) -> str:
    return "a Normal eye" if label == "normal" else LABELS[label].name


def _summary(
    modality: Modality, decisive: list[str], others: list[str], missing: list[str], pick: _Choice
) -> list[str]:
    first, more = (decisive, others) if decisive else (others, [])
    view = f"{pick(_VIEWS[modality])} {pick(_SHOWS)}"
    lines = []
    if first:
        lines.append(f"{view} {_series([FINDINGS[key].plural for key in first], 'and')}.")
    else:
        lines.append(f"{view} a regular picture.")
    if more:
        lines.append(_capital(pick(_ALSO).format(_series([FINDINGS[key].plural for key in more], "and"))))
    if missing:
        lines.append(pick(_NONE_OF).format(_series([FINDINGS[key].name for key in missing], "or")))
    return lines
