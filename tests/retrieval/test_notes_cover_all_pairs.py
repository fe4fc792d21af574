"""The bundled notes know every label of the 17 datasets, and the rules read out of them what they mean."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from fundus_r1.models.rules_knowledge import extract_knowledge
from fundus_r1.ontology.findings import FINDINGS, mentions
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import pairs
from fundus_r1.ontology.vocabulary import Groups, group
from fundus_r1.prompts.knowledge import read_record
from fundus_r1.retrieval import query_for
from fundus_r1.retrieval.passages import to_passages
from fundus_r1.retrieval.ranking import Bm25Retriever
from fundus_r1.retrieval.sources import read_notes
from fundus_r1.rows import Modality, Passage
from fundus_r1.spec.science import Dataset

K = 4
PAIRS = pairs(get_args(Dataset))
FIRST_PAIRS = pairs(["idrid", "kermany", "top"])
FIRST_FILES = {
    f"notes/{name}"
    for name in (
        "diabetic_retinopathy", "glaucoma", "macular_degeneration", "macular_hole", "normal",
        "retinal_detachment", "retinitis_pigmentosa", "vascular_occlusion",
    )
}  # fmt: skip
"""The notes on the labels of IDRiD, Kermany and TOP, on which the demonstration rests."""

REQUIRED = {
    Modality.CFP: {
        "normal": "",
        "drusen": "drusen",
        "amd": "drusen",
        "glaucoma": "optic_disc_cupping",
        "macular_hole": "full_thickness_macular_defect",
        "retinal_detachment": "retinal_elevation",
        "retinitis_pigmentosa": "vessel_attenuation bone_spicule_pigmentation",
        "artery_occlusion": "retinal_whitening",
        "dry_amd": "drusen",
        "wet_amd": "subretinal_hemorrhage",
        "pcv": "polypoidal_lesion",
        "brvo": "retinal_hemorrhage venous_dilation",
        "crvo": "retinal_hemorrhage venous_dilation",
        "brao": "retinal_whitening",
        "crao": "retinal_whitening cherry_red_spot",
        "csc": "subretinal_fluid",
        "epiretinal_membrane": "epiretinal_membrane",
        "stable_glaucoma": "optic_disc_cupping",
        "progressive_glaucoma": "optic_disc_cupping",
        "cataract": "media_opacity",
        "hypertensive_retinopathy": "vessel_attenuation",
        "pathological_myopia": "geographic_atrophy peripapillary_atrophy",
        "other_abnormality": "",
        "tessellated_fundus": "fundus_tessellation",
        "optic_disc_cupping": "optic_disc_cupping",
        "media_haze": "media_opacity",
        "blurred_fundus": "media_opacity",
        "blurred_fundus_pdr": "media_opacity",
        "laser_scars": "laser_scar",
        "macular_scar": "chorioretinal_scar",
        "tortuous_vessels": "vessel_tortuosity",
        "asteroid_hyalosis": "asteroid_body",
        "vitreous_particles": "vitreous_opacity",
        "optic_disc_pallor": "optic_disc_pallor",
        "optic_atrophy": "optic_disc_pallor",
        "optic_disc_edema": "optic_disc_swelling",
        "optociliary_shunt": "optociliary_shunt_vessel",
        "aion": "optic_disc_swelling",
        "parafoveal_telangiectasia": "telangiectatic_vessel",
        "retinal_traction": "retinal_traction",
        "retinitis": "retinal_infiltrate",
        "chorioretinitis": "retinal_infiltrate",
        "exudation": "hard_exudate",
        "massive_hard_exudates": "hard_exudate",
        "rpe_changes": "pigmentary_change",
        "cotton_wool_spots": "cotton_wool_spot",
        "coloboma": "chorioretinal_coloboma",
        "chorioretinal_atrophy_coloboma": "",
        "optic_disc_pit_maculopathy": "subretinal_fluid optic_disc_pit",
        "preretinal_hemorrhage": "preretinal_hemorrhage",
        "myelinated_nerve_fibers": "myelinated_nerve_fiber",
        "hemorrhagic_retinopathy": "retinal_hemorrhage",
        "tilted_disc": "tilted_optic_disc",
        "cystoid_macular_edema": "intraretinal_fluid",
        "choroidal_rupture": "choroidal_rupture_streak",
        "choroidal_folds": "choroidal_fold",
        "vitreous_hemorrhage": "vitreous_hemorrhage",
        "macroaneurysm": "arterial_macroaneurysm",
        "vasculitis": "vascular_sheathing",
        "plaque": "retinal_embolus",
        "hemorrhagic_ped": "subretinal_hemorrhage pigment_epithelial_detachment",
        "collaterals": "collateral_vessel",
        "vkh": "subretinal_fluid",
        "maculopathy": "",
        "dragged_disc": "vessel_dragging",
        "congenital_disc_abnormality": "anomalous_optic_disc",
        "bietti_crystalline_dystrophy": "crystalline_deposit",
        "peripheral_degeneration_and_break": "peripheral_retinal_degeneration",
        "fundus_neoplasm": "fundus_mass",
        "yellow_white_spots": "yellow_white_fleck",
        "fibrosis": "fibrous_proliferation",
        "silicone_oil": "oil_reflex",
    },
    Modality.OCT: {
        "diabetic_retinopathy": "retinal_thickening",
        "amd": "drusen",
        "rvo": "intraretinal_fluid retinal_thickening",
        "macular_hole": "full_thickness_macular_defect",
        "artery_occlusion": "inner_retinal_hyperreflectivity",
        "dry_amd": "drusen",
        "wet_amd": "subretinal_fluid subretinal_hyperreflective_material",
        "pcv": "pigment_epithelial_detachment polypoidal_lesion",
        "csc": "subretinal_fluid",
        "epiretinal_membrane": "epiretinal_membrane",
        "vid": "vitreomacular_traction",
        "no_fluid": "",
        "intraretinal_fluid": "intraretinal_fluid",
        "subretinal_fluid": "subretinal_fluid",
        "pigment_epithelial_detachment": "pigment_epithelial_detachment",
    },
    Modality.UWF: {
        "no_dr": "",
        "mild_npdr": "microaneurysm",
        "moderate_npdr": "microaneurysm retinal_hemorrhage",
        "severe_npdr": "microaneurysm retinal_hemorrhage",
        "pdr": "neovascularization",
    },
}
"""What decides, as the notes mean it: findings by label, for all pairs but those of the first files."""

NO_DISEASE = {"no_dr", "normal"}
"""Labels of a picture without a sign: nothing is required and nothing supports."""
NOTHING_SPEAKS_AGAINST = {"other_abnormality"}
"""What is left over when no named disease fits; any sign may be part of it."""


def title(label: str, modality: Modality) -> str:
    return f"{LABELS[label].name} on {modality}"


@pytest.fixture(scope="module")
def retriever() -> Bm25Retriever:
    return Bm25Retriever(passages=to_passages(read_notes()), k=K)


@pytest.fixture(scope="module")
def first_retriever() -> Bm25Retriever:
    notes = [note for note in read_notes() if note.source in FIRST_FILES]
    return Bm25Retriever(passages=to_passages(notes), k=K)


def retrieved(retriever: Bm25Retriever, label: str, modality: Modality) -> list[Passage]:
    return [document.metadata["passage"] for document in retriever.invoke(query_for(label, modality))]


def groups(passages: list[Passage], label: str, modality: Modality) -> Groups:
    record = read_record(
        extract_knowledge({"label": label, "modality": modality.value, "passages": passages})
    )
    assert record is not None
    return group(record.required, record.supportive, record.absent)


def test_the_table_is_of_all_pairs_but_the_first():
    here = {(label, modality) for modality, labels in REQUIRED.items() for label in labels}
    assert here == set(PAIRS) - set(FIRST_PAIRS)
    assert {key for labels in REQUIRED.values() for keys in labels.values() for key in keys.split()} <= set(
        FINDINGS
    )


@pytest.mark.parametrize(("label", "modality"), PAIRS)
def test_its_own_notes_are_found_first_and_fill_the_record(retriever, label, modality):
    passages = retrieved(retriever, label, modality)
    own = [passage.title == title(label, modality) for passage in passages]
    assert own[0] and sum(own) >= 3

    read = groups(passages, label, modality)
    assert read.unknown == read.conflicts == ()
    assert len({*read.required, *read.supportive, *read.absent}) == sum(
        map(len, (read.required, read.supportive, read.absent))
    )
    spoken = {mention.key for passage in passages for mention in mentions(passage.text)}
    assert read.only(spoken) == read
    assert bool(read.required or read.supportive) == (label not in NO_DISEASE)
    assert bool(read.absent) == (label not in NOTHING_SPEAKS_AGAINST)


@pytest.mark.parametrize(("label", "modality"), sorted(set(PAIRS) - set(FIRST_PAIRS)))
def test_what_decides_is_read_as_it_is_meant(retriever, label, modality):
    read = groups(retrieved(retriever, label, modality), label, modality)
    assert " ".join(read.required) == REQUIRED[modality][label]


@pytest.mark.parametrize(("label", "modality"), FIRST_PAIRS)
def test_more_notes_leave_what_was_known_of_a_label(retriever, first_retriever, label, modality):
    before = retrieved(first_retriever, label, modality)
    after = retrieved(retriever, label, modality)
    wanted = title(label, modality)
    assert {row.passage_id for row in after if row.title == wanted} == {
        row.passage_id for row in before if row.title == wanted
    }
    assert groups(after, label, modality) == groups(before, label, modality)


@pytest.mark.parametrize("label", ["stable_glaucoma", "progressive_glaucoma"])
def test_a_label_that_one_picture_cannot_show_says_so(label):
    texts = [note.text for note in read_notes() if note.title == title(label, Modality.CFP)]
    assert any("cannot show" in text for text in texts)


def test_a_topic_is_told_once_in_short_sections_with_medical_and_own_references():
    notes = read_notes()
    places = [(note.title, note.section) for note in notes]
    assert len(places) == len(set(places))
    assert {note.title for note in notes} == {title(*pair) for pair in PAIRS}
    kept = to_passages(notes)
    for pair in PAIRS:
        sections = [row.section for row in kept if row.title == title(*pair)]
        assert len(sections) == len(set(sections)) == K, pair
    for note in notes:
        assert note.licence == "Apache-2.0 (own words)"
        assert len(note.text.split()) <= 75, note.title
        for reference in note.reference.split(" | "):
            # A work of a society by its title, or a paper with its year.
            assert reference.startswith("American Academy of Ophthalmology. ") or re.search(
                r"\b(?:19|20)\d\d\b", reference
            ), reference
