"""Phrases become disjoint canonical groups, and the question asks by label or by task."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.vocabulary import Groups, group, vocabulary
from fundus_r1.rows import Modality


def test_variants_and_synonyms_are_merged():
    groups = group(
        ["dot-blot haemorrhages", "intraretinal hemorrhages", "Microaneurysms (MA)"],
        ["soft exudates", "cotton-wool spots", "retinal hemorrhage"],
        ["neovascularisation", "new vessels"],
    )
    assert groups == Groups(
        required=("microaneurysm", "retinal_hemorrhage"),
        supportive=("cotton_wool_spot",),
        absent=("neovascularization",),
    )


def test_a_denied_phrase_is_absent_wherever_it_stands():
    assert group(["microaneurysms, no neovascularization"], [], ["no hard exudates"]) == Groups(
        required=("microaneurysm",), supportive=(), absent=("hard_exudate", "neovascularization")
    )


def test_unknown_phrases_are_told_once_and_conflicts_belong():
    groups = group(["starry sky", "drusen"], ["starry sky"], ["drusen"])
    assert groups == Groups(("drusen",), (), (), unknown=("starry sky",), conflicts=("drusen",))


names = st.lists(st.sampled_from([finding.name for finding in FINDINGS.values()]), max_size=8)


@given(required=names, supportive=names, absent=names)
def test_groups_are_disjoint_and_lose_nothing(required, supportive, absent):
    groups = group(required, supportive, absent)
    parts = [set(groups.required), set(groups.supportive), set(groups.absent)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert len(set.union(*parts)) == len({*required, *supportive, *absent})
    assert groups.required == tuple(key for key in FINDINGS if FINDINGS[key].name in required)
    assert group(required[::-1], supportive[::-1], absent[::-1]) == groups


worded = st.builds(
    lambda before, name, after: f"{before} {name} {after}".strip(),
    st.sampled_from(["", "multiple", "a few", "no", "no evidence of", "presence of"]),
    st.sampled_from([phrase for row in FINDINGS.values() for phrase in (row.plural, *row.synonyms)]),
    st.sampled_from(["", "in the macula", "(seen in most eyes)", "or none"]),
)


@given(*[st.lists(worded, max_size=6)] * 3)
def test_text_to_findings_done_twice_changes_nothing(required, supportive, absent):
    once = group(required, supportive, absent)
    names = [[FINDINGS[key].plural for key in keys] for keys in (once.required, once.supportive, once.absent)]
    twice = group(*names)
    assert (twice.required, twice.supportive, twice.absent) == (once.required, once.supportive, once.absent)
    assert twice.unknown == twice.conflicts == ()
    parts = [*once.required, *once.supportive, *once.absent]
    assert len(parts) == len(set(parts))


def test_asked_by_label_and_by_task():
    groups = {
        (label, Modality.OCT): Groups((own,), (), ("retinal_thickening",))
        for label, own in {
            "normal": "drusen",
            "cnv": "subretinal_fluid",
            "dme": "intraretinal_fluid",
            "drusen": "drusen",
        }.items()
    }
    by_label = vocabulary(groups, ["kermany"], "label")
    assert [entry.asked for entry in by_label][1] == ("subretinal_fluid", "retinal_thickening")
    by_task = vocabulary(groups, ["kermany"], "task")
    assert {entry.asked for entry in by_task} == {
        ("drusen", "intraretinal_fluid", "subretinal_fluid", "retinal_thickening")
    }
    assert [entry.required for entry in by_task] == [entry.required for entry in by_label]
