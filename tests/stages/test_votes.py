"""What the votes of all images say together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.rows import Findings, Modality
from fundus_r1.stages.votes import Tally, agreement

KEYS = ("drusen", "hard_exudate")
ROLLOUTS = 5

saids = st.dictionaries(
    st.tuples(st.integers(0, ROLLOUTS), st.integers(0, ROLLOUTS)).filter(lambda s: sum(s) <= ROLLOUTS),
    st.integers(1, 50),
    max_size=6,
).map(Counter)


@st.composite
def rows(draw) -> Findings:
    votes, abstentions = {}, {}
    for key in KEYS:
        votes[key] = draw(st.integers(0, ROLLOUTS))
        abstentions[key] = draw(st.integers(0, ROLLOUTS - votes[key]))
    kept = tuple(key for key in KEYS if votes[key] > 2)
    return Findings(
        sample_id=str(draw(st.integers())), modality=Modality.CFP,
        source=draw(st.sampled_from(["pixel", "observer"])), asked=KEYS, rollouts=ROLLOUTS, votes=votes,
        abstentions=abstentions, observed=kept, present=kept, raw=(), model="m",
    )  # fmt: skip


def of(counted: list[Findings]) -> Tally:
    tally = Tally(ROLLOUTS)
    assert list(tally.passing(counted)) == counted
    return tally


def by_pairs(said: Counter) -> float:
    """Agreement from its definition: every pair of rollouts of every item looked at."""
    shares = []
    for (present, absent), images in said.items():
        cast = [True] * present + [False] * absent
        pairs = [a == b for i, a in enumerate(cast) for b in cast[i + 1 :]]
        shares += [sum(pairs) / len(pairs)] * images if pairs else []
    return sum(shares) / len(shares)


@given(saids)
def test_agreement_is_the_share_of_pairs_that_say_the_same(said):
    found = agreement(said)
    if found["items"]:
        assert found["agreement"] == pytest.approx(by_pairs(said), abs=1e-6)
        assert found["kappa"] is None or found["kappa"] <= found["agreement"] + 1e-6
    else:
        assert found == {"items": 0, "agreement": None, "kappa": None}


def test_kappa_is_fleiss_on_a_worked_example():
    # Two items, three raters: (3, 0) and (1, 2). P = (1 + 1/3) / 2; q = 4/6; chance = 20/36.
    found = agreement(Counter({(3, 0): 1, (1, 2): 1}))
    assert found["agreement"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["kappa"] == pytest.approx((2 / 3 - 20 / 36) / (16 / 36), abs=1e-6)


def test_agreement_by_chance_alone_has_no_kappa():
    assert agreement(Counter({(5, 0): 7})) == {"items": 7, "agreement": 1.0, "kappa": None}
    assert agreement(Counter({(5, 0): 1, (0, 5): 1}))["kappa"] == 1.0


def test_an_abstention_belongs_to_no_pair():
    assert agreement(Counter({(1, 0): 9, (2, 0): 1, (0, 2): 1})) == {
        "items": 2,
        "agreement": 1.0,
        "kappa": 1.0,
    }


@given(st.lists(rows(), max_size=12), st.randoms())
def test_the_order_of_the_images_shows_nowhere(counted, random):
    shuffled = list(counted)
    random.shuffle(shuffled)
    one, two = of(counted), of(shuffled)
    assert (one.counts(), one.histogram(), one.agreement()) == (
        two.counts(),
        two.histogram(),
        two.agreement(),
    )


@given(st.lists(rows(), max_size=12))
def test_every_question_is_counted_once(counted):
    tally = of(counted)
    told = tally.histogram()
    assert sum(told["histogram"].values()) == len(counted) * len(KEYS)
    for votes in range(ROLLOUTS + 1):
        whole = sum(by[str(votes)] for by in told["by_finding"].values())
        assert told["histogram"][str(votes)] == whole
    counts = tally.counts()
    assert counts["images"] == counts["pixel"] + counts["observer"] == len(counted)
    assert counts["kept"] == sum(n for votes, n in told["histogram"].items() if int(votes) > 2)
