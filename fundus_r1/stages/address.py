"""Objects named by an address, ``s3://bucket/prefix/key``: records, and the jobs that pods are given.

An address does not say where the bucket is, nor who may read it. That comes from the environment, where
the pods of a job have it from their manifest and a person sets it by hand.
"""

from __future__ import annotations

import os

from fundus_r1.cluster.manifests.pod import ENDPOINT_ENV, REGION_ENV
from fundus_r1.errors import SpecError
from fundus_r1.spec.placement import StorePlace
from fundus_r1.spec.places import bucket_of
from fundus_r1.storage import open_store
from fundus_r1.storage.protocol import Store


def open_prefix(address: str) -> Store:
    """The objects below ``s3://bucket/prefix``, at the endpoint that the environment names.

    Raises:
        SpecError: it is no such address, or the environment names no endpoint.
        StoreError: the store cannot be reached, or refuses.
    """
    found = bucket_of(address)
    if found is None:
        raise SpecError("This is no address of an object", where=address, hint="s3://bucket/prefix/key")
    endpoint = os.environ.get(ENDPOINT_ENV)
    if not endpoint:
        raise SpecError(
            "It is not known where the bucket is",
            where=address,
            hint=f"set {ENDPOINT_ENV} to http(s)://host:port",
        )
    region = os.environ.get(REGION_ENV) or StorePlace().region
    return open_store(StorePlace(endpoint=endpoint, region=region, bucket=found[0], prefix=found[1]))


def read_address(address: str) -> bytes:
    """The object of an address.

    Raises:
        SpecError: there is none, or the environment does not say where.
        StoreError: the store cannot be reached, or refuses.
    """
    folder, _, name = address.rpartition("/")
    data = open_prefix(folder).get(name)
    if data is None:
        raise SpecError("There is no such object in the store", where=address)
    return data
