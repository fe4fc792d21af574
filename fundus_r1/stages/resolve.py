"""Fills in what a spec leaves to be looked up: digests of data and of model folders.

Only then are all fingerprints known. Whoever submits a run resolves it; the resolved spec is
saved with the outputs.
"""

from __future__ import annotations

from pathlib import Path

from fundus_r1.datasets.digest import data_digest
from fundus_r1.datasets.folders import data_folder
from fundus_r1.models.weights import folder_digest
from fundus_r1.spec import RunSpec
from fundus_r1.spec.models import FolderModel, ModelRef


def _resolve_model(ref: ModelRef) -> ModelRef:
    if isinstance(ref, FolderModel) and ref.digest is None:
        return ref.model_copy(update={"digest": folder_digest(Path(ref.path))})
    return ref


def resolve(spec: RunSpec) -> RunSpec:
    """The spec with its open digests filled in.

    Raises:
        DataError: a data folder does not exist.
        ModelError: a model folder does not exist or is none.
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
        }
    )
    return spec.model_copy(update={"science": science.model_copy(update={"index": index, "models": models})})
