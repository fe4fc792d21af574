from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_r1.ontology.labels import LABELS
from fundus_r1.prompts.trace_reading import in_english, label_namings, modalities_named, sentences, stated
from fundus_r1.rows import Modality


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("The fundus image shows drusen.", set()),
        ("The fundus photograph is clear.", {Modality.CFP}),
        ("A colour fundus image.", {Modality.CFP}),
        ("An ultra-widefield fundus photograph.", {Modality.UWF}),
        ("The ultrawide field colour fundus image.", {Modality.UWF}),
        ("An UWF image, unlike a CFP.", {Modality.UWF, Modality.CFP}),
        ("The B-scan shows fluid.", {Modality.OCT}),
        ("Optical coherence tomography (OCT).", {Modality.OCT}),
        ("The octopus has eyes.", set()),
    ],
)
def test_modalities(text: str, named: set[Modality]) -> None:
    assert modalities_named(text) == named


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("This is severe NPDR.", [("severe_npdr", False)]),
        ("This is severe nonproliferative diabetic retinopathy.", [("severe_npdr", False)]),
        (
            "Compared with mild NPDR, this supports moderate NPDR.",
            [("mild_npdr", True), ("moderate_npdr", False)],
        ),
        ("It is AMD rather than glaucoma.", [("amd", False), ("glaucoma", True)]),
        ("It is not typical of PDR.", [("pdr", True)]),
        ("Retinopathy of some kind.", []),
    ],
)
def test_labels_and_contrasts(text: str, named: list[tuple[str, bool]]) -> None:
    assert [(naming.label, naming.contrasted) for naming in label_namings(text)] == named


@pytest.mark.parametrize("label", LABELS.values(), ids=lambda label: label.key)
def test_every_name_of_a_label_is_met_in_a_sentence(label) -> None:  # type: ignore[no-untyped-def]
    for name in (label.name, *label.synonyms):
        assert [naming.label for naming in label_namings(f"This supports {name}.")] == [label.key], name


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Severe NPDR is unlikely.", [("severe_npdr", True)]),
        ("Severe NPDR cannot be confirmed.", [("severe_npdr", True)]),
        ("Severe NPDR is typical of this.", [("severe_npdr", False)]),
        ("Glaucoma is not ruled out.", [("glaucoma", True)]),
        ("Unlike glaucoma, this is optic disc cupping.", [("glaucoma", True), ("optic_disc_cupping", False)]),
        ("It is not mild NPDR but moderate NPDR.", [("mild_npdr", True), ("moderate_npdr", False)]),
        ("Optic disc cupping is typical of glaucoma.", [("glaucoma", False)]),
    ],
)
def test_what_is_ruled_out_is_not_concluded(text: str, named: list[tuple[str, bool]]) -> None:
    assert [(naming.label, naming.contrasted) for naming in label_namings(text)] == named


@pytest.mark.parametrize(
    ("text", "doubts"),
    [
        ("The grade cannot be determined.", True),
        ("It is unclear whether this is PDR.", True),
        ("The evidence is insufficient.", True),
        ("No diagnosis is possible.", True),
        ("This is typical of PDR.", False),
        ("There is no sign of venous insufficiency.", False),
    ],
)
def test_doubt(text: str, doubts: bool) -> None:
    (sentence,) = sentences(text)
    assert sentence.doubts is doubts


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("Microaneurysms are seen.", True),
        ("The fundus photograph shows microaneurysms, hard exudates, cotton-wool spots and drusen.", True),
        ("", False),
        ("42", False),
        ("眼底图像显示微动脉瘤和出血。因此诊断为中度NPDR。", False),
        ("На снимке видны микроаневризмы.", False),
        ("Das Bild zeigt Mikroaneurysmen und Blutungen. Daher ist die Antwort mittelschwere NPDR.", False),
        ("La imagen muestra microaneurismas y no hay neovascularización. Es típico de NPDR moderada.", False),
        ("L'image montre des microanévrismes, ce qui est typique d'une NPDR modérée.", False),
        (
            "De foto toont microaneurysmata en bloedingen. Dit past bij matige NPDR en er is geen oedeem.",
            False,
        ),
    ],
)
def test_the_language_of_a_trace(text: str, english: bool) -> None:
    assert in_english(text) is english


def test_a_label_is_no_finding_where_it_is_concluded_and_a_finding_where_it_is_seen() -> None:
    assert stated("Therefore the answer is Drusen.").present == frozenset()
    assert stated("Drusen are seen.").present == {"drusen"}


def test_a_finding_seen_twice_is_repeated_and_one_used_in_the_argument_is_not() -> None:
    twice = stated("Microaneurysms are seen. There are also microaneurysms.")
    once = stated("Microaneurysms are seen. Such microaneurysms are typical of mild NPDR.")
    assert (twice.repeated, once.repeated) == ({"microaneurysm"}, frozenset())
    assert stated("No drusen. There are no drusen.").repeated == frozenset()
    assert stated("A subretinal fluid (SRF) is seen.").repeated == frozenset()
    assert stated("Subretinal fluid (SRF) and SRF are seen.").repeated == {"subretinal_fluid"}


@settings(deadline=None)
@given(st.text())
def test_reading_never_raises_and_loses_no_word(text: str) -> None:
    read = sentences(text)
    assert "".join("".join(sentence.text for sentence in read).split()) == "".join(text.split())
    stated(text)
