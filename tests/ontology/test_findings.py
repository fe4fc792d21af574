"""Text-to-Findings: every phrase is met in every spelling, the longest wins, and order is no matter."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.ontology.findings import FINDINGS, canonical_finding, mentions

PHRASES = [
    (finding.key, phrase)
    for finding in FINDINGS.values()
    for phrase in (finding.name, finding.plural, finding.key, *finding.synonyms)
]
EXPECTED = (
    "microaneurysm",
    "retinal_hemorrhage",
    "hard_exudate",
    "cotton_wool_spot",
    "venous_beading",
    "intraretinal_microvascular_abnormality",
    "neovascularization",
    "preretinal_hemorrhage",
    "vitreous_hemorrhage",
    "fibrous_proliferation",
    "drusen",
    "geographic_atrophy",
    "pigmentary_change",
    "subretinal_hemorrhage",
    "intraretinal_fluid",
    "subretinal_fluid",
    "pigment_epithelial_detachment",
    "subretinal_hyperreflective_material",
    "retinal_thickening",
    "full_thickness_macular_defect",
    "retinal_elevation",
    "retinal_tear",
    "optic_disc_cupping",
    "rim_thinning",
    "optic_disc_swelling",
    "optic_disc_pallor",
    "venous_dilation",
    "vessel_attenuation",
    "bone_spicule_pigmentation",
    "retinal_whitening",
    "cherry_red_spot",
)


def british(phrase: str) -> str:
    for american, other in (
        ("hemorrhag", "haemorrhag"),
        ("edema", "oedema"),
        ("ization", "isation"),
        ("fiber", "fibre"),
        ("ischemi", "ischaemi"),
        ("disc", "disk"),
    ):
        phrase = phrase.replace(american, other)
    return phrase


def keys(text: str) -> list[tuple[str, bool]]:
    return [(mention.key, mention.negated) for mention in mentions(text)]


def test_the_first_findings_keep_their_order_in_which_lists_are_made():
    assert tuple(FINDINGS)[: len(EXPECTED)] == EXPECTED
    assert all(key == key.lower() and key.replace("_", "").isalpha() for key in FINDINGS)


def test_no_phrase_names_two_findings():
    owner: dict[str, str] = {}
    for key, phrase in PHRASES:
        assert owner.setdefault(phrase, key) == key


@pytest.mark.parametrize(("key", "phrase"), PHRASES)
def test_every_phrase_round_trips(key: str, phrase: str):
    assert canonical_finding(phrase) == key
    assert keys(f"The image shows {phrase}.") == [(key, False)]


def test_no_phrase_is_lost_in_a_spelling_or_a_denial():
    for key, phrase in PHRASES:
        for spelled in (phrase, british(phrase), phrase.replace("-", " "), phrase.upper()):
            assert keys(f"There is {spelled} here.") == [(key, False)], spelled
        for denial in (f"{phrase} is absent.", f"{phrase} cannot be seen.", f"It is dark, without {phrase}."):
            assert keys(denial) == [(key, True)], denial


phrases = st.sampled_from(PHRASES)
spellings = st.sampled_from(
    [
        str,
        british,
        lambda phrase: phrase.replace("-", " "),
        lambda phrase: phrase.replace(" ", "-"),
        lambda phrase: phrase.replace("-", "–"),
        lambda phrase: phrase.replace(" ", "  "),
        lambda phrase: phrase.capitalize() if not phrase.isupper() else phrase,
        lambda phrase: phrase.upper(),
    ]
)


@given(phrase=phrases, spell=spellings)
def test_spelling_hyphens_and_case_do_not_matter(phrase, spell):
    key, text = phrase
    assert keys(f"There is {spell(text)} here.") == [(key, False)]


@given(phrase=phrases, prefix=st.sampled_from(["no", "no evidence of", "without", "absence of", "free of"]))
def test_a_denying_prefix_flips_it(phrase, prefix):
    key, text = phrase
    assert keys(f"The image is dark, {prefix} {text}.") == [(key, True)]


@given(
    phrase=phrases, suffix=st.sampled_from(["is absent", "are not seen", "cannot be seen", "is not visible"])
)
def test_a_denying_predicate_flips_it(phrase, suffix):
    key, text = phrase
    assert keys(f"{text} {suffix}.") == [(key, True)]


@given(listed=st.lists(phrases, min_size=2, max_size=6, unique_by=lambda item: item[0]), data=st.data())
def test_order_in_a_list_does_not_matter(listed, data):
    shuffled = data.draw(st.permutations(listed))
    said = [(key, False) for key, _ in shuffled]
    denied = [(key, True) for key, _ in shuffled]
    names = [FINDINGS[key].plural for key, _ in shuffled]
    assert keys("The image shows " + ", ".join(names) + ".") == said
    assert keys("There is no " + ", ".join(names[:-1]) + f", or {names[-1]} in the image.") == denied


@given(text=st.text(max_size=200))
def test_any_text_can_be_read(text):
    found = mentions(text)
    assert [mention.start for mention in found] == sorted(mention.start for mention in found)
    assert all(mention.key in FINDINGS and text[mention.start : mention.end] for mention in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dot–blot haemorrhages", ["retinal_hemorrhage"]),
        ("dot-blot intraretinal hemorrhages", ["retinal_hemorrhage"]),
        ("subretinal haemorrhage", ["subretinal_hemorrhage"]),
        ("vitreous hemorrhage", ["vitreous_hemorrhage"]),
        ("hard and soft exudates", ["hard_exudate", "cotton_wool_spot"]),
        ("preretinal or vitreous hemorrhage", ["preretinal_hemorrhage", "vitreous_hemorrhage"]),
        ("intra- and subretinal fluid", ["intraretinal_fluid", "subretinal_fluid"]),
        ("MAs and IRMA", ["microaneurysm", "intraretinal_microvascular_abnormality"]),
        ("cottonwool spots", ["cotton_wool_spot"]),
        ("beaded veins", ["venous_beading"]),
        ("an optic disk haemorrhage", ["disc_hemorrhage"]),
        ("tortuous veins and tortuous arterioles", ["venous_dilation", "vessel_tortuosity"]),
        ("hyper-reflective foci", ["hyperreflective_focus"]),
        (
            "a thumb-like RPE elevation beside an RPE elevation",
            ["polypoidal_lesion", "pigment_epithelial_detachment"],
        ),
        ("lamellar foveal defect", ["partial_thickness_macular_defect"]),
        ("loss of the foveal contour", ["foveal_contour_loss"]),
        ("parapapillary atrophy", ["peripapillary_atrophy"]),
    ],
)
def test_the_longest_phrase_wins(text: str, expected: list[str]):
    assert [mention.key for mention in mentions(text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "He has a ma, he says",
        "choroidal neovascularization (CNV)",
        "diabetic macular oedema",
        "a macular hole",
        "retinal detachment",
        "optic disc pit maculopathy",
        "nonexudative",
        "",
    ],
)
def test_diseases_and_other_words_are_no_findings(text: str):
    assert mentions(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("multiple dot-blot haemorrhages", "retinal_hemorrhage"),
        ("presence of scattered microaneurysms (MA)", "microaneurysm"),
        ("hard_exudate", "hard_exudate"),
        ("no neovascularization", None),
        ("microaneurysms and drusen", None),
        ("microaneurysms that grow quickly", None),
        ("vasculitis", None),
    ],
)
def test_a_phrase_names_one_finding_or_none(text: str, expected: str | None):
    assert canonical_finding(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "drusen, " + "intraretinal, subretinal and " * 300,
        "drusen " + "no " * 3000,
        "no microaneurysms, and " * 300,
        "drusen is not clearly " * 300,
        "drusen is " + "clearly " * 2000,
        "drusen" + " " * 10_000,
        "drusen" + "\n" * 10_000,
        "drusen" + ", " * 5000,
    ],
)
def test_a_rollout_that_repeats_itself_is_read_quickly(text: str):
    started = time.process_time()
    assert mentions(text)
    assert time.process_time() - started < 3
