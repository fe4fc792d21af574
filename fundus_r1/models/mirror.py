"""Weights in the run's store, so that no machine with GPUs waits for the hub, or depends on it.

They lie under ``weights/<owner>--<name>@<commit>/`` as a tree (`storage.trees`): there whole, with the
checksum of each file, or not at all. Only a commit is mirrored, since what it names never changes. The disk
that this takes here is that of two files on their way, not of the model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from fundus_r1.errors import ModelError
from fundus_r1.fingerprint import SHORT
from fundus_r1.models.hub import TIMEOUT_S, hub_errors
from fundus_r1.spec.models import HubModel
from fundus_r1.storage.output import file_sha256
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.trees import Manifest, manifest_of, send_tree

WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.jinja", "*.model"]
"""Of a repository's files, those that the engines read."""
# Files of weights are large: two fill a connection, and no more lie on the disk.
_AT_ONCE = 2
_HINT = "connect this machine to the hub, or name a folder that has the model (kind: folder)"


def weights_prefix(ref: HubModel) -> str:
    """Where a model's files lie in the store.

    Raises:
        ModelError: its revision is no commit.
    """
    demand_commit(ref)
    return f"weights/{ref.name.replace('/', '--')}@{ref.revision}"


def demand_commit(ref: HubModel) -> None:
    """Refuses a revision that is no commit.

    Raises:
        ModelError: it is none.
    """
    if not ref.is_pinned:
        raise ModelError(
            f"The revision of {ref.name} is {ref.revision!r}, which is no commit: "
            "the model could change under the run",
            where=ref.name,
            hint="set its revision to the 40 hexadecimal digits shown at "
            f"https://huggingface.co/{ref.name}/commits, or have it looked up: fundus-r1 pin",
        )


def mirrored(ref: HubModel, store: Store) -> bool:
    """Whether the store has the model, whole."""
    return manifest_of(store, weights_prefix(ref)) is not None


def mirror_weights(ref: HubModel, store: Store, cache: Path) -> Manifest:
    """Brings a published model from the hub into the store; does nothing if it is there.

    Goes on from what an attempt that was cut short has sent. Two at once send the same bytes.

    Args:
        ref: the model.
        store: the run's.
        cache: folder for the files on their way.

    Raises:
        ModelError: the revision is no commit, or the hub has no such model, refuses, or is away.
        StoreError: the store refused.
    """
    prefix = weights_prefix(ref)
    whole = manifest_of(store, prefix)
    if whole is not None:
        return whole
    stated = _files_at_the_hub(ref)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mirror-", dir=cache) as folder:

        @contextmanager
        def fetched(name: str) -> Iterator[Path]:
            path = _download(ref, name, Path(folder))
            try:
                _check(ref, name, path, stated[name])
                yield path
            finally:
                path.unlink(missing_ok=True)

        return send_tree(store, prefix, stated, fetched, fixed=True, threads=_AT_ONCE)


def _files_at_the_hub(ref: HubModel) -> dict[str, str | None]:
    """The files that are wanted -> their SHA-256, where the hub states it (it does of large ones)."""
    from huggingface_hub import HfApi

    with hub_errors(ref, f"The files of {ref.name} could not be looked up", _HINT):
        found = HfApi().model_info(ref.name, revision=ref.revision, timeout=TIMEOUT_S, files_metadata=True)
    files = {
        file.rfilename: file.lfs.sha256 if file.lfs else None
        for file in found.siblings or ()
        if any(fnmatch(file.rfilename, pattern) for pattern in WANTED)
    }
    if not any(name.endswith(".safetensors") for name in files) or "config.json" not in files:
        raise ModelError(
            f"The repository {ref.name} holds no model in the Hugging Face layout: it needs config.json "
            "and *.safetensors",
            where=f"{ref.name}@{ref.revision[:SHORT]}",
            hint="correct name and revision",
        )
    return files


def _download(ref: HubModel, name: str, folder: Path) -> Path:
    from huggingface_hub import hf_hub_download

    with hub_errors(ref, f"{name} of {ref.name} could not be downloaded", _HINT):
        return Path(hf_hub_download(ref.name, name, revision=ref.revision, local_dir=folder))


def _check(ref: HubModel, name: str, path: Path, stated: str | None) -> None:
    if stated is not None and file_sha256(path) != stated:
        raise ModelError(
            f"{name} of {ref.name} arrived damaged: its checksum is another than the hub states",
            where=f"{ref.name}@{ref.revision[:SHORT]}",
            hint="try again",
            transient=True,
        )
