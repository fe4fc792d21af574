"""Brings a model that a spec names to a local folder in the Hugging Face layout.

A reference is exact or refused: a tiny model by its seed, a folder by the digest of its files,
a published model by its commit. The engines are then given a folder, never a name, so that
nothing is looked up while they run. A published model comes from the run's store where that has it
(`models.mirror`), else from the hub; a folder may be one of the store's endpoint, or of a volume
(`spec.places`).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fundus_r1.errors import ModelError
from fundus_r1.fingerprint import SHORT, fingerprint
from fundus_r1.models.hub import hub_errors
from fundus_r1.models.mirror import WANTED, demand_commit, weights_prefix
from fundus_r1.models.tiny import build_tiny, tiny_fingerprint
from fundus_r1.spec.models import FolderModel, HubModel, ModelRef, ServedModel, TinyModel, VisionRef
from fundus_r1.spec.placement import Placement
from fundus_r1.spec.places import FORMS, S3, local_folder, scheme_of
from fundus_r1.spec.training import Pixels
from fundus_r1.storage import open_bucket
from fundus_r1.storage.fetch import fetch_tree, made_once
from fundus_r1.storage.output import file_sha256
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.trees import Manifest, manifest_of

# transformers 5 writes the first; the second is the older form, and what is published.
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")


def model_cache(placement: Placement) -> Path:
    """The folder for weights on this machine; not made yet."""
    return Path(placement.cache or tempfile.gettempdir()) / f"fundus-r1-models-{os.getuid()}"


def model_id(ref: VisionRef) -> str:
    """A model's name as records and reports show it."""
    if isinstance(ref, TinyModel):
        return f"tiny-{ref.hidden}x{ref.layers}-seed{ref.seed}"
    if isinstance(ref, HubModel):
        return f"{ref.name}@{ref.revision[:SHORT]}"
    if isinstance(ref, ServedModel):
        return ref.name
    return f"{Path(ref.path).name}@{ref.digest[:SHORT]}" if ref.digest else Path(ref.path).name


def folder_digest(path: Path) -> str:
    """SHA-256 over names and contents of a model folder's files; hidden files do not count.

    Raises:
        ModelError: there is no such folder, or it holds no model.
    """
    _check_layout(path)
    files = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return _digest({name: file_sha256(path / name) for name in files})


def _digest(files: Mapping[str, str]) -> str:
    names = sorted(PurePosixPath(name) for name in files)
    shown = [str(name) for name in names if not any(part.startswith(".") for part in name.parts)]
    return fingerprint([[name, files[name]] for name in shown])


def place_digest(ref: FolderModel, store: Store | None = None) -> str:
    """`folder_digest` of a model folder wherever it lies; one in a bucket is not downloaded for it.

    Args:
        ref: the model.
        store: the run's; needed only for ``s3://``.

    Raises:
        ModelError: there is no such folder, or it holds no model.
    """
    if scheme_of(ref.path) == S3:
        return _digest(_in_bucket(ref, store)[1].digests)
    return folder_digest(_local(ref))


def materialise(ref: ModelRef, cache: Path, store: Store | None = None) -> Path:
    """The model's folder on this machine; made or fetched if it is not there yet.

    Args:
        ref: which model.
        cache: folder for models that do not lie in one, shared safely by several processes.
        store: the run's; a published model that is mirrored there comes from there. None asks the hub.

    Raises:
        ModelError: the model is not there, is another than named, or cannot be fetched.
        StoreError: the store refused, or a file there is damaged.
    """
    if isinstance(ref, TinyModel):
        return _tiny(ref, cache)
    if isinstance(ref, FolderModel):
        return _folder(ref, cache, store)
    return _hub(ref, cache, store)


def with_pixels(folder: Path, pixels: Pixels, target: Path) -> Path:
    """The same model with other pixel limits of its images, as a folder of links.

    The limits stand in the folder's own processor files, where transformers and vLLM both look. So
    training and evaluation see the same images, and a model that is trained from here carries them on.

    Args:
        folder: of the model; stays as it is.
        pixels: the limits.
        target: is made, and must not be there yet.

    Raises:
        ModelError: the folder has no image processor.
    """
    _check_layout(folder)
    target.mkdir(parents=True)
    limited = False
    for path in sorted(folder.resolve().iterdir()):
        if path.name not in _PROCESSORS:
            (target / path.name).symlink_to(path)
            continue
        settings = json.loads(path.read_text(encoding="utf-8"))
        # The newer form holds the video's processor too.
        images = settings.get("image_processor") if path.name == _PROCESSORS[0] else settings
        if images is not None:
            images |= _limits(pixels)
            limited = True
        (target / path.name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    if not limited:
        raise ModelError(
            "The model has no image processor",
            where=f"{folder}: neither {' nor '.join(_PROCESSORS)} describes one",
            hint="give the folder of a model that sees images, such as Qwen2.5-VL, with all its files",
        )
    return target


def _limits(pixels: Pixels) -> dict[str, Any]:
    """In both forms: the older readers know the first two alone."""
    return {
        "min_pixels": pixels.min_pixels,
        "max_pixels": pixels.max_pixels,
        "size": {"shortest_edge": pixels.min_pixels, "longest_edge": pixels.max_pixels},
    }


def _tiny(ref: TinyModel, cache: Path) -> Path:
    target = cache / f"tiny-{tiny_fingerprint(ref)[:SHORT]}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".tiny-", dir=cache))
    try:
        build_tiny(made, ref)
        made.chmod(0o755)
        try:
            made.rename(target)
        except OSError:
            # Another process was faster; what it made is the same, byte for byte.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def _folder(ref: FolderModel, cache: Path, store: Store | None) -> Path:
    path = _from_bucket(ref, cache, store) if scheme_of(ref.path) == S3 else _local(ref)
    _check_layout(path)
    if ref.digest is not None:
        found = folder_digest(path)
        if found != ref.digest:
            raise ModelError(
                f"The model folder is another than the spec names: its digest is {found[:SHORT]}..., "
                f"not {ref.digest[:SHORT]}...",
                where=ref.path,
                hint="give the folder of the right model, or resolve the spec again for this one",
            )
    return path


def _local(ref: FolderModel) -> Path:
    path = local_folder(ref.path)
    if path is None:
        raise ModelError("No model can be read from there", where=ref.path, hint=f"name {FORMS}")
    return path


def _in_bucket(ref: FolderModel, store: Store | None) -> tuple[Store, Manifest]:
    bucket = open_bucket(ref.path, store)
    manifest = manifest_of(bucket, "")
    if manifest is None:
        raise ModelError(
            "The model in the bucket is not whole: it has no manifest",
            where=ref.path,
            hint="bring it there with: fundus-r1 mirror --data FOLDER --to " + ref.path,
        )
    return bucket, manifest


def _from_bucket(ref: FolderModel, cache: Path, store: Store | None) -> Path:
    bucket, manifest = _in_bucket(ref, store)
    name = PurePosixPath(ref.path).name
    return made_once(
        cache / f"{name}-{manifest.key[:SHORT]}", lambda folder: fetch_tree(bucket, "", manifest, folder)
    )


def _check_layout(path: Path) -> None:
    if not path.is_dir():
        raise ModelError(
            "The model folder does not exist",
            where=str(path),
            hint="correct the path of the model in the spec",
        )
    lacks = [
        what
        for what, there in (
            ("config.json", (path / "config.json").is_file()),
            ("*.safetensors", any(path.glob("*.safetensors"))),
        )
        if not there
    ]
    if lacks:
        raise ModelError(
            f"The folder holds no model in the Hugging Face layout: {' and '.join(lacks)} missing",
            where=str(path),
            hint="give a folder as written by save_pretrained or downloaded from the hub",
        )


def _hub(ref: HubModel, cache: Path, store: Store | None) -> Path:
    demand_commit(ref)

    def fill(folder: Path) -> None:
        # A download that was cut short is taken up again; only a whole one gets the name.
        manifest = None if store is None else manifest_of(store, weights_prefix(ref))
        if store is not None and manifest is not None:
            fetch_tree(store, weights_prefix(ref), manifest, folder)
        else:
            _download(ref, folder)
        _check_layout(folder)

    return made_once(cache / f"{ref.name.replace('/', '--')}-{ref.revision[:SHORT]}", fill)


def _download(ref: HubModel, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    hint = "connect this machine to the hub, mirror the model (fundus-r1 mirror), or name a folder that has "
    hint += "it (kind: folder)"
    with hub_errors(ref, f"{ref.name} could not be downloaded", hint):
        snapshot_download(ref.name, revision=ref.revision, local_dir=folder, allow_patterns=WANTED)
