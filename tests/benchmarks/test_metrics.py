from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.benchmarks.metrics import Chosen, accuracy, confusion, funbench_f1, mean, s2


def answered(truth: str, chosen: str, options: str = "abc") -> Chosen:
    return Chosen(frozenset(truth), frozenset(chosen), frozenset(options))


def test_s2_is_the_harmonic_mean():
    assert round(100 * s2(0.783, 0.495), 1) in (60.6, 60.7)  # the first row of Tab. 6
    assert s2(1.0, 1.0) == 1.0
    assert s2(1.0, 0.0) == 0.0
    assert s2(0.0, 0.0) == 0.0
    assert s2(None, 0.5) is None
    assert s2(0.5, None) is None


def test_accuracy_and_mean():
    assert accuracy([True, False, True, True]) == 0.75
    assert accuracy([]) is None
    assert mean([0.5, None, 1.0]) == 0.75
    assert mean([None]) is None


def test_one_class_is_sensitivity():
    answers = [answered("a", "a"), answered("a", "b"), answered("a", ""), answered("a", "a")]
    assert funbench_f1(answers) == 0.5


def test_yes_comes_before_no():
    def said(truth: str, chosen: str) -> Chosen:
        return Chosen(frozenset([truth]), frozenset([chosen]), frozenset(["Yes", "No"]))

    answers = [said("Yes", "Yes"), said("Yes", "No"), said("No", "No"), said("No", "No")]
    answers += [Chosen(frozenset(["No"]), frozenset(), frozenset(["Yes", "No"]))]
    # Of "Yes": sensitivity 1/2, specificity 3/3; the unread answer is no "Yes". Of "No": 2/3 and 1/2.
    assert funbench_f1(answers) == pytest.approx(2 * 0.5 / 1.5)


def test_two_classes_take_the_first_in_the_alphabet():
    answers = [answered("b", "b"), answered("b", ""), answered("a", "a"), answered("a", "a")]
    # "a": sensitivity 1, specificity 1 although one "b" could not be read.
    assert funbench_f1(answers) == 1.0


def test_more_classes_are_averaged_and_masked_by_the_options():
    answers = [
        answered("a", "a", "abc"),
        answered("b", "a", "abc"),
        answered("c", "c", "abc"),
        answered("b", "b", "bc"),  # "a" is no option: not a negative of "a"
    ]
    a = s2(1.0, 1 / 2)
    b = s2(1 / 2, 1.0)
    c = s2(1.0, 1.0)
    assert funbench_f1(answers) == pytest.approx((a + b + c) / 3)


def test_a_class_without_negatives_is_left_out():
    answers = [
        answered("a", "a", "ab"),
        answered("a", "b", "ab"),
        answered("b", "b", "b"),
        answered("c", "c", "c"),
    ]
    # b: negatives are the two questions about a; c: no question that offers c is about another class.
    assert funbench_f1(answers) == pytest.approx(mean([None, s2(1.0, 0.5), None]))


def test_what_is_no_right_answer_anywhere_counts_for_no_class():
    answers = [answered("a", "z", "abz"), answered("b", "b", "abz")]
    assert funbench_f1(answers) == 0.0


def test_nothing_has_no_score():
    assert funbench_f1([]) is None


# ---- against a plain confusion matrix, written as the definition reads ----

answers_strategy = st.lists(
    st.sets(st.sampled_from(["No", "Yes", "c", "d"]), min_size=2).flatmap(
        lambda options: st.tuples(
            st.sets(st.sampled_from(sorted(options)), min_size=1, max_size=2),
            st.sets(st.sampled_from(sorted(options)), max_size=2),
            st.just(options),
        )
    ),
    min_size=1,
    max_size=25,
)


def naive(rows: list[tuple[set[str], set[str], set[str]]]) -> float:
    classes = sorted(set().union(*(truth for truth, _, _ in rows)))
    if classes == ["No", "Yes"]:
        classes = ["Yes", "No"]
    figures = []
    for name in classes:
        tp = fp = tn = fn = 0
        for truth, chosen, options in rows:
            if name not in options:
                continue
            if name in truth and name in chosen:
                tp += 1
            elif name in truth:
                fn += 1
            elif name in chosen:
                fp += 1
            else:
                tn += 1
        sensitivity = tp / (tp + fn) if tp + fn else math.nan
        specificity = tn / (tn + fp) if tn + fp else math.nan
        if len(classes) == 1:
            return sensitivity
        figures.append(
            0.0
            if sensitivity == specificity == 0
            else 2 * sensitivity * specificity / (sensitivity + specificity)
        )
    if len(figures) == 2:
        return figures[0]
    defined = [figure for figure in figures if not math.isnan(figure)]
    return sum(defined) / len(defined) if defined else math.nan


@given(answers_strategy)
def test_f1_equals_the_plain_computation(rows):
    found = funbench_f1([Chosen(frozenset(t), frozenset(c), frozenset(o)) for t, c, o in rows])
    expected = naive(rows)
    if math.isnan(expected):
        assert found is None
    else:
        assert found == pytest.approx(expected)


@given(answers_strategy, st.randoms())
def test_f1_does_not_depend_on_the_order_and_is_a_share(rows, random):
    answers = [Chosen(frozenset(t), frozenset(c), frozenset(o)) for t, c, o in rows]
    found = funbench_f1(answers)
    random.shuffle(answers)
    assert funbench_f1(answers) == (None if found is None else pytest.approx(found))
    assert found is None or 0 <= found <= 1


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_confusion_counts(pairs):
    table = confusion(pairs)
    assert table.true_positive == pairs.count((True, True))
    assert table.false_positive == pairs.count((False, True))
    assert table.false_negative == pairs.count((True, False))
    assert table.true_negative == pairs.count((False, False))
