"""Brings a model that a spec names to a local folder in the Hugging Face layout.

A reference is exact or refused: a tiny model by its seed, a folder by the digest of its files,
a published model by its commit. The engines are then given a folder, never a name, so that
nothing is looked up while they run.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fundus_r1.errors import ModelError
from fundus_r1.fingerprint import SHORT, fingerprint
from fundus_r1.models.hub import hub_errors
from fundus_r1.models.tiny import build_tiny, tiny_fingerprint
from fundus_r1.spec.models import FolderModel, HubModel, ModelRef, ServedModel, TinyModel, VisionRef
from fundus_r1.spec.placement import Placement
from fundus_r1.spec.training import Pixels
from fundus_r1.storage.output import file_sha256

_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.jinja", "*.model"]
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
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    return fingerprint([[file.relative_to(path).as_posix(), file_sha256(file)] for file in files])


def materialise(ref: ModelRef, cache: Path) -> Path:
    """The model's folder on this machine; made or fetched if it is not there yet.

    Args:
        ref: which model.
        cache: folder for tiny and published models, shared safely by several processes.

    Raises:
        ModelError: the model is not there, is another than named, or cannot be fetched.
    """
    if isinstance(ref, TinyModel):
        return _tiny(ref, cache)
    if isinstance(ref, FolderModel):
        return _folder(ref)
    return _hub(ref, cache)


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


def _folder(ref: FolderModel) -> Path:
    path = Path(ref.path)
    _check_layout(path)
    if ref.digest is not None:
        found = folder_digest(path)
        if found != ref.digest:
            raise ModelError(
                f"The model folder is another than the spec names: its digest is {found[:SHORT]}..., "
                f"not {ref.digest[:SHORT]}...",
                where=str(path),
                hint="give the folder of the right model, or resolve the spec again for this one",
            )
    return path


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


def _hub(ref: HubModel, cache: Path) -> Path:
    if not ref.is_pinned:
        raise ModelError(
            f"The revision of {ref.name} is {ref.revision!r}, which is no commit: "
            "the model could change under the run",
            where=ref.name,
            hint="set its revision to the 40 hexadecimal digits shown at "
            f"https://huggingface.co/{ref.name}/commits, or have it looked up: fundus-r1 pin",
        )
    target = cache / f"{ref.name.replace('/', '--')}-{ref.revision[:SHORT]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            # A download that was cut short is taken up again; only a whole one gets the name.
            partial = target.with_name(f".{target.name}.partial")
            _download(ref, partial)
            _check_layout(partial)
            partial.rename(target)
    return target


def _download(ref: HubModel, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    hint = "connect this machine to the hub, or name a folder that has the model (kind: folder)"
    with hub_errors(ref, f"{ref.name} could not be downloaded", hint):
        snapshot_download(ref.name, revision=ref.revision, local_dir=folder, allow_patterns=_WANTED)
