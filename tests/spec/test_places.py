"""What a place is: a folder here, a bucket, or a volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.spec.places import bucket_of, claim_of, local_folder, scheme_of


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("/data/eyes", Path("/data/eyes")),
        ("here", Path("here")),
        ("file:///data/eyes", Path("/data/eyes")),
        ("pvc://eyes", Path("/pvc/eyes")),
        ("pvc://eyes/a/b/", Path("/pvc/eyes/a/b")),
        ("s3://bucket/eyes", None),
        ("gs://bucket/eyes", None),
        ("", None),
        ("pvc://", None),
        ("pvc:///a", None),
        ("pvc://eyes/../../etc", None),
    ],
)
def test_folders_of_the_machine_that_reads(place: str, folder: Path | None) -> None:
    assert local_folder(place) == folder


def test_buckets_and_claims() -> None:
    assert bucket_of("s3://bucket/a/b/") == ("bucket", "a/b")
    assert bucket_of("s3://bucket") == ("bucket", "")
    assert bucket_of("s3://") is None and bucket_of("/bucket/a") is None
    assert claim_of("pvc://eyes/a") == "eyes"
    assert claim_of("pvc://") is None and claim_of("/pvc/eyes") is None
    assert [scheme_of(place) for place in ("/a", "file:///a", "hdfs://a")] == ["file", "file", "hdfs"]
