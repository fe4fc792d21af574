"""Composer and check together: what is composed from consistent findings passes, one flaw fails by name."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fundus_r1.models.rules_check import check
from fundus_r1.models.rules_traces import compose_trace
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS, lineage
from fundus_r1.ontology.tasks import TASKS, Task
from fundus_r1.prompts.material import Material
from fundus_r1.prompts.student import parse_student, student_response
from fundus_r1.prompts.trace_reading import modalities_named, stated
from fundus_r1.rows import Knowledge, Modality, Reason, Triplet

VIEWS = {Modality.CFP: "CFP", Modality.OCT: "OCT", Modality.UWF: "ultra-widefield"}
unhurried = settings(deadline=None, max_examples=80)
EVERY = [(task, label) for task in TASKS.values() for label in task.labels]


def make(
    task: Task,
    label: str,
    *,
    required: tuple[str, ...] = (),
    supportive: tuple[str, ...] = (),
    absent: tuple[str, ...] = (),
    present: tuple[str, ...] = (),
    name: str = "one",
) -> Material:
    letters = dict(zip("ABCDEFGHI", task.labels, strict=False))
    return Material(
        triplet=Triplet(
            triplet_id=f"{task.dataset}/{name}:{task.key}",
            sample_id=f"{task.dataset}/{name}",
            task=task.key,
            modality=task.modality,
            label=label,
            question=task.questions[0],
            options={letter: LABELS[key].name for letter, key in letters.items()},
            answer=LABELS[label].name,
            option_labels=letters,
        ),
        present=present,
        source="pixel",
        knowledge=Knowledge(
            label=label,
            modality=task.modality,
            query="",
            description="",
            required=required,
            supportive=supportive,
            absent=absent,
            evidence={},
            passages=(),
            model="none",
        ),
    )


@st.composite
def consistent(draw: st.DrawFn) -> Material:
    """Any label with any knowledge, and an image that shows all that is required and nothing foreign."""
    task, label = draw(st.sampled_from(EVERY))
    keys = draw(st.permutations(list(FINDINGS)))
    a, b, c = (draw(st.integers(0, 5)) for _ in range(3))
    required, supportive, absent = keys[:a], keys[a : a + b], keys[a + b : a + b + c]
    shown = draw(st.permutations([*required, *[key for key in supportive if draw(st.booleans())]]))
    return make(
        task,
        label,
        required=tuple(required),
        supportive=tuple(supportive),
        absent=tuple(absent),
        present=tuple(shown),
        name=draw(st.text(max_size=6)),
    )


def reasons(material: Material, text: str) -> set[Reason]:
    return {reason for reason, _ in check(material, text)}


def rewritten(text: str, think: str) -> str:
    return student_response(think, parse_student(text).answer or "")


def lines_of(text: str) -> list[str]:
    return re.split(r"(?<=\.) ", parse_student(text).think or "")


def before_the_end(text: str, line: str) -> list[str]:
    *lines, conclusion = lines_of(text)
    return [*lines, line, conclusion]


@unhurried
@given(consistent())
def test_a_trace_composed_from_consistent_findings_is_accepted(material: Material) -> None:
    text = compose_trace(material.inputs())
    assert check(material, text) == []
    said = stated(parse_student(text).think or "")
    assert said.present == set(material.present)
    assert said.absent <= set(material.knowledge.absent)
    assert modalities_named(text) == {material.triplet.modality}
    assert compose_trace(material.inputs()) == text


@pytest.mark.parametrize(("task", "label"), EVERY, ids=lambda part: getattr(part, "key", part))
def test_every_label_of_every_task_can_pass_and_can_be_composed_in_several_ways(
    task: Task, label: str
) -> None:
    texts = set()
    for number in range(12):
        material = make(
            task,
            label,
            required=("microaneurysm", "drusen"),
            supportive=("hard_exudate",),
            absent=("neovascularization", "optic_disc_pallor"),
            present=("drusen", "hard_exudate", "microaneurysm"),
            name=str(number),
        )
        texts.add(compose_trace(material.inputs()))
        assert check(material, compose_trace(material.inputs())) == []
    assert len(texts) > 4


@unhurried
@given(consistent(), st.data())
def test_leaving_out_a_required_finding_is_found(material: Material, data: st.DataObject) -> None:
    required = material.knowledge.required
    assume(required)
    gone = data.draw(st.sampled_from(required))
    lines = lines_of(compose_trace(material.inputs()))
    kept = [line for line in lines if FINDINGS[gone].plural.lower() not in line.lower()]
    assume(len(kept) == len(lines) - 1)
    text = student_response(" ".join(kept), material.triplet.answer)
    assert reasons(material, text) == {Reason.REQUIRED_OMITTED}


@unhurried
@given(consistent(), st.data())
def test_a_required_finding_that_the_image_lacks_is_found(material: Material, data: st.DataObject) -> None:
    required = material.knowledge.required
    assume(required)
    gone = data.draw(st.sampled_from(required))
    shown = tuple(key for key in material.present if key != gone)
    poorer = replace(material, present=shown)
    found = check(poorer, compose_trace(poorer.inputs()))
    assert found == [(Reason.REQUIRED_OMITTED, FINDINGS[gone].name)]


@unhurried
@given(consistent(), st.data())
def test_a_finding_that_the_image_lacks_is_found(material: Material, data: st.DataObject) -> None:
    text = compose_trace(material.inputs())
    invented = data.draw(st.sampled_from(sorted(set(FINDINGS) - set(material.present))))
    lines = lines_of(text)
    place = data.draw(st.integers(0, len(lines)))
    late = {Reason.NOT_DERIVED} if place == len(lines) else set()
    lines.insert(place, f"There are scattered {FINDINGS[invented].plural} in the periphery.")
    assert reasons(material, rewritten(text, " ".join(lines))) == {Reason.FINDING_INCORRECT, *late}


@unhurried
@given(consistent(), st.data())
def test_a_finding_that_does_not_belong_to_the_label_is_found(
    material: Material, data: st.DataObject
) -> None:
    known = {*material.knowledge.required, *material.knowledge.supportive}
    foreign = data.draw(st.sampled_from(sorted(set(FINDINGS) - known)))
    shown = (*material.present, foreign)
    odd = replace(material, present=shown)
    assert reasons(odd, compose_trace(odd.inputs())) == {Reason.FINDING_INCORRECT}


@unhurried
@given(consistent(), st.data())
def test_denying_what_the_image_shows_is_found(material: Material, data: st.DataObject) -> None:
    assume(material.present)
    denied = data.draw(st.sampled_from(material.present))
    text = compose_trace(material.inputs())
    lines = before_the_end(text, f"There is no {FINDINGS[denied].name}.")
    assert reasons(material, rewritten(text, " ".join(lines))) == {Reason.FINDING_INCORRECT}


@unhurried
@given(consistent(), st.data())
def test_saying_a_finding_again_is_found(material: Material, data: st.DataObject) -> None:
    assume(material.present)
    again = data.draw(st.sampled_from(material.present))
    text = compose_trace(material.inputs())
    lines = before_the_end(text, f"There are {FINDINGS[again].plural}.")
    assert reasons(material, rewritten(text, " ".join(lines))) == {Reason.FINDING_REDUNDANT}


@unhurried
@given(consistent(), st.data())
def test_another_modality_is_found(material: Material, data: st.DataObject) -> None:
    text = compose_trace(material.inputs())
    other = data.draw(st.sampled_from([m for m in Modality if m is not material.triplet.modality]))
    lines = lines_of(text)
    assert re.search(r" (shows|demonstrates|reveals) ", lines[0])
    lines[0] = re.sub(r"^.*? (?=shows|demonstrates|reveals)", f"The {VIEWS[other]} image ", lines[0])
    assert reasons(material, rewritten(text, " ".join(lines))) == {Reason.MODALITY}


@unhurried
@given(consistent(), st.data())
def test_another_answer_is_found(material: Material, data: st.DataObject) -> None:
    others = [text for text in material.triplet.options.values() if text != material.triplet.answer]
    wrong = data.draw(st.sampled_from([*others, "A", material.triplet.answer.upper() + "."]))
    text = student_response(parse_student(compose_trace(material.inputs())).think, wrong)
    assert reasons(material, text) == {Reason.ANSWER_MISMATCH}


@unhurried
@given(consistent(), st.data())
def test_arguing_for_another_label_is_found(material: Material, data: st.DataObject) -> None:
    label = material.triplet.label
    task = TASKS[material.triplet.task]
    others = [key for key in task.labels if key != label] or ["glaucoma"]
    other = data.draw(st.sampled_from(others))
    assume(other not in lineage(label))
    text = compose_trace(material.inputs())
    *lines, conclusion = lines_of(text)
    argued = " ".join(lines).replace(LABELS[label].name, LABELS[other].name)
    assert reasons(material, rewritten(text, f"{argued} {conclusion}")) == {Reason.KNOWLEDGE_MISMATCH}
    concluded = f"{argued} {conclusion.replace(LABELS[label].name, LABELS[other].name)}"
    assert reasons(material, rewritten(text, concluded)) == {
        Reason.KNOWLEDGE_MISMATCH,
        Reason.NOT_DERIVED,
    }


@unhurried
@given(consistent())
def test_a_trace_that_connects_nothing_to_the_label_is_found(material: Material) -> None:
    text = compose_trace(material.inputs())
    *lines, _link, conclusion = lines_of(text)
    assert reasons(material, rewritten(text, " ".join([*lines, conclusion]))) == {Reason.KNOWLEDGE_OMITTED}


@unhurried
@given(consistent(), st.sampled_from(["think", "/think", "answer", "/answer"]))
def test_a_missing_tag_is_found(material: Material, tag: str) -> None:
    text = compose_trace(material.inputs()).replace(f"<{tag}>", "")
    assert Reason.FORMAT in reasons(material, text)


@unhurried
@given(consistent(), st.text())
def test_any_text_at_all_gets_a_verdict(material: Material, text: str) -> None:
    assert check(material, text)


@unhurried
@given(consistent(), st.text())
def test_the_same_trace_gets_the_same_reasons(material: Material, text: str) -> None:
    for said in (text, compose_trace(material.inputs()), student_response(text, material.triplet.answer)):
        assert check(material, said) == check(material, said)


@unhurried
@given(consistent())
def test_a_conclusion_before_its_evidence_is_found(material: Material) -> None:
    text = compose_trace(material.inputs())
    *summary, link, conclusion = lines_of(text)
    turned = rewritten(text, " ".join([link, conclusion, *summary]))
    assert reasons(material, turned) == ({Reason.NOT_DERIVED} if material.present else set())


@unhurried
@given(consistent(), st.sampled_from(["This cannot be confirmed.", "However, the picture is unclear."]))
def test_a_conclusion_that_is_taken_back_is_found(material: Material, doubt: str) -> None:
    text = compose_trace(material.inputs())
    taken_back = rewritten(text, " ".join([*lines_of(text), doubt]))
    assert reasons(material, taken_back) == {Reason.NOT_DERIVED}
