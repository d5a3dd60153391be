"""How far a sweep is, how fast it goes, and how long it will go on."""

from itertools import count

import pytest

from mrisynth.results.progress import remaining

NUMBERS = count()


def row(outcome, seconds=None, *, epochs=0, planned=10, retry_of=None):
    return {
        "trial": next(NUMBERS),
        "outcome": outcome,
        "reason": None,
        "seconds": seconds,
        "epochs": epochs,
        "epochs_planned": planned,
        "retry_of": retry_of,
    }


def budget(**limits):
    names = ("trials", "hours", "gpu_hours", "wall")
    return {name: dict(zip(("spent", "limit"), limits.get(name, (0, None)), strict=True)) for name in names}


def test_trials_alike_take_what_they_took():
    left = remaining([row("completed", 10.0) for _ in range(4)], budget(trials=(4, 10)), ran=40.0, training=40.0)
    assert (left.seconds, left.low, left.high, left.by) == (60.0, 60.0, 60.0, "trials")


def test_two_at_a_time_take_half_as_long():
    rows = [row("completed", 10.0) for _ in range(4)] + [row("running", 5.0, epochs=5) for _ in range(2)]
    left = remaining(rows, budget(trials=(4, 10)), ran=25.0, training=25.0)
    # Four that wait and twice half a trial at a pace of two, and at the end a slot that has nothing to do.
    assert left.seconds == pytest.approx((4 * 10 + 2 * 5) / 2 + 2.5)


def test_the_range_says_how_different_trials_are():
    rows = [row("completed", seconds) for seconds in (2.0, 18.0, 5.0, 15.0)]
    left = remaining(rows, budget(trials=(4, 40)), ran=40.0, training=40.0)
    assert left.low < left.seconds == 360.0 < left.high


def test_lost_trials_and_repetitions_do_not_count():
    rows = [row("completed", 10.0), row("lost", 10.0), row("completed", 10.0, retry_of=1)]
    assert remaining(rows, budget(trials=(1, 2)), ran=30.0, training=30.0).seconds == 10.0


def test_what_went_on_with_a_trial_is_a_part_of_its_cost():
    stopped = row("continued", 2.0)
    rows = [stopped, row("completed", 8.0, retry_of=stopped["trial"]), row("pruned", 2.0)]
    left = remaining(rows, budget(trials=(2, 4)), ran=12.0, training=12.0)
    assert left.seconds == 2 * (10 + 2) / 2


def test_while_it_is_early_trials_that_rungs_stopped_are_taken_to_cost_what_is_expected_of_them():
    rows = [row("pruned", 1.0, epochs=1) for _ in range(4)]
    rules = {"ran": 4.0, "training": 4.0, "rungs": (0.1, 0.5), "keep": 0.5}
    # An epoch, four more for every second one, five more for every fourth: 4.25 s; a tenth of it is known not to be so.
    assert remaining(rows, budget(trials=(4, 40)), **rules).seconds == pytest.approx(40 * (1 + 0.9 * 3.25) - 4)
    assert remaining(rows, budget(trials=(4, 4)), **rules).seconds == 0
    alike = [row("completed", 10.0, epochs=10) for _ in range(4)]
    assert remaining(alike, budget(trials=(4, 40)), **rules).seconds == pytest.approx(36 * 10 / 10)


def test_before_the_first_end_what_runs_tells_something():
    left = remaining([row("running", 3.0, epochs=3)], budget(trials=(0, 2)), ran=3.0, training=3.0)
    assert left.seconds == pytest.approx(10 + 7)
    assert remaining([row("running")], budget(trials=(0, 2)), ran=3.0, training=3.0) is None


def test_the_limit_that_comes_first_ends_it():
    rows = [row("completed", 10.0) for _ in range(4)]
    left = remaining(rows, budget(trials=(4, 100), wall=(40 / 3600, 50 / 3600)), ran=40.0, training=40.0)
    assert (left.by, left.seconds, left.high) == ("wall", pytest.approx(10.0), pytest.approx(15.0))
    left = remaining(rows, budget(hours=(40 / 3600, 60 / 3600)), ran=40.0, training=40.0)
    assert (left.by, left.seconds) == ("hours", pytest.approx(20.0))
    assert remaining(rows, budget(), ran=40.0, training=40.0) is None
