"""MMC-AMD: photos and OCT B-scans of the same eyes, in four classes of macular degeneration.

``ImageData/cfp-clahe-448x448/f-*.jpg`` and ``ImageData/oct-median3x3-448x448/o-*.jpg``; a split's lists
are ``mmc-amd-split{A,AP}-{train,val,test}/ImageSets/{cfp,oct}.txt``, beside ``ImageData`` or one level
above it, and in some copies in a folder a split. The paper's 2,170 samples are about those of train and
val of split AP, which is read where it is there; test is held out. The second part of an image's name is
its class: ``h`` normal, ``d`` dry AMD, ``p`` polypoidal vasculopathy, ``w`` wet AMD. (The numbers in
``annotations`` are not read: their order is documented nowhere.) Up to the underscore a name is the
eye's, in both modalities, and an eye stands for a patient. Photos come after CLAHE, B-scans after a
median filter.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, read_text, stem
from fundus_r1.datasets.folders import below, child, entries, plain_name, search
from fundus_r1.datasets.labelled import Table, Unfit, demand, files_below, files_by_stem, from_table, joined
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Modality

NAME = "mmc_amd"
CLASSES = TASKS["mmc_amd_cfp"].codes
"""Letter -> canonical label."""
MODALITIES = {"cfp": Modality.CFP, "oct": Modality.OCT}
SPLITS = ("ap", "a")
"""The one that is taken first."""
TRAINING, TESTING = ("train", "val"), "test"
_SPLIT = re.compile(r"mmc amd split(?P<split>ap?)(?: (?P<part>train|val|test))?")
_IMAGE = re.compile(r"[fo]-(?P<eye>(?P<label>[a-z])-[^_]+)(?:_.*)?", re.IGNORECASE)


def find(root: Path) -> list[Path]:
    """Folders that hold a split."""
    return search(root, lambda _folder, folders, _files: any(map(_split, folders)))


def _split(name: str) -> re.Match[str] | None:
    return _SPLIT.fullmatch(plain_name(name))


def read(folder: Path) -> Reading:
    """The photos and B-scans of train and val."""
    data = child(folder, "ImageData") or demand(NAME, folder, "mmc-amd", "ImageData")
    parts: dict[str, dict[str, Path]] = {split: {} for split in SPLITS}
    together = [folder / name for name in entries(folder)[0] if _split(name)]
    nested = [place / name for place in together for name in entries(place)[0]]
    for place in (*together, *nested):
        match = _split(place.name)
        if match and match["part"]:
            parts[match["split"]][match["part"]] = place
    chosen = next((parts[split] for split in SPLITS if parts[split]), {})
    readings = []
    for prefix, modality in MODALITIES.items():
        images = [data / name for name in entries(data)[0] if name.casefold().startswith(prefix)]
        files = files_by_stem(file for place in images for file in files_below(place))
        for part in TRAINING:
            if part in chosen:
                readings.append(_part(folder, data, files, chosen[part], prefix, modality))
        held_out = _listed(chosen[TESTING], prefix)[1] if TESTING in chosen else []
        readings.append(
            Reading([], [], [files[stem(r["image"])] for _, r in held_out if stem(r["image"]) in files])
        )
    return joined(readings)


def _part(
    folder: Path, data: Path, files: dict[str, Path], part: Path, prefix: str, modality: Modality
) -> Reading:
    table, rows = _listed(part, prefix)
    listed = {stem(row["image"]) for _, row in rows}

    def candidate(file: Path, _row: dict[str, str]) -> Candidate:
        match = _IMAGE.fullmatch(file.stem)
        label = CLASSES.get(match["label"].casefold()) if match else None
        if match is None or label is None:
            raise Unfit("bad_label", f"names {file.name}, whose second part is none of {', '.join(CLASSES)}")
        return Candidate(
            name=below(folder, file),
            file=file,
            labels=(label,),
            patient=f"{NAME}:{match['eye'].casefold()}",
            modality=modality,
        )

    # An image of another part is in no list of this one, and that is no loss.
    mine = {name: file for name, file in files.items() if name in listed}
    return from_table(NAME, folder, Table(table.name, rows, "image"), data, mine, candidate)


def _listed(part: Path, prefix: str) -> tuple[Path, list[tuple[int, dict[str, str]]]]:
    table = demand(NAME, part, "ImageSets") / f"{prefix}.txt"
    rows = [(number, line.split()) for number, line in enumerate(read_text(table).splitlines(), start=1)]
    return table, [(number, {"image": cells[0]}) for number, cells in rows if cells]


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="ImageData/{cfp-*,oct-*}/ and mmc-amd-splitAP-{train,val}/ImageSets/{cfp,oct}.txt",
    find=find,
    read=read,
)
