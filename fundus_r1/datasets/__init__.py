"""Public datasets (Tab. 2): one module each, from its official layout on disk to `Sample` rows."""

from __future__ import annotations

from fundus_r1.datasets import (
    ddr,
    deepdrid,
    fgadr,
    grape,
    idrid,
    jsiec,
    kermany,
    mmc_amd,
    neh,
    octdl,
    octid,
    odir,
    oimhs,
    retinal_lesions,
    retouch,
    rfmid,
    top,
)
from fundus_r1.datasets.adapter import Adapter

_MODULES = (
    fgadr, idrid, grape, jsiec, retinal_lesions, rfmid, odir, ddr, octid, octdl, oimhs, retouch, neh, kermany,
    top, deepdrid, mmc_amd,
)  # fmt: skip

ADAPTERS: dict[str, Adapter] = {module.ADAPTER.name: module.ADAPTER for module in _MODULES}
"""Name -> dataset, for all that `spec.science.Dataset` allows, in its order."""
