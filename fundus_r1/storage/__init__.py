"""Where outputs lie: one protocol, spoken by S3 and by a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fundus_r1.errors import SpecError
from fundus_r1.spec.placement import StorePlace
from fundus_r1.spec.places import bucket_of
from fundus_r1.storage.protocol import Store

if TYPE_CHECKING:
    from fundus_r1.storage.s3 import S3Store


def open_store(place: StorePlace) -> Store:
    """The store of a placement, ready for use.

    Credentials of S3 come from ``FUNDUS_R1_S3_ACCESS_KEY`` and ``FUNDUS_R1_S3_SECRET_KEY``.

    Raises:
        SpecError: the placement names no endpoint, or no folder.
        StoreError: the store cannot be reached, or refuses.
    """
    if place.kind == "folder":
        from fundus_r1.storage.folder import FolderStore

        if place.path is None:
            raise SpecError(
                "A store of kind folder needs a folder",
                where="placement.store.path",
                hint="set it to a folder that can be written",
            )
        return FolderStore(Path(place.path, place.prefix))
    from fundus_r1.storage.s3 import S3Store, credentials_from_environment

    if place.endpoint is None:
        raise SpecError(
            "The S3 store has no address",
            where="placement.store.endpoint",
            hint="set it to http(s)://host:port; only `fundus-r1 run` starts a server of its own",
        )
    return S3Store(
        place.endpoint,
        place.bucket,
        credentials_from_environment(),
        prefix=place.prefix,
        region=place.region,
    )


def open_bucket(place: str, store: Store | None, *, make_bucket: bool = False) -> S3Store:
    """The objects below ``s3://bucket/prefix``, at the endpoint of a store and with its credentials.

    Args:
        place: the address.
        store: the run's store.
        make_bucket: makes a bucket that is not there, instead of refusing it.

    Raises:
        SpecError: it is no such address, or the store is not S3.
        StoreError: there is no such bucket, or the store refuses.
    """
    from fundus_r1.storage.s3 import S3Store

    found = bucket_of(place)
    if found is None:
        raise SpecError("This is no address of a bucket", where=place, hint="write it as s3://bucket/prefix")
    if not isinstance(store, S3Store):
        raise SpecError(
            "What lies in a bucket is read at the endpoint of the run's store, which is none of S3",
            where=place,
            hint="set placement.store.endpoint and its credentials, or name a local folder",
        )
    return store.elsewhere(*found, make_bucket=make_bucket)
