"""Fills in what a spec leaves to be looked up: digests of data and of model folders.

Only then are all fingerprints known. Whoever submits a run resolves it; the resolved spec is
saved with the outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from fundus_r1.datasets.digest import data_digest
from fundus_r1.datasets.folders import data_folder
from fundus_r1.errors import SpecError
from fundus_r1.models.weights import folder_digest
from fundus_r1.spec import RunSpec, Spec
from fundus_r1.spec.models import FolderModel
from fundus_r1.spec.science import ReviewedVocabulary
from fundus_r1.storage.output import file_sha256

R = TypeVar("R", bound=Spec | None)


def _resolve_model(ref: R) -> R:
    if isinstance(ref, FolderModel) and ref.digest is None:
        return ref.model_copy(update={"digest": folder_digest(Path(ref.path))})
    return ref


def _resolve_vocabulary(reviewed: ReviewedVocabulary | None) -> ReviewedVocabulary | None:
    if reviewed is None or reviewed.digest is not None:
        return reviewed
    path = Path(reviewed.path)
    if not path.is_file():
        raise SpecError(
            "The reviewed vocabulary does not exist",
            where=str(path),
            hint="correct science.knowledge.vocabulary.path, or write one: fundus-r1 vocabulary export",
        )
    return reviewed.model_copy(update={"digest": file_sha256(path)})


def resolve(spec: RunSpec) -> RunSpec:
    """The spec with its open digests filled in.

    Raises:
        DataError: a data folder does not exist.
        ModelError: a model folder does not exist or is none.
        SpecError: the reviewed vocabulary does not exist.
    """
    science = spec.science
    index = science.index
    if spec.placement.data and index.data_digest is None:
        digest = data_digest([data_folder(entry) for entry in spec.placement.data])
        index = index.model_copy(update={"data_digest": digest})
    models = science.models.model_copy(
        update={
            "student": _resolve_model(science.models.student),
            "observer": _resolve_model(science.models.observer),
            "free_form": _resolve_model(science.models.free_form),
        }
    )
    knowledge = science.knowledge.model_copy(
        update={
            "embedder": _resolve_model(science.knowledge.embedder),
            "vocabulary": _resolve_vocabulary(science.knowledge.vocabulary),
        }
    )
    parts = {"index": index, "models": models, "knowledge": knowledge}
    return spec.model_copy(update={"science": science.model_copy(update=parts)})
