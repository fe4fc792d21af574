"""What holds for every dataset of Tab. 2: how it is found, its labels, ids, findings and patients."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest
from dataset_layouts import LAYOUTS

from fundus_r1.datasets import ADAPTERS
from fundus_r1.datasets.collect import Collection, collect
from fundus_r1.datasets.images import Limits, travelling_bytes
from fundus_r1.datasets.templates import triplets_of
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.table_2 import TABLE_2
from fundus_r1.ontology.tasks import task_of
from fundus_r1.rows import Split
from fundus_r1.spec.science import Dataset

LIMITS = Limits(16, 1_000_000)
NAMES = get_args(Dataset)
MODALITIES = {row.dataset: row.modalities for row in TABLE_2}
MASKED = {row.dataset for row in TABLE_2 if row.pixel_labelled} - {"idrid"}
"""The small IDRiD here has no segmentation part."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them beside each other, as in one data folder."""
    root = tmp_path_factory.mktemp("datasets")
    return {"": root, **{name: write(root) for name, write in LAYOUTS.items()}}


@pytest.fixture(scope="module")
def collections(folders: dict[str, Path]) -> dict[str, Collection]:
    return {name: gather(name, folders[name]) for name in NAMES}


def gather(name: str, folder: Path) -> Collection:
    readings = [(folder, ADAPTERS[name].read(folder))]
    return collect(ADAPTERS[name], readings, LIMITS, lambda patient: Split.TRAIN, lambda: None)


def test_there_is_an_adapter_and_a_layout_for_each_dataset_of_the_table() -> None:
    assert tuple(ADAPTERS) == NAMES == tuple(LAYOUTS)


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_is_found_among_all_others_and_at_its_own_folder(
    folders: dict[str, Path], name: str
) -> None:
    assert ADAPTERS[name].find(folders[""]) == [folders[name]]
    assert ADAPTERS[name].find(folders[name]) == [folders[name]]


@pytest.mark.parametrize("name", NAMES)
def test_every_label_is_canonical_and_asked_for_on_its_modality(
    collections: dict[str, Collection], name: str
) -> None:
    samples = [item.sample for item in collections[name].samples]
    assert {sample.modality for sample in samples} == set(MODALITIES[name])
    for sample in samples:
        assert sample.labels
        assert set(sample.labels) <= LABELS.keys()
        assert len(set(sample.labels)) == len(sample.labels)
        for label in sample.labels:
            assert label in task_of(name, label, sample.modality).labels
        assert [triplet.label for triplet in triplets_of(sample, seed=0)] == list(sample.labels)


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_unique_and_the_same_wherever_the_folder_lies(
    collections: dict[str, Collection], tmp_path: Path, name: str
) -> None:
    samples = [item.sample for item in collections[name].samples]
    assert len({sample.sample_id for sample in samples}) == len(samples)
    elsewhere = gather(name, LAYOUTS[name](tmp_path / "copy"))
    assert [item.sample for item in elsewhere.samples] == samples


@pytest.mark.parametrize("name", NAMES)
def test_findings_are_canonical_and_only_where_there_are_pixel_labels(
    collections: dict[str, Collection], name: str
) -> None:
    findings = [item.sample.findings for item in collections[name].samples]
    assert any(found is not None for found in findings) == (name in MASKED)
    assert {key for found in findings for key in found or ()} <= FINDINGS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_patients_are_named_within_the_dataset_and_have_both_their_eyes(
    collections: dict[str, Collection], name: str
) -> None:
    eyes = defaultdict(set)
    for item in collections[name].samples:
        assert item.sample.patient.startswith(f"{name}:")
        eyes[item.sample.patient].add(item.sample.eye)
    pairs = {"grape", "retinal_lesions", "odir", "neh", "top", "deepdrid"}
    assert any(sides >= {"left", "right"} for sides in eyes.values()) == (name in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_travels(collections: dict[str, Collection], name: str) -> None:
    for item in collections[name].samples:
        assert travelling_bytes(item.file, item.facts, LIMITS)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_about_a_layout_names_it(name: str) -> None:
    assert ADAPTERS[name].layout
    assert "\n" not in ADAPTERS[name].layout
