"""Paired comparison of trials over subjects."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import wilcoxon

from mrisynth.results.paired import compare, holm, signed_rank_p, subjects_needed


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 4, 9, 15])
def test_p_is_that_of_the_exact_test(seed, count):
    differences = np.random.default_rng(seed).normal(0.4, 1, count)
    assert signed_rank_p(differences) == pytest.approx(wilcoxon(differences, method="exact").pvalue)


@pytest.mark.parametrize("differences", [(1, 1, 1, -1, 2), (0.5, -0.5, 3, 0, 0), (2, 2, 2, 2, 2, 2)])
def test_with_ties_p_is_counted_over_every_choice_of_signs(differences):
    kept = np.array([value for value in differences if value])
    sizes = np.abs(kept)
    ranks = np.array([(sizes < size).sum() + ((sizes == size).sum() + 1) / 2 for size in sizes])
    seen = abs((ranks * np.sign(kept)).sum())
    sums = [abs((ranks * np.array(signs)).sum()) for signs in product((-1, 1), repeat=len(kept))]
    assert signed_rank_p(differences) == pytest.approx(np.mean([each >= seen for each in sums]))


def test_without_any_difference_p_is_one():
    assert signed_rank_p([]) == signed_rank_p([0.0, 0.0]) == 1.0


def test_holm_orders_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def scores(*values):
    return {f"rat-{number}": value for number, value in enumerate(values)}


def test_few_subjects_are_refused_however_large_the_difference():
    (found,) = compare([scores(90, 90, 90, 90, 90)], scores(1, 2, 3, 4, 5), direction="maximize")
    assert (found.verdict, found.n, found.p, found.wins) == ("too few subjects", 5, 0.0625, 5)
    assert subjects_needed(1) == 6
    (found,) = compare([scores(*[90] * 6)], scores(1, 2, 3, 4, 5, 6), direction="maximize")
    assert (found.verdict, found.corrected) == ("better", 0.03125)


def test_several_comparisons_need_more_subjects():
    assert subjects_needed(7) == 9
    six = [scores(*[90] * 6)] * 7
    assert {each.verdict for each in compare(six, scores(1, 2, 3, 4, 5, 6), direction="maximize")} == {
        "too few subjects"
    }
    nine = [scores(*[90] * 9)] * 7
    assert {each.verdict for each in compare(nine, scores(*range(9)), direction="maximize")} == {"better"}


def test_less_is_better_where_the_metric_says_so():
    (found,) = compare([scores(*[9] * 6)], scores(1, 2, 3, 4, 5, 6), direction="minimize")
    assert (found.verdict, found.mean, found.wins) == ("worse", -5.5, 0)


def test_equal_trials_are_not_shown_to_differ():
    same = scores(*range(8))
    (found,) = compare([same], same, direction="maximize")
    assert (found.verdict, found.n, found.p, found.mean) == ("not shown", 0, 1.0, 0.0)


def test_only_subjects_that_both_have_count():
    (found,) = compare([{"a": 1.0, "b": math.nan, "c": 3.0}], {"a": 0.0, "b": 1.0, "d": 2.0}, direction="maximize")
    assert (found.subjects, found.differences) == (("a",), (1.0,))
    (none,) = compare([{}], {"a": 1.0}, direction="maximize")
    assert math.isnan(none.mean)
    assert none.verdict == "too few subjects"
