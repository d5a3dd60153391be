import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrisynth.search.pruning import (
    Promotions,
    Standing,
    crowding_distances,
    leaders,
    non_dominated,
    rung_epochs,
    scored_epochs,
    should_prune,
)

UP = ("maximize",)
UP_DOWN = ("maximize", "minimize")

few = st.integers(0, 6).map(float)  # few values, so that ties are common
pairs = st.tuples(few, few)


def stand(*values: float | tuple[float, ...], family: str = "cnn", rung: int = 0) -> list[Standing]:
    return [Standing(family, rung, value if isinstance(value, tuple) else (value,)) for value in values]


def prunes(others: list[Standing], value: float | tuple[float, ...], *, keep: float = 1 / 3, quota: int = 0) -> bool:
    (own,) = stand(value)
    return should_prune(others, own, directions=UP_DOWN[: len(own.values)], keep=keep, quota=quota)


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
        ([], 1.0, True),  # alone: a third of one trial is less than one
        ([5.0], 6.0, True),
        ([5.0, 4.0], 6.0, False),  # a third of three is one
        ([5.0, 4.0], 5.0, False),  # equals go on together
        ([5.0, 4.0], 4.5, True),
        ([9, 8, 7, 6, 5], 7.5, True),  # 6 trials: 2 go on
        ([9, 8, 7, 6, 5], 8.5, False),
    ],
)
def test_the_best_third_goes_on(others, value, pruned):
    assert prunes(stand(*others), value) is pruned


def test_less_is_better_where_it_is_minimized():
    others = stand(0.5, 0.4, 0.3)
    assert not should_prune(others, Standing("cnn", 0, (0.2,)), directions=("minimize",), keep=0.3)
    assert should_prune(others, Standing("cnn", 0, (0.6,)), directions=("minimize",), keep=0.3)


def test_other_families_and_other_rungs_do_not_matter():
    others = stand(0.5, 0.6) + stand(9.0, 9.0, 9.0, family="gan") + stand(9.0, 9.0, 9.0, rung=1)
    assert not prunes(others, 1.0)


@pytest.mark.parametrize("quota", [0, 5])
def test_what_is_no_number_never_goes_on(quota):
    assert prunes([], math.nan, quota=quota)
    assert prunes([], (1.0, math.nan), quota=quota)


def test_a_whole_share_is_not_lost_to_rounding():
    # 0.1 of 10 is 1.0000000000000002 or less in floating point; 0.3 of 10 are 3 trials.
    assert not prunes(stand(*range(1, 10)), 7.5, keep=0.3)


def test_the_first_of_a_family_go_on_whatever_they_are():
    others = stand(9.0, 8.0) + stand(9.0, 9.0, 9.0, family="gan")
    assert not prunes(others, 1.0, quota=3)
    assert prunes([*others, *stand(7.0)], 1.0, quota=3)


@given(st.lists(few, max_size=12), few, st.integers(0, 12), st.sampled_from([0.1, 1 / 3, 0.9]))
def test_none_is_stopped_before_the_quota_is_full_nor_the_best_ever(others, value, quota, keep):
    pruned = prunes(stand(*others), value, keep=keep, quota=quota)
    enough = (len(others) + 1) * keep >= 1
    assert not (pruned and (len(others) < quota or (enough and value >= max(others, default=value))))


@given(st.lists(pairs, max_size=12), pairs, st.randoms(use_true_random=False))
def test_the_order_of_the_others_does_not_matter(others, value, shuffler: random.Random):
    shuffled = others.copy()
    shuffler.shuffle(shuffled)
    assert prunes(stand(*others), value) is prunes(stand(*shuffled), value)


@given(st.lists(few, max_size=12), few)
def test_a_second_objective_that_says_nothing_changes_nothing(others, value):
    both = stand(*[(other, 1.0) for other in others])
    assert prunes(both, (value, 1.0)) is prunes(stand(*others), value)


@settings(deadline=None)
@given(st.lists(pairs, min_size=1, max_size=12), st.sampled_from([0.1, 1 / 3, 0.9]))
def test_what_dominates_goes_on_where_the_dominated_does(values, keep):
    def goes_on(index: int) -> bool:
        return not prunes(stand(*values[:index], *values[index + 1 :]), values[index], keep=keep)

    for index, (up, down) in enumerate(values):
        for other, (other_up, other_down) in enumerate(values):
            if other_up >= up and other_down <= down and goes_on(index):
                assert goes_on(other)


def test_of_several_objectives_the_earlier_front_goes_first():
    # Up is better in the first, down in the second: 9/1 dominates all but 10/5.
    standings = stand((9.0, 1.0), (10.0, 5.0), (5.0, 3.0), (8.0, 2.0))
    assert [leaders(standings, count, directions=UP_DOWN) for count in (0, 1, 3, 4)] == [
        set(),
        {0, 1},
        {0, 1, 3},
        {0, 1, 2, 3},
    ]


def test_on_one_front_the_ends_go_first_and_then_the_lonely():
    front = stand((0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (6.0, 6.0), (10.0, 10.0))
    found = [leaders(front, count, directions=UP_DOWN) for count in (1, 3, 4, 5)]
    assert found == [{0, 4}, {0, 3, 4}, {0, 2, 3, 4}, {0, 1, 2, 3, 4}]


def test_what_is_no_number_leads_nowhere():
    assert leaders(stand((math.nan, 0.0), (9.0, 0.0), (5.0, 1.0)), 3, directions=UP_DOWN) == {1, 2}


def test_a_study_that_stored_the_first_objective_alone_goes_on_by_it():
    old = stand(9.0, 8.0, 7.0)
    assert prunes(old, (1.0, 0.0))
    assert not prunes(old, (10.0, 5.0))


def find(values: dict[int, float], stopped: dict[int, int], *, keep: float = 1 / 3, least: int = 0) -> int | None:
    standings = {(0, "cnn"): [(number, Standing("cnn", 0, (value,))) for number, value in values.items()]}
    return Promotions(UP, keep).find(standings, stopped, least=least)


def test_one_that_stopped_goes_on_when_it_is_among_the_best():
    assert find({0: 5.0}, {0: 0}) is None
    assert find({0: 5.0, 1: 4.0}, {0: 0, 1: 0}) is None
    assert find({0: 5.0, 1: 4.0, 2: 3.0}, {0: 0, 1: 0, 2: 0}) == 0
    assert find({0: 5.0, 1: 4.0, 2: 3.0}, {1: 0, 2: 0}) is None  # the best went on before
    assert find({0: 5.0, 1: 4.0, 2: 6.0, 3: 1.0, 4: 1.0, 5: 1.0}, {0: 0, 1: 0}) == 0


def test_asked_again_as_trials_come_it_finds_what_it_would_find_anew():
    draw, here, stopped, promotions = random.Random(0), [], {}, Promotions(UP, 0.3)
    found = 0
    for number in range(200):
        here.append((number, stand(draw.random())[0]))
        stopped[number] = 0
        while (one := promotions.find({(0, "cnn"): here}, stopped)) is not None:
            assert one == Promotions(UP, 0.3).find({(0, "cnn"): here}, stopped)
            del stopped[one]
            found += 1
        assert Promotions(UP, 0.3).find({(0, "cnn"): here}, stopped) is None
    assert found >= 60


def test_in_the_end_one_of_each_family_goes_on():
    places = {(0, "cnn"): list(enumerate(stand(1.0, 2.0))), (0, "gan"): [(2, stand(0.5, family="gan")[0])]}
    stopped, promotions = {0: 0, 1: 0, 2: 0}, Promotions(UP, 0.1)
    assert promotions.find(places, stopped) is None
    for expected in (2, 1):
        assert promotions.find(places, stopped, least=1) == expected
        del stopped[expected]
    assert promotions.find(places, stopped, least=1) is None


def test_who_stopped_on_a_higher_rung_goes_on_first():
    first = list(enumerate(stand(*map(float, range(9)))))
    second = list(zip((6, 7, 8), stand(6.0, 7.0, 8.0, rung=1), strict=True))
    places = {(0, "cnn"): first, (1, "cnn"): second}
    stopped = dict.fromkeys(range(6), 0) | {6: 1, 7: 1, 8: 1}
    assert Promotions(UP, 0.5).find(places, stopped) == 8
    assert Promotions(UP, 0.5).find(places, {5: 0, 6: 1, 7: 1}) == 5


@given(st.lists(st.tuples(few, st.booleans()), max_size=12), st.sampled_from([0.1, 1 / 3, 0.9]))
def test_who_goes_on_later_would_go_on_if_it_came_last(trials, keep):
    values = {number: value for number, (value, _) in enumerate(trials)}
    found = find(values, {number: 0 for number, (_, stopped) in enumerate(trials) if stopped}, keep=keep)
    would = [
        number
        for number, (value, stopped) in enumerate(trials)
        if stopped and not prunes(stand(*[v for n, v in values.items() if n != number]), value, keep=keep)
    ]
    assert found == (would[0] if would else None)


def test_a_trial_is_scored_on_its_rungs_and_once_before():
    assert scored_epochs(rung_epochs([0.05, 0.15], 30)) == (1, 2, 4, 5)
    assert scored_epochs({1: 0, 3: 1}) == (1, 2, 3)
    assert scored_epochs({}) == ()


def test_fronts_and_crowding():
    costs = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [2.0, 2.0]])
    assert non_dominated(costs).tolist() == [True, True, True, False]
    assert crowding_distances(costs[:3]).tolist() == [math.inf, 2.0, math.inf]
