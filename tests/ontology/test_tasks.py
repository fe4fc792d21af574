"""Which labels are told apart on which dataset."""

from __future__ import annotations

import pytest

from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import TASKS, pairs, task_of
from fundus_r1.rows import Modality


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


def test_the_task_of_a_label():
    assert task_of("idrid", "pdr").key == "dr_grading"
    assert task_of("idrid", "diabetic_retinopathy").key == "dr_lesions"
    with pytest.raises(KeyError, match="kermany has no label pdr"):
        task_of("kermany", "pdr")
