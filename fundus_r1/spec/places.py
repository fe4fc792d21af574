"""Where data and models may lie: a folder, a bucket of the run's store, a volume of the cluster.

======================  ======================================================================
``/folder``             a folder; ``file:///folder`` is the same
``s3://bucket/prefix``  objects at the endpoint of ``placement.store``, with its credentials
``pvc://claim/path``    a PersistentVolumeClaim, which the run's pods find at ``/pvc/<claim>``
======================  ======================================================================
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

FILE, S3, PVC = "file", "s3", "pvc"
PVC_ROOT = Path("/pvc")
"""Where pods mount claims, each under its name."""
FORMS = "/folder, s3://bucket/prefix or pvc://claim/path"
"""For hints."""


def scheme_of(place: str) -> str:
    """What stands before ``://``, or ``file``; the caller refuses what it does not know."""
    scheme, found, _ = place.partition("://")
    return scheme if found else FILE


def local_folder(place: str) -> Path | None:
    """The folder on the machine that reads it, or None if the place is none."""
    scheme = scheme_of(place)
    rest = place.removeprefix(f"{scheme}://")
    if scheme == PVC:
        return PVC_ROOT / rest.strip("/") if claim_of(place) else None
    return Path(rest) if scheme == FILE and rest else None


def claim_of(place: str) -> str | None:
    """The PersistentVolumeClaim in which a place lies, or None."""
    if scheme_of(place) != PVC:
        return None
    parts = PurePosixPath(place.removeprefix(f"{PVC}://")).parts
    return parts[0] if parts and "/" not in parts[0] and ".." not in parts else None


def bucket_of(place: str) -> tuple[str, str] | None:
    """Bucket and prefix of ``s3://bucket/prefix``, or None; the prefix may be empty."""
    if scheme_of(place) != S3:
        return None
    bucket, _, prefix = place.removeprefix(f"{S3}://").partition("/")
    return (bucket, prefix.strip("/")) if bucket else None
