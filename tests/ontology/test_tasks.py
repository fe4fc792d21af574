"""Which labels are told apart on which dataset."""

from __future__ import annotations

from typing import get_args

import pytest

from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.table_2 import TABLE_2
from fundus_r1.ontology.tasks import TASKS, pairs, task_of
from fundus_r1.rows import Modality
from fundus_r1.spec.science import Dataset


def test_pairs_of_all_datasets():
    found = pairs(["idrid", "kermany", "top"])
    counted = {modality: sum(of == modality for _, of in found) for modality in Modality}
    assert counted == {Modality.CFP: 6, Modality.OCT: 4, Modality.UWF: 9}
    assert len(set(found)) == len(found)
    assert pairs(["top", "kermany", "idrid"]) == found


def test_pairs_of_one_dataset():
    assert pairs(["kermany"]) == [(label, Modality.OCT) for label in ("normal", "cnv", "dme", "drusen")]
    assert pairs([]) == []


def test_every_label_belongs_to_a_task():
    assert {label for task in TASKS.values() for label in task.labels} == set(LABELS)


def test_all_17_datasets_of_the_collection_have_their_labels():
    assert {task.dataset for task in TASKS.values()} == set(get_args(Dataset))
    found = pairs(get_args(Dataset))
    assert len(found) == 111
    assert {label for label, _ in found} == set(LABELS)


@pytest.mark.parametrize(
    ("dataset", "labels"),
    [
        # The number that Tab. 2 gives; JSIEC published 39 folders, of which the paper took 35.
        ("rfmid", 46), ("odir", 8), ("jsiec", 39), ("octid", 5), ("octdl", 7), ("neh", 3), ("kermany", 4),
        ("top", 9), ("mmc_amd", 4), ("ddr", 5), ("retinal_lesions", 5), ("deepdrid", 5),
    ],
)  # fmt: skip
def test_a_dataset_has_as_many_labels_as_the_paper_says(dataset, labels):
    assert {len(task.labels) for task in TASKS.values() if task.dataset == dataset} == {labels}


def test_the_modalities_are_those_of_table_2():
    for row in TABLE_2:
        assert {task.modality for task in TASKS.values() if task.dataset == row.dataset} == set(
            row.modalities
        )


def test_every_code_of_a_dataset_is_one_label():
    for task in TASKS.values():
        assert len(set(task.labels)) == len(task.labels)
        assert tuple(task.codes.values()) in ((), task.labels)
    assert TASKS["rfmid_disease"].codes["MH"] == "media_haze"
    assert TASKS["jsiec_disease"].codes["MH"] == TASKS["octid_disease"].codes["MH"] == "macular_hole"
    assert TASKS["octdl_disease"].codes["NO"] == "normal"


def test_the_task_of_a_label():
    assert task_of("idrid", "pdr").key == "dr_grading"
    assert task_of("idrid", "diabetic_retinopathy").key == "dr_lesions"
    with pytest.raises(KeyError, match="kermany has no label pdr"):
        task_of("kermany", "pdr")


def test_a_dataset_of_two_modalities_has_a_task_for_each():
    assert task_of("deepdrid", "pdr", Modality.UWF).key == "deepdrid_grading_uwf"
    assert task_of("deepdrid", "pdr", Modality.CFP).key == "deepdrid_grading_cfp"
    assert task_of("mmc_amd", "pcv", Modality.OCT).key == "mmc_amd_oct"
    with pytest.raises(KeyError, match="kermany has no label cnv on CFP"):
        task_of("kermany", "cnv", Modality.CFP)
