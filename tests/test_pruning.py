import math

import pytest

from mrisynth.search.pruning import Standing, rung_epochs, should_prune


def stand(*values: float, family: str = "cnn", rung: int = 0) -> list[Standing]:
    return [Standing(family, rung, value) for value in values]


@pytest.mark.parametrize(
    ("fractions", "epochs", "expected"),
    [
        ([0.1, 0.3], 30, {3: 0, 9: 1}),
        ([0.1, 0.3], 10, {1: 0, 3: 1}),
        ([0.1, 0.5], 25, {3: 0, 13: 1}),
        ([0.1, 0.3], 3, {1: 1}),
        ([0.1], 2, {1: 0}),
        ([0.1, 0.9], 1, {}),
        ([], 30, {}),
    ],
)
def test_rungs_are_fractions_of_a_trials_own_epochs(fractions, epochs, expected):
    assert rung_epochs(fractions, epochs) == expected


@pytest.mark.parametrize(
    ("others", "value", "pruned"),
    [
        ([], 1.0, False),  # alone
        ([5.0], 4.0, True),  # 2 trials, a third of them is less than one: the best goes on
        ([5.0], 6.0, False),
        ([5.0], 5.0, False),  # equals go on together
        ([9, 8, 7, 6, 5], 7.5, True),  # 6 trials: 2 go on
        ([9, 8, 7, 6, 5], 8.5, False),
    ],
)
def test_the_best_third_goes_on(others, value, pruned):
    own = Standing("cnn", 0, value)
    assert should_prune(stand(*others), own, direction="maximize", keep=1 / 3) is pruned


def test_less_is_better_where_it_is_minimized():
    others = stand(0.5, 0.4, 0.3)
    assert not should_prune(others, Standing("cnn", 0, 0.2), direction="minimize", keep=0.33)
    assert should_prune(others, Standing("cnn", 0, 0.6), direction="minimize", keep=0.33)


def test_other_families_and_other_rungs_do_not_matter():
    others = stand(9.0, 9.0, 9.0, family="gan") + stand(9.0, 9.0, 9.0, rung=1)
    assert not should_prune(others, Standing("cnn", 0, 1.0), direction="maximize", keep=0.33)


def test_what_is_no_number_never_goes_on():
    assert should_prune([], Standing("cnn", 0, math.nan), direction="maximize", keep=0.9)


def test_a_whole_share_is_not_lost_to_rounding():
    # 0.1 of 10 is 1.0000000000000002 or less in floating point; 0.3 of 10 are 3 trials.
    assert not should_prune(stand(*range(1, 10)), Standing("cnn", 0, 7.5), direction="maximize", keep=0.3)
