"""What a person gives back is read as it was written, or refused with every problem named."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_r1.errors import DataError
from fundus_r1.fingerprint import sha256
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.review_sheet import vocabulary_text
from fundus_r1.ontology.reviewed import ReviewedEntry, VocabularyFile, read_vocabulary
from fundus_r1.ontology.vocabulary import Groups, in_order
from fundus_r1.ontology.vocabulary_diff import differences, told
from fundus_r1.rows import Knowledge, Modality, Passage

SHEET = """
format: 1
vocabulary:
- label: moderate_npdr
  modality: CFP
  description: On CFP, Moderate NPDR is characterized by microaneurysms.
  required:
    microaneurysms: [signs]
  supportive:
    soft exudates: [signs, a textbook of the retina]
  absent:
    neovascularization: [signs]
sources:
  signs: {reference: A paper on signs, title: Signs of retinopathy, source: pmc}
"""


def read(text: str) -> VocabularyFile:
    return read_vocabulary(text, "v.yaml")


def problems(text: str) -> str:
    with pytest.raises(DataError) as raised:
        read(text)
    assert raised.value.where == "v.yaml"
    assert "fundus-r1 vocabulary check" in raised.value.hint
    return raised.value.what


def test_names_and_synonyms_are_read_and_references_become_sources():
    found = read(SHEET)
    [entry] = found.entries.values()
    assert entry.groups == Groups(("microaneurysm",), ("cotton_wool_spot",), ("neovascularization",))
    assert entry.evidence["cotton_wool_spot"] == ("signs", "a textbook of the retina")
    assert found.sources["signs"].source == "pmc"
    assert found.sources["a textbook of the retina"].reference == "a textbook of the retina"
    row = entry.row("What?")
    assert row.model == "reviewed"
    assert row.passages == ("a textbook of the retina", "signs")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "microaneurysms: [signs]",
            "microanuerysm: [signs]",
            "on CFP, required, 'microanuerysm': no such finding; the nearest is 'microaneurysm'",
        ),
        (
            "soft exudates:",
            "microaneurysm:",
            "moderate_npdr on CFP, supportive, 'microaneurysm': microaneurysm stands in required too",
        ),
        (
            "soft exudates:",
            "cotton-wool spot: [signs]\n    soft exudates:",
            "supportive, 'soft exudates': cotton-wool spot stands twice",
        ),
        (
            "neovascularization: [signs]",
            "neovascularization: []",
            "absent, 'neovascularization': no source supports it; name one, or remove the finding",
        ),
        ("neovascularization: [signs]", "neovascularization:", "absent, 'neovascularization': no source"),
        ("neovascularization: [signs]", "neovascularization: [sings]", "'sings'; the nearest is 'signs'"),
        ("label: moderate_npdr", "label: moderate_pdr", "unknown label; the nearest is 'moderate_npdr'"),
        ("modality: CFP", "modality: MRI", "the modality is none of CFP, OCT, UWF"),
        ("On CFP, Moderate NPDR is characterized by microaneurysms.", "''", "the description is empty"),
        ("  required:", "  needed:", "moderate_npdr on CFP, needed: Extra inputs are not permitted"),
        ("format: 1", "format: 2", "format"),
        ("  absent:", "  required:", "'required' stands twice"),
        ("[signs, a textbook of the retina]", "soon", "moderate_npdr on CFP, supportive.soft exudates"),
        ("vocabulary:", "vocabulary: [", "no YAML"),
    ],
)  # fmt: skip
def test_a_problem_is_named_with_label_modality_and_entry(old: str, new: str, told: str):
    text = SHEET.replace(old, new)
    assert text != SHEET
    with pytest.raises(DataError) as raised:
        read(text)
    assert told in str(raised.value)


def test_an_entry_that_comes_twice_is_refused():
    entry = SHEET[SHEET.index("- label") : SHEET.index("sources:")]
    assert "moderate_npdr on CFP: entry 2 repeats an earlier one" in problems(
        SHEET.replace(entry, entry + entry)
    )


def test_all_problems_are_told_at_once():
    what = problems(SHEET.replace("microaneurysms:", "nonsense:").replace("soft exudates:", "more nonsense:"))
    assert what.startswith("The vocabulary has 2 problems:")


@pytest.mark.parametrize("text", ["", "[]", "3", "format: 1", "{? [a]: b}", "a: &a [*a]", "\x00"])
def test_what_is_no_vocabulary_is_refused(text: str):
    with pytest.raises(DataError):
        read(text)


def test_a_pair_of_which_nothing_is_known_is_a_comment_and_not_an_entry():
    row = Knowledge(
        label="other_abnormality", modality=Modality.CFP, query="", description="", required=(),
        supportive=(), absent=(), evidence={}, passages=(), model="none",
    )  # fmt: skip
    text = vocabulary_text([row], {})
    assert "# Other abnormality on CFP: nothing was found" in text
    assert read(text).entries == {}


# ---- round trip and differences --------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
prose = st.lists(texts, min_size=1, max_size=30).map(" ".join)
pairs = st.tuples(st.sampled_from(list(LABELS)), st.sampled_from(list(Modality)))


def passage(key: str, reference: str) -> Passage:
    return Passage(
        passage_id=key, source="pmc", title="", section="Signs", reference=reference, licence="CC0", text="",
        digest=sha256(b""),
    )  # fmt: skip


@st.composite
def entries(draw: st.DrawFn, sources: list[str]) -> ReviewedEntry:
    label, modality = draw(pairs)
    keys = draw(st.lists(st.sampled_from(list(FINDINGS)), unique=True, max_size=9))
    cuts = sorted((draw(st.integers(0, len(keys))), draw(st.integers(0, len(keys)))))
    parts = (keys[: cuts[0]], keys[cuts[0] : cuts[1]], keys[cuts[1] :])
    cited = st.lists(st.sampled_from(sources), min_size=1, max_size=3, unique=True)
    return ReviewedEntry(
        label, modality, draw(prose), Groups(*map(in_order, parts)), {key: tuple(draw(cited)) for key in keys}
    )


@st.composite
def files(draw: st.DrawFn) -> VocabularyFile:
    sources = {
        f"{n}/{key}": draw(prose) for n, key in enumerate(draw(st.lists(texts, min_size=1, max_size=4)))
    }
    made = draw(
        st.lists(entries(sorted(sources)), unique_by=lambda entry: (entry.label, entry.modality), max_size=5)
    )
    cited = {key for entry in made for keys in entry.evidence.values() for key in keys}
    return VocabularyFile(
        {(entry.label, entry.modality): entry for entry in made},
        {key: passage(key, text) for key, text in sources.items() if key in cited},
    )


def written(file: VocabularyFile) -> str:
    return vocabulary_text([entry.row("") for entry in file.entries.values()], file.sources)


@settings(deadline=None)
@given(files())
def test_what_is_written_is_read_back(file: VocabularyFile):
    again = read(written(file))
    assert again == file
    assert written(again) == written(file)


@settings(deadline=None)
@given(files(), files())
def test_a_difference_read_backwards_is_that_of_the_other_way_round(a: VocabularyFile, b: VocabularyFile):
    forth, back = differences(a, b), differences(b, a)
    assert [item.reversed() for item in forth] == back
    assert bool(forth) == (a != b)
    assert bool(list(told(forth))) == bool(forth)
    assert differences(a, a) == []


def test_differences_are_told_by_label():
    a = read(SHEET)
    [(pair, entry)] = a.entries.items()
    moved = dataclasses.replace(
        entry,
        description="On CFP, Moderate NPDR is known by many microaneurysms.",
        groups=Groups(("microaneurysm", "cotton_wool_spot"), (), ("drusen",)),
        evidence={"microaneurysm": ("signs", "more"), "cotton_wool_spot": ("signs",), "drusen": ("signs",)},
    )
    b = VocabularyFile({pair: moved}, {"signs": a.sources["signs"], "more": passage("more", "m")})
    assert list(told(differences(a, b))) == [
        "Moderate NPDR on CFP:",
        "  description: characterized -> known",
        "  description: (nothing) -> many",
        "    microaneurysm: sources + more",
        "  > cotton-wool spot: from supportive to required",
        "    cotton-wool spot: sources - a textbook of the retina",
        "  - neovascularization (absent)",
        "  + drusen (absent)",
        "Sources:",
        "  - a textbook of the retina",
        "  + more",
    ]
