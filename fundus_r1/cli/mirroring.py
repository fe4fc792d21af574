"""The verb that brings weights and data into the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fundus_r1.cli.app import app
from fundus_r1.cli.options import PlacementOption, SetOption, SpecOption, read_spec


@app.command()
def mirror(
    spec: SpecOption,
    placement: PlacementOption = None,
    overrides: SetOption = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A folder with datasets and benchmarks, to be brought.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Where it goes: s3://bucket/prefix.")] = None,
) -> None:
    """Brings the weights that a run loads into its store, and fills in the digest of its data.

    With --data and --to it brings a folder to a bucket of the store's endpoint instead, with a manifest from
    which the digest of the data is known without a download. A second call goes on, or does nothing.
    """
    from fundus_r1.datasets.bucket import mirror_data
    from fundus_r1.datasets.digest import digest_of
    from fundus_r1.stages.mirror import bring_weights
    from fundus_r1.stages.mirror import mirror as look
    from fundus_r1.storage import open_store

    if (data is None) != (to is None):
        raise typer.BadParameter("say both --data FOLDER and --to s3://bucket/prefix, or neither")
    run = read_spec(spec, overrides, None, placement=placement)
    if data is None or to is None:
        bring_weights(run)
        resolved = look(run)
        print(f"science.index.data_digest: {resolved.science.index.data_digest or 'none, there are no data'}")
        return
    manifest = mirror_data(data, to, open_store(run.placement.store))
    print(f"{len(manifest.files)} files, {manifest.size / 2**20:.1f} MiB at {to}")
    print(f"placement.data: [{to}]")
    print(f"science.index.data_digest: {digest_of([manifest.digests])}")
