"""The places that ``placement.data`` may name, as folders of this machine; and data brought to a bucket.

What lies in a bucket comes into the cache before it is read, since datasets are read file by file. Data
that `mirror_data` brought there carry a manifest: their digest is known without a download, and each
file is checked. Of others only names and sizes are known before, and they must not change meanwhile.
Either way the digest is that of the same files in a folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath

from fundus_r1.datasets.digest import file_contents
from fundus_r1.datasets.folders import below, demand_folder, is_litter, walk
from fundus_r1.errors import DataError, SpecError, StoreError
from fundus_r1.fingerprint import SHORT, fingerprint
from fundus_r1.spec.placement import Placement
from fundus_r1.spec.places import FORMS, PVC, S3, local_folder, scheme_of
from fundus_r1.storage import open_bucket
from fundus_r1.storage.fetch import fetch_files, fetch_tree, made_once
from fundus_r1.storage.protocol import Stat, Store
from fundus_r1.storage.s3 import S3Store
from fundus_r1.storage.trees import Manifest, manifest_of, send_tree


def data_cache(placement: Placement) -> Path:
    """The folder for data that were brought to this machine; not made yet."""
    return Path(placement.cache or tempfile.gettempdir()) / f"fundus-r1-data-{os.getuid()}"


def in_bucket(entry: str) -> bool:
    """Whether reading an entry of ``placement.data`` needs the run's store."""
    return scheme_of(entry) == S3


def data_folder(entry: str, cache: Path | None = None, store: Store | None = None) -> Path:
    """The local folder that an entry of ``placement.data`` names, or to which it was brought.

    Args:
        entry: the entry.
        cache: folder for what lies in a bucket, see `data_cache`; shared safely by several processes.
        store: the run's, at whose endpoint buckets are read.

    Raises:
        DataError: it names another place, does not exist, is empty, or may not be read.
        MachineError: there is not enough room for it.
    """
    if not in_bucket(entry):
        return _local(entry)
    with _told(entry):
        bucket = open_bucket(entry, store)
        target = cache or data_cache(Placement())
        manifest = manifest_of(bucket, "")
        if manifest is not None:
            whole = manifest
            return made_once(target / whole.key[:SHORT], lambda folder: fetch_tree(bucket, "", whole, folder))
        found = _listed(bucket, entry)
        return made_once(target / _key(found), lambda folder: _fetch_listed(bucket, entry, found, folder))


def data_contents(entry: str, cache: Path, store: Store | None) -> dict[str, str]:
    """Path -> SHA-256 of all files of an entry; downloads nothing where there is a manifest.

    Raises:
        DataError: as `data_folder`.
    """
    if in_bucket(entry):
        with _told(entry):
            manifest = manifest_of(open_bucket(entry, store), "")
        if manifest is not None:
            return manifest.digests
    return file_contents(data_folder(entry, cache, store))


def look_at(entry: str, store: Store | None) -> str:
    """What is there, in words, at little cost: nothing is downloaded and no file is read.

    Raises:
        DataError: the entry cannot be used, as `data_folder` says.
    """
    if not in_bucket(entry):
        return f"the folder {_local(entry)}"
    with _told(entry):
        bucket = open_bucket(entry, store)
        manifest = manifest_of(bucket, "")
        sizes = (
            [file.size for file in manifest.files.values()]
            if manifest is not None
            else [stat.size for stat in _listed(bucket, entry).values()]
        )
    kind = "with a manifest" if manifest is not None else "without a manifest"
    return f"{len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB, {kind}"


def mirror_data(folder: Path, to: str, store: Store | None) -> Manifest:
    """Brings the files of a data folder into a bucket, the manifest last; goes on from an earlier attempt.

    Args:
        folder: as it was unpacked; what operating systems leave behind stays here.
        to: ``s3://bucket/prefix``; the bucket is made if it is not there.
        store: the run's, at whose endpoint the bucket is.

    Raises:
        DataError: the folder is missing or empty, or the bucket may not be written.
    """
    files = {
        below(folder, place / name): place / name
        for place, _, names in walk(demand_folder(folder))
        for name in names
    }
    if not files:
        raise DataError(
            "The data folder is empty", where=str(folder), hint="name the folder that has the data"
        )
    with _told(to):
        bucket = open_bucket(to, store, make_bucket=True)
        return send_tree(bucket, "", files, lambda name: nullcontext(files[name]))


def _local(entry: str) -> Path:
    folder = local_folder(entry)
    if folder is None:
        raise DataError(
            f"Data on {scheme_of(entry)}:// cannot be read"
            if "://" in entry
            else "An entry of placement.data is empty",
            where=entry or "placement.data",
            hint=f"name {FORMS} in placement.data",
        )
    if scheme_of(entry) == PVC and not folder.is_dir():
        raise DataError(
            f"The volume is not mounted here, or has no such folder: {folder}",
            where=entry,
            hint="the run's pods find it there; elsewhere give a folder or s3://bucket/prefix, or fill in "
            "science.index.data_digest",
        )
    return demand_folder(folder)


@contextmanager
def _told(entry: str) -> Iterator[None]:
    """Tells what a store refuses as what is wrong with the data."""
    try:
        yield
    except (SpecError, StoreError) as error:
        if error.transient:
            raise
        raise DataError(
            f"The data in the bucket cannot be used: {error.what[0].lower()}{error.what[1:]}",
            where=f"{entry} ({error.where})" if error.where and error.where != entry else entry,
            hint=error.hint,
        ) from error


def _listed(bucket: S3Store, entry: str) -> dict[str, Stat]:
    found = {
        name: stat
        for name, stat in bucket.listing("").items()
        if not any(is_litter(part) for part in PurePosixPath(name).parts)
    }
    if not found:
        raise DataError(
            "There is nothing below this prefix",
            where=entry,
            hint="correct it, or bring the data there: fundus-r1 mirror --data FOLDER --to " + entry,
        )
    return found


def _key(found: dict[str, Stat]) -> str:
    return fingerprint({name: [stat.size, stat.etag] for name, stat in found.items()})[:SHORT]


def _fetch_listed(bucket: S3Store, entry: str, found: dict[str, Stat], folder: Path) -> None:
    sizes = {name: stat.size for name, stat in found.items()}
    fetch_files(bucket, "", sizes, folder, lambda name, path: path.stat().st_size == sizes[name])
    if _listed(bucket, entry) != found:
        raise DataError(
            "The data in the bucket changed while they were brought here",
            where=entry,
            hint="try again when they stay as they are",
            transient=True,
        )
