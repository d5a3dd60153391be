"""Budgets of time: what is spent, and how running trials end when nothing is left."""

from search_fixtures import Executor, epochs_trained, make_plan, make_sweep, open_conductor, outcomes

from mrisynth.files import read_json
from mrisynth.results.store import write_heartbeat
from mrisynth.search.account import Account
from mrisynth.search.lease import hold
from mrisynth.search.outcome import CUT
from mrisynth.search.settings import Budget
from mrisynth.search.study import queue_retries


class Clock:
    """Says how long the sweep has run."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def conduct(sweep, budget, *, clock, grace=0.0, **plan):
    """A conductor whose sweep has run as long as the clock says; stub epochs take a second each."""
    made = make_plan(sweep.root.parent, budget=budget, **plan)
    conductor = open_conductor(sweep, made)
    conductor.account = Account(budget, ran=clock, grace=grace)
    conductor.queue_cut()
    return conductor


def reasons(sweep):
    return {d.number: read_json(d.outcome)["reason"] for d in sweep.trial_directories() if d.outcome.is_file()}


def test_core_hours_gpu_hours_and_wall_time_are_limits_each():
    time = {"seconds": 3600.0, "gpu_seconds": 1800.0}
    assert Account(Budget(hours=2.1), cpu=2).spent(**time) is None
    assert Account(Budget(hours=2.0), cpu=2).spent(**time) == "2 core-hours"
    assert Account(Budget(gpu_hours=0.5)).spent(**time) == "30 GPU-minutes"
    assert Account(Budget(wall=1.0), ran=lambda: 3600.0).spent(**time) == "60 minutes"
    assert Account(Budget(trials=1)).spent(**time) is None


def test_running_trials_go_on_to_their_next_rung(tmp_path):
    sweep, clock = make_sweep(tmp_path), Clock()
    conductor = conduct(sweep, Budget(wall=1.0), clock=clock, rungs=(0.5,), keep=0.9, quota=2)
    running = Executor(conductor, slots=2)
    running.fill()
    running.step(0)
    clock.now = 3600.0
    running.step(1)
    assert outcomes(sweep) == {}
    running.run()
    assert outcomes(sweep) == {0: "pruned", 1: "pruned"}
    assert epochs_trained(sweep) == {0: [1, 2], 1: [1, 2]}
    stored = read_json(sweep.trial(0).outcome)
    assert (stored["reason"], list(stored["values"])) == ("budget", ["psnr"])
    assert stored["message"] == "stopped when the budget was spent, after epoch 2"


def test_without_a_rung_they_go_on_for_a_tenth_of_the_time_at_most(tmp_path):
    sweep, clock = make_sweep(tmp_path), Clock(3600.0)
    conductor = conduct(sweep, Budget(hours=1 / 3600), clock=clock)
    running = Executor(conductor)
    running.fill()
    running.step(0)
    clock.now += 359
    running.step(0)
    assert outcomes(sweep) == {}
    clock.now += 1
    running.step(0)
    assert reasons(sweep) == {0: "budget"}


def test_an_epoch_that_does_not_end_has_the_grace_after_that(tmp_path):
    sweep, clock = make_sweep(tmp_path), Clock()
    conductor = conduct(sweep, Budget(wall=1.0), clock=clock, grace=20.0)
    conductor.next_trial()
    clock.now = 3600.0
    assert conductor.stop_trials() == []
    clock.now = 3600 + 360 + 19
    assert conductor.stop_trials() == []
    clock.now += 1
    assert conductor.stop_trials() == [0]
    message = "stopped when the budget was spent, before its first epoch had ended"
    assert read_json(sweep.trial(0).outcome)["message"] == message


def test_an_interrupted_trial_ends_where_it_is_when_the_budget_is_spent(tmp_path):
    sweep, clock = make_sweep(tmp_path), Clock()
    budget = Budget(hours=1 / 3600)
    running = Executor(conduct(sweep, Budget(hours=2.0), clock=clock))
    running.fill()
    running.step(0)
    conductor = open_conductor(sweep, make_plan(tmp_path, budget=budget))
    assert reasons(sweep) == {0: "budget"}
    assert not conductor.has_work()


def test_a_larger_budget_takes_them_up_from_their_checkpoints(tmp_path):
    sweep, clock = make_sweep(tmp_path), Clock()
    Executor(conduct(sweep, Budget(hours=5 / 3600), clock=clock)).run()
    assert outcomes(sweep) == {0: "completed", 1: "pruned"}
    assert epochs_trained(sweep)[1] == [1]
    same = conduct(sweep, Budget(hours=5 / 3600), clock=clock)
    assert not same.has_work()
    conductor = conduct(sweep, Budget(hours=9 / 3600, trials=2), clock=clock)
    Executor(conductor).run()
    assert outcomes(sweep) == {0: "completed", 1: "pruned", 2: "completed"}
    assert read_json(sweep.trial(2).origin) == {"name": None, "retry_of": 1, "from_epoch": 1}
    assert epochs_trained(sweep)[2] == [1, 2, 3, 4]
    assert conductor.study.trials[1].user_attrs["outcome"] == CUT


def test_what_is_taken_up_may_be_cut_again_but_what_somebody_asked_for_is_not(tmp_path):
    sweep, clock = make_sweep(tmp_path), Clock()
    Executor(conduct(sweep, Budget(hours=1 / 3600), clock=clock)).run()
    Executor(conduct(sweep, Budget(hours=2 / 3600), clock=clock)).run()
    assert reasons(sweep) == {0: "budget", 1: "budget"}
    conductor = conduct(sweep, Budget(hours=2 / 3600), clock=clock)
    queue_retries(conductor.study, trials=[1])
    Executor(conductor).run()
    assert outcomes(sweep)[2] == "completed"


def test_a_share_of_a_gpu_counts_as_such(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = conduct(sweep, Budget(gpu_hours=3 / 3600), clock=Clock())
    conductor.slots.gpu = 0.5
    Executor(conductor).run()
    assert outcomes(sweep) == {0: "completed", 1: "pruned"}
    assert conductor.study.trials[0].user_attrs["gpu_seconds"] == 2.0
    assert read_json(sweep.trial(0).origin)["gpu"] == 0.5


def test_the_time_that_a_sweep_lies_still_does_not_count(tmp_path):
    sweep = make_sweep(tmp_path)
    write_heartbeat(sweep, state="stopped", ran=100.0)
    with hold(sweep) as lease:
        assert 100.0 <= lease.ran() < 110.0
        lease.ran_before = 500.0
    assert 500.0 <= read_json(sweep.heartbeat)["ran"] < 510.0
