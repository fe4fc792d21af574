"""The joint question, tolerant reading, and the vote."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.errors import DataError
from fundus_r1.models.presence import asked_of, parse_rollout, question, schema, vote
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.rows import Modality, Sample, Split, VocabularyEntry

ASKED = ("microaneurysm", "hard_exudate", "cotton_wool_spot", "full_thickness_macular_defect")

askings = st.lists(st.sampled_from(sorted(FINDINGS)), min_size=1, max_size=8, unique=True)


def sample(*labels: str) -> Sample:
    return Sample(
        sample_id="idrid/a.png", dataset="idrid", modality=Modality.CFP, labels=labels, split=Split.TRAIN,
        patient="idrid:1", path="a.png", digest="0", pixels="0", width=9, height=9, media_type="image/png",
    )  # fmt: skip


def entry(label: str, *asked: str) -> VocabularyEntry:
    return VocabularyEntry(
        label=label, modality=Modality.CFP, required=(), supportive=(), absent=(), asked=asked
    )


def test_the_question_is_the_papers():
    assert question(Modality.OCT, ("drusen", "subretinal_fluid")).startswith(
        "In this OCT image, determine the presence of the following findings: drusen, subretinal fluid. "
        "Answer with present or absent for each finding"
    )


def test_several_labels_are_asked_together_and_each_finding_once():
    vocabulary = {
        (label, Modality.CFP): entry(label, *asked)
        for label, asked in (("pdr", ("neovascularization", "drusen")), ("amd", ("drusen", "hard_exudate")))
    }
    assert asked_of(sample("pdr", "amd"), vocabulary) == ("neovascularization", "drusen", "hard_exudate")
    with pytest.raises(DataError, match="no entry for the label glaucoma"):
        asked_of(sample("pdr", "glaucoma"), vocabulary)


@given(askings, st.data())
def test_an_answer_to_the_schema_is_read_back(asked, data):
    form = schema(asked)
    said = {name: data.draw(st.sampled_from(form["properties"][name]["enum"])) for name in form["required"]}
    truth = {key: said[FINDINGS[key].name] == "present" for key in asked}
    assert parse_rollout(json.dumps(said), asked) == truth
    assert parse_rollout(json.dumps(said, indent=2), asked) == truth
    assert parse_rollout("\n".join(f"- {name}: {word}." for name, word in said.items()), asked) == truth


@given(askings, st.text())
def test_any_text_is_read_without_an_error(asked, text):
    assert set(parse_rollout(text, asked)) == set(asked)


@given(askings, st.integers(min_value=0))
def test_an_answer_that_breaks_off_loses_only_its_end(asked, cut):
    whole = json.dumps({FINDINGS[key].name: "present" for key in asked})
    read = list(parse_rollout(whole[: cut % (len(whole) + 1)], asked).values())
    told = read.count(True)
    assert read == [True] * told + [None] * (len(asked) - told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('```json\n{"microaneurysm": true, "hard exudate": "Absent"}\n```', (True, False, None, None)),
        ("1. **Microaneurysms**: Present\n2. **Hard exudates:** absent", (True, False, None, None)),
        ("Microaneurysms (MA): present; hard exudates = no", (True, False, None, None)),
        ("soft exudates: yes\nfull-thickness macular defect – not present", (None, None, True, False)),
        ("microaneurysm: present\nmicroaneurysms: absent", (None, None, None, None)),
        ("microaneurysm: present or absent\nhard exudate: present/absent", (None, None, None, None)),
        ("no microaneurysm: present", (None, None, None, None)),
        ("drusen: present", (None, None, None, None)),
        ("The image shows microaneurysms.", (None, None, None, None)),
        ("", (None, None, None, None)),
        ("微动脉瘤：存在\n硬性渗出：不存在", (None, None, None, None)),
        ("Mikroaneurysmen: vorhanden; harte Exsudate: keine", (None, None, None, None)),
        ('{"microaneurysm": "present", "hard exudate": "abs', (True, None, None, None)),
        ('{"microaneurysm": {"value": "present"}, "hard exudate": ["absent"]}', (None, None, None, None)),
        ('{"findings": ["microaneurysm", "hard exudate"]}', (None, None, None, None)),
        ("null", (None, None, None, None)),
        ("microaneurysm: not  present", (False, None, None, None)),
    ],
)
def test_what_models_say(text, expected):
    assert tuple(parse_rollout(text, ASKED).values()) == expected


gaps = st.text(alphabet=" \n\t", min_size=1, max_size=3000)


@given(gaps, gaps)
def test_white_space_however_long_changes_nothing(first, second):
    text = f'{{"microaneurysm"{first}:{second}"present",{first}"hard exudate":{second}"absent"}}'
    assert tuple(parse_rollout(text, ASKED).values()) == (True, False, None, None)


@pytest.mark.parametrize(
    "piece",
    [
        "a" * 80 + " " * 4000,
        "a" * 80 + "'" * 4000,
        "a" * 79 + ":" + "\n\"' " * 1000,
        "a:",
        "not ",
        "a - ",
        "视",
        "\u200b",
    ],
    ids=["spaces", "quotes", "value", "colons", "nots", "dashes", "cjk", "zero width"],
)
def test_long_texts_that_say_nothing_are_abstentions(piece):
    """A reader that tries every way to split a run would not come back from these."""
    text = piece * (400_000 // len(piece))
    assert set(parse_rollout(text, ASKED).values()) == {None}
    assert parse_rollout(f"{text}\nhard exudates: present", ASKED)["hard_exudate"] is True


rollouts = st.lists(
    st.fixed_dictionaries({key: st.sampled_from([True, False, None]) for key in ASKED}), max_size=7
)


@given(rollouts, st.randoms())
def test_the_order_of_the_rollouts_does_not_matter(cast, random):
    shuffled = list(cast)
    random.shuffle(shuffled)
    assert vote(shuffled, ASKED, 2) == vote(cast, ASKED, 2)


@given(rollouts, st.integers(0, 6), st.data())
def test_one_more_vote_never_takes_a_finding_away(cast, over, data):
    before = vote(cast, ASKED, over)
    if cast:
        which, key = data.draw(st.integers(0, len(cast) - 1)), data.draw(st.sampled_from(ASKED))
        raised = [{**one, key: True} if number == which else one for number, one in enumerate(cast)]
        assert set(before.kept) <= set(vote(raised, ASKED, over).kept)
    assert set(vote(cast, ASKED, over + 1).kept) <= set(before.kept)


@given(rollouts)
def test_an_abstention_is_no_vote(cast):
    silent = [*cast, dict.fromkeys(ASKED)]
    assert vote(silent, ASKED, 2).votes == vote(cast, ASKED, 2).votes
    assert all(vote(silent, ASKED, 2).abstentions[key] >= 1 for key in ASKED)


def test_more_than_two_of_five():
    cast = [{"drusen": n < 3, "hard_exudate": n < 2} for n in range(5)]
    result = vote(cast, ("drusen", "hard_exudate"), 2)
    assert result.votes == {"drusen": 3, "hard_exudate": 2}
    assert result.kept == ("drusen",)
