"""Where outputs lie: one protocol, spoken by S3 and by a folder."""

from __future__ import annotations

from pathlib import Path

from fundus_r1.errors import SpecError
from fundus_r1.spec.placement import StorePlace
from fundus_r1.storage.protocol import Store


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
