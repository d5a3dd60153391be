"""Places on a cluster whose nodes differ; stubs are networks, or forests that need no GPU."""

import pytest
from search_fixtures import StubOfFamily, make_plan, make_sweep, open_conductor, outcomes, suggest_stub

from mrisynth.search.judge import LiveTrial
from mrisynth.search.packing import Packing
from mrisynth.search.settings import Budget
from mrisynth.search.slots import AHEAD, Slot, Slots


@pytest.fixture
def sweep(tmp_path):
    return make_sweep(tmp_path)


def trial(family, **values):
    return LiveTrial(StubOfFamily({"family": family, **values}), {})


@pytest.fixture
def slots(tmp_path):
    """A node with a GPU and cores for two trials, and two nodes without a GPU: for two trials, and for one."""
    packing = Packing(tmp_path / "gpu_memory.json")
    return Slots(gpu=1.0, gpus=1.0, packing=packing, beside_gpus=2, without_gpu={"large": 2, "small": 1})


def test_forests_go_where_no_gpu_is_and_beside_one_only_when_that_is_full(slots):
    places = [slots.take(number, trial("forest")) for number in range(6)]
    assert [place.node for place in places[:3]].count("large") == 2
    assert [place and place.node for place in places[3:]] == ["", "", None]
    assert {place.gpu for place in places[:5]} == {0.0}
    slots.free(0)
    assert slots.take(6, trial("forest")) == places[0]


def test_networks_share_the_gpus_and_leave_the_rest_to_forests(slots):
    assert slots.take(0, trial("cnn")) == Slot(1.0)
    assert slots.take(1, trial("gan")) is None
    assert slots.take(2, trial("forest")).node == "large"
    slots.packing.note(StubOfFamily({"family": "cnn"}).dump(), 20, 80)
    slots.free(0)
    assert slots.take(1, trial("cnn")) == slots.take(0, trial("cnn")) == Slot(0.3333)
    assert slots.take(3, trial("cnn")) is None, "the GPU has room, its node no core"


def test_a_trial_that_needs_more_than_its_kind_waits_for_that(slots):
    slots.packing.note(StubOfFamily({"family": "cnn"}).dump(), 20, 80)
    assert slots.take(0, trial("cnn"))
    whole = trial("cnn")
    whole.needs = 1.0
    assert slots.take(1, whole) is None
    assert slots.take(2, trial("cnn")) is None, "small ones would keep it waiting"
    assert not slots.may_fit(waiting=1, forests=False)
    slots.free(0)
    assert slots.take(1, whole) == Slot(1.0)
    slots.free(1)
    assert slots.take(2, trial("cnn")) == Slot(0.3333)


def test_suggestions_are_made_ahead_only_for_forests_and_only_so_many(slots):
    slots.take(0, trial("cnn"))
    assert not slots.may_fit(waiting=0, forests=False)
    assert slots.may_fit(waiting=AHEAD - 1, forests=True)
    assert not slots.may_fit(waiting=AHEAD, forests=True)
    for number in range(1, 5):
        slots.take(number, trial("forest"))
    assert not slots.may_fit(waiting=0, forests=True)


def test_where_nothing_is_packed_whoever_runs_the_trials_decides():
    slots = Slots(gpu=0.5)
    assert [slots.take(number, trial("cnn")) for number in range(9)] == [Slot(None)] * 9
    assert slots.share(0) == 0.5
    assert slots.may_fit(waiting=0, forests=False)


def conduct(sweep, slots, kinds, **budget):
    """A conductor whose trials are of these kinds, one after the other."""

    def suggest(trial):
        return StubOfFamily({**suggest_stub(trial).values, "family": kinds[trial.number % len(kinds)]})

    plan = make_plan(sweep.root, suggest=suggest, budget=Budget(**budget), forests=True)
    conductor = open_conductor(sweep, plan)
    conductor.slots = slots
    return conductor


def begin_all(conductor):
    """Take trials until there is none: their numbers."""
    begun = []
    while not isinstance(assignment := conductor.next_trial(), str):
        begun.append(assignment.number)
    return begun


def finish(conductor, number):
    conductor.hear(number, {"epoch": 4, "final": True, "scores": {"psnr": 1.0}, "seconds": 1.0, "pid": 1})


def test_forests_overtake_networks_that_wait_for_the_gpu(sweep, slots):
    conductor = conduct(sweep, slots, ["cnn", "cnn", "forest"], trials=9)
    assert begin_all(conductor) == [0, 2, 5]
    assert sorted(conductor.live) == [0, 1, 2, 3, 4, 5, 6], "as many wait as may"
    finish(conductor, 2)
    assert begin_all(conductor) == []
    finish(conductor, 0)
    assert begin_all(conductor) == [1]
    finish(conductor, 1)
    assert begin_all(conductor) == [3, 8]
    for number in (5, 8, 3, 4, 6, 7):
        begin_all(conductor)
        finish(conductor, number)
    assert conductor.next_trial() == "finished"
    assert outcomes(conductor.sweep) == dict.fromkeys(range(9), "completed")


def test_what_waited_when_the_driver_was_killed_is_run_by_the_next_one(sweep, slots):
    assert begin_all(conduct(sweep, slots, ["cnn", "cnn", "forest"], trials=3)) == [0, 2]
    again = conduct(sweep, Slots(), ["cnn", "cnn", "forest"], trials=3)
    assert begin_all(again) == [0, 1, 2]
    assert len(again.study.trials) == 3


def test_what_waits_does_not_begin_when_the_budget_of_time_is_spent(sweep, slots):
    conductor = conduct(sweep, slots, ["cnn"], hours=1 / 3600)
    assert begin_all(conductor) == [0]
    assert sorted(conductor.live) == list(range(1 + AHEAD))
    finish(conductor, 0)
    assert conductor.next_trial() == "finished"
    assert outcomes(conductor.sweep) == {0: "completed"} | dict.fromkeys(range(1, 1 + AHEAD), "pruned")
