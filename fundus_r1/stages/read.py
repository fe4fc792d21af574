"""A trained model reads images: findings, trace and answer (paper, Eq. 1).

The model is asked as it was in training and evaluation, at temperature 0. Its findings are read out of its
trace by the ontology, as they are for Tab. 6. An image that cannot be read is told of beside the others and
hinders none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_r1.datasets.images import BadImageError, Limits, examine, travelling_bytes
from fundus_r1.errors import DataError, StageError
from fundus_r1.models.protocol import VisionModel, VisionRequest
from fundus_r1.models.weights import materialise, model_cache, with_pixels
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.prompts.extraction import extract
from fundus_r1.prompts.student import parse_student, student_prompt
from fundus_r1.prompts.trace_reading import stated
from fundus_r1.spec import RunSpec
from fundus_r1.stages.evaluate import TRAINED
from fundus_r1.stages.show import outputs_of
from fundus_r1.storage.protocol import Store

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
_LIMITS = Limits()


@dataclass(frozen=True)
class Asking:
    """What is asked about each image."""

    question: str
    options: Mapping[str, str]
    """Letter -> text; empty for an open question."""
    max_tokens: int
    """Of an answer, trace included."""


@dataclass(frozen=True)
class Read:
    """What the model said of one image; of an image that cannot be read, why."""

    image: Path
    text: str | None = None
    """The model's whole text."""
    options: Mapping[str, str] | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Image, present and absent findings, trace, answer, the option it means, and the whole text."""
        if self.text is None:
            return {"image": str(self.image), "error": self.error}
        said = parse_student(self.text)
        told = stated(said.think or "")
        letters = extract(self.text, self.options) if self.options else ()
        return {
            "image": str(self.image),
            "findings": {"present": _names(told.present), "absent": _names(told.absent)},
            "trace": said.think,
            "answer": said.answer,
            "option": letters[0] if letters else None,
            "well_formed": said.well_formed,
            "text": self.text,
        }


def _names(keys: frozenset[str]) -> list[str]:
    return sorted(FINDINGS[key].name for key in keys)


def lettered(texts: Sequence[str]) -> dict[str, str]:
    """Options by letter.

    Raises:
        DataError: there is a single one, or more than letters.
    """
    if len(texts) == 1 or len(texts) > len(LETTERS):
        raise DataError(
            f"A question has two to {len(LETTERS)} options, or none; {len(texts)} were given",
            hint="repeat --option for each of them",
        )
    return dict(zip(LETTERS, texts, strict=False))


def images_at(paths: Sequence[Path]) -> list[Path]:
    """The image files that are named, and those below the folders that are, in the order of their names.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = sorted(one for one in path.rglob("*") if one.suffix.lower() in _SUFFIXES)
            if not below:
                raise DataError(
                    "The folder holds no image",
                    where=str(path),
                    hint=f"images end in {', '.join(sorted(_SUFFIXES))}",
                )
            found += below
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(
                "The image does not exist", where=str(path), hint="give a file or a folder of images"
            )
    return found


def read_images(model: VisionModel, images: Sequence[Path], asking: Asking) -> Iterator[Read]:
    """What a model says of each image, in their order.

    Raises:
        ModelError: the model failed.
    """
    prompt = student_prompt(asking.question, asking.options, reasoning=True)
    failures: dict[int, Read] = {}
    asked: list[int] = []

    def requests() -> Iterator[VisionRequest]:
        for number, path in enumerate(images):
            try:
                facts = examine(path, _LIMITS)
            except BadImageError as error:
                failures[number] = Read(path, error=error.detail)
                continue
            asked.append(number)
            yield VisionRequest(
                image=travelling_bytes(path, facts, _LIMITS),
                prompt=prompt,
                n=1,
                max_tokens=asking.max_tokens,
                temperature=0.0,
                seed=0,
            )

    told = 0
    for place, answer in enumerate(model.generate(requests())):
        number = asked[place]
        while told < number:
            yield failures.pop(told)
            told += 1
        yield Read(images[number], text=answer.texts[0], options=asking.options)
        told += 1
    for number in range(told, len(images)):
        yield failures.pop(number)


def trained_folder(spec: RunSpec, store: Store, scratch: Path) -> tuple[Path, str]:
    """(folder, name) of the model that a run has trained furthest; of a setup without training, its student.

    Args:
        spec: of the run, resolved and placed.
        store: its outputs.
        scratch: folder to bring the model to.

    Raises:
        StageError: the run has not come so far.
    """
    outputs = outputs_of(spec, store)
    wanted = "grpo" if spec.science.recipe.grpo else "sft" if spec.science.recipe.sft else None
    if wanted is None:
        student = materialise(spec.science.models.student, model_cache(spec.placement), store)
        return with_pixels(student, spec.science.pixels, scratch / "student"), "student"
    for stage in reversed(TRAINED):
        if stage in outputs and outputs[stage].names("model/"):
            output = outputs[stage]
            return output.download_folder("model", scratch / stage), f"{stage}@{output.record.short}"
    raise StageError(
        f"The run has no trained model: its stage {wanted} has not ended",
        where=store.uri,
        hint="give the spec, --set, --data and --out with which it was started, or run it first; "
        "or name a model folder with --model",
    )
