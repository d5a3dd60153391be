"""Forecasts: costs that are fitted, sweeps that are run through in thought, and what is kept of them."""

import numpy as np
import pytest
from prepared_fixtures import make_store
from search_fixtures import SPACE, make_sweep, open_conductor

from mrisynth.errors import InvalidInputError
from mrisynth.files import read_json, write_json
from mrisynth.results.forecast import keep_forecast, note_end, read_forecast, tell_missed, write_forecast
from mrisynth.results.index import build_index
from mrisynth.results.report.facts import head
from mrisynth.results.store import read_yaml, write_heartbeat, write_yaml
from mrisynth.search.driver import plan_of
from mrisynth.search.forecast import forecast as module
from mrisynth.search.forecast.costs import RECORD_BYTES, Branch, Course, branch_of, fit
from mrisynth.search.forecast.forecast import Forecast, Range, explain_room
from mrisynth.search.forecast.resolved import resolve
from mrisynth.search.forecast.simulation import Rules, simulate
from mrisynth.search.settings import Budget
from mrisynth.search.space import load_space, parse_space, sample_configs, with_overrides
from mrisynth.training.config import TrialConfig
from mrisynth.training.probe import Measured, ProbeJob, probe
from mrisynth.training.work import count_work

COURSE = Course("cnn", 10, begin=1.0, epoch=1.0, scored=2.0, saved=0.0, disk=100.0)


def run(courses, *, budget, slots=1, **rules):
    return simulate(courses, Rules(budget, slots, **rules), np.random.default_rng(0))


def test_what_grows_with_the_work_is_told_from_what_each_step_costs():
    rows = np.array([[10.0, 100.0], [10.0, 200.0], [10.0, 400.0]])
    assert fit(rows, rows @ [0.02, 0.003]) == pytest.approx([0.02, 0.003])
    assert fit(rows, rows @ [0.0, 0.003]) == pytest.approx([0.0, 0.003])
    assert (fit(rows, np.array([3.0, 2.0, 1.0])) >= 0).all()


def test_of_one_measurement_all_grows_with_the_work():
    assert fit(np.array([[10.0, 100.0]]), np.array([5.0])) == pytest.approx([0.0, 0.05])


def measured(seconds, **changes):
    times = {"begin": 0.1, "epoch": seconds, "evaluation": 0.5, "publish": 0.25, "checkpoint": 0.01}
    values = {"wall": times, "cpu": times, "start": (2.0, 1.5), "share": 1.0, "checkpoint_bytes": 1000}
    values |= {"image_bytes": 2000, "patches": 64, "pixels": 900, "memory": 5 * 10**8, "gpu_memory": None}
    return Measured(**{**values, **changes})


def test_a_trial_between_two_that_were_measured_costs_something_between():
    small, middle, large = (
        TrialConfig.parse({"generator": "dcsrn", "dcsrn": {"growth": growth}, "patches": {"size": 32}})
        for growth in (4, 8, 16)
    )
    branch = Branch("dcsrn", ((small, count_work(small)), (large, count_work(large))), (measured(1.0), measured(4.0)))

    def course(config):
        return branch.course(config, count_work(config), clock="wall")

    assert 1.0 < course(middle).epoch < course(large).epoch
    assert course(large).scored == pytest.approx(0.75)
    more = TrialConfig.parse({**large.dump(), "patches": {"size": 32, "per_subject": 600}})
    assert course(more).epoch == pytest.approx(2 * course(large).epoch, rel=0.1)


def test_trials_run_side_by_side_and_one_after_another():
    assert run([COURSE] * 4, budget=Budget(trials=4)).seconds == 4 * 13
    assert run([COURSE] * 4, budget=Budget(trials=4), slots=2).seconds == 2 * 13
    done = run([COURSE] * 4, budget=Budget(trials=4), slots=8)
    assert (done.seconds, done.worker_seconds, done.trials, done.pruned) == (13, 52, 4, 0)
    assert done.disk > 4 * 100


def test_rungs_save_what_the_pruned_trials_would_have_trained():
    rules = {"rungs": (0.1,), "keep": 0.25}
    pruned = run([COURSE] * 40, budget=Budget(trials=40), **rules)
    assert 20 <= pruned.pruned <= 30  # a quarter goes on, and some that were among the best of the first few
    went_on = 40 - pruned.pruned
    again = pruned.worker_seconds - (40 * (1 + 3) + went_on * 11)  # who goes on later begins once more
    assert 1 <= again <= went_on
    assert pruned.disk == pytest.approx((40 + again) * 100 + (40 + 9 * went_on) * 2 * RECORD_BYTES)
    whole = run([COURSE] * 40, budget=Budget(trials=40), whole=40, **rules)
    assert whole.pruned == 0


def test_a_sampler_that_learns_suggests_what_rungs_let_pass():
    rules = {"rungs": (0.1, 0.3), "keep": 0.3, "budget": Budget(trials=40)}
    seeds = range(30)
    drawn = [simulate([COURSE] * 40, Rules(slots=1, **rules), np.random.default_rng(seed)) for seed in seeds]
    learned = [
        simulate([COURSE] * 40, Rules(slots=1, **rules, unlearned=10), np.random.default_rng(seed)) for seed in seeds
    ]
    assert np.mean([run.worker_seconds for run in learned]) > np.mean([run.worker_seconds for run in drawn])
    # What it learns costs what that costs: which is more uncertain where trials differ.
    courses = [COURSE._replace(epoch=1.0 + 9 * (place % 2)) for place in range(40)]
    spread = [
        np.std(
            [
                simulate(courses, Rules(slots=1, budget=Budget(), unlearned=n), np.random.default_rng(s)).seconds
                for s in seeds
            ]
        )
        for n in (None, 10)
    ]
    assert spread[0] < 1e-6 < spread[1]


def test_a_trial_is_scored_before_its_rung_too():
    late = run([COURSE] * 2, budget=Budget(trials=2), rungs=(0.5,), keep=0.1)
    # Both stop after epoch 5, scored twice, and the better one goes on for five more, scored once.
    assert late.worker_seconds == 2 * (1 + 5 + 2 * 2) + (1 + 5 + 2)


def test_a_budget_of_time_ends_it():
    assert run([COURSE] * 99, budget=Budget(hours=30 / 3600)).trials == 3
    assert run([COURSE] * 99, budget=Budget(hours=30 / 3600), cores=2.0).trials == 2
    assert run([COURSE] * 99, budget=Budget(wall=30 / 3600), slots=2).trials == 6


def test_in_the_last_tenth_of_the_time_a_stopped_trial_goes_on():
    # Nobody is among the best hundredth, and each stops after four seconds: nine do until 36 s, then one trains on.
    ended = run([COURSE] * 99, budget=Budget(hours=40 / 3600), rungs=(0.1,), keep=0.01)
    assert (ended.trials, ended.pruned, ended.worker_seconds) == (9, 8, 36 + (1 + 9 + 2))


def test_of_thousands_of_trials_a_thousand_are_run_through(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 10)
    monkeypatch.setattr(module, "RUNS", 1)
    config = TrialConfig.parse({"generator": "dcsrn", "patches": {"size": 32}, "epochs": 3})
    known = [(config, count_work(config))]
    branches = {"dcsrn": Branch("dcsrn", tuple(known), (measured(1.0),))}
    rules = Rules(Budget(trials=100), slots=1)
    few, many = (
        module._simulate(known, branches, rules, clock="wall", first=0, count=count, seed=0)[0] for count in (10, 100)
    )
    assert (few.trials, many.trials) == (10, 100)
    assert many.seconds == pytest.approx(10 * few.seconds)


def test_a_probe_trains_for_real_and_writes_into_no_store(tmp_path):
    make_store(tmp_path / "store")
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "store").rglob("*") if path.suffix == ".arrow")
    configs = sample_configs(parse_space(SPACE, "small.yaml"), 2)
    job = ProbeJob(tuple(config.dump() for config in configs), tmp_path / "store", tmp_path / "scratch", seconds=0.05)
    first, second = probe(job)
    assert first.wall.keys() == first.cpu.keys() == {"begin", "epoch", "evaluation", "publish", "checkpoint"}
    assert min(*first.wall.values(), *second.wall.values()) > 0
    assert min(first.checkpoint_bytes, first.image_bytes, first.memory) > 1000
    after = sorted(path.relative_to(tmp_path) for path in (tmp_path / "store").rglob("*") if path.suffix == ".arrow")
    assert after == before


def test_every_value_says_where_it_comes_from():
    space = with_overrides(load_space("smoke"), ["epochs=3", "budget.wall=1"])
    rows = {name: (value, origin) for name, value, origin in resolve(space, sample_configs(space, 20))}
    assert rows["epochs"] == ("fixed to 3", "--set epochs")
    assert rows["budget.wall"][1] == "--set budget.wall"
    assert rows["patches.size"][1] == "smoke.yaml, line 8, column 13"
    assert rows["generator"] == ("one of dcgan, unet, dcsrn", "smoke.yaml, line 12, column 3")
    assert rows["optimizer.beta1"] == ("0.9", "default")
    assert rows["budget.trials"] == ("6", "smoke.yaml, line 3, column 10")
    named = load_space("published")
    assert {name: origin for name, _, origin in resolve(named, [])}["trials.fcn-1"].startswith("published.yaml, line")


def make_forecast(*, disk=1e6, memory=1e9):
    part = Range(100.0, 80.0, 120.0)
    sizes = Range(disk, disk, disk)
    return Forecast(part, part, sizes, memory, 3, 0, 100.0, 1, [], {}, "2026-11-26T00:00:00+00:00")


def test_a_sweep_without_room_is_refused(tmp_path):
    assert explain_room(make_forecast(), tmp_path / "results") == (None, None)
    refusal, _ = explain_room(make_forecast(disk=1e18), tmp_path / "results")
    assert "make room" in refusal
    _, warning = explain_room(make_forecast(memory=1e15), tmp_path)
    assert "--max-concurrent" in warning


def test_the_first_trials_are_those_of_the_sweep_itself(tmp_path):
    space = parse_space(SPACE, "small.yaml")
    conductor = open_conductor(make_sweep(tmp_path), plan_of(space, tmp_path, seed=7), seed=7)
    numbers = [conductor.next_trial().config for _ in range(3)]
    assert [config.dump() for config in module.first_trials(space, 7)] == numbers


def test_branches_are_told_apart_by_their_architectures():
    configs = sample_configs(load_space("smoke"), 40)
    assert {branch_of(config) for config in configs} <= {
        f"{generator}{adversary}" for generator in ("dcgan", "unet", "dcsrn") for adversary in ("", " + patchgan")
    }


def test_nothing_that_could_be_tried_is_a_mistake(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 2)
    monkeypatch.setattr(module, "_measure", lambda *_, **__: ({}, {"unet": "unet: its process was killed"}))
    with pytest.raises(InvalidInputError, match="nothing of this space could be tried: unet"):
        module.forecast(load_space("smoke"), store=tmp_path, progress=lambda _: None)


def test_afterwards_it_says_what_was_missed(tmp_path):
    sweep = make_sweep(tmp_path)
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), "budget": {"trials": 3}})
    assert read_forecast(sweep) is None
    write_forecast(sweep, make_forecast().dump())
    assert read_forecast(sweep)["took"] is None
    note_end(sweep, ran=115.0)
    note_end(sweep, ran=999.0)
    found = read_forecast(sweep)
    assert found["took"]["seconds"] == 115.0
    assert found["missed"]["seconds"] == pytest.approx(0.15)
    assert tell_missed(found).startswith("forecast 2 min, took 2 min (+15 %); forecast 1 MB, took ")
    assert ("time and disk", tell_missed(found)) in head(sweep, build_index(sweep))


def test_a_larger_budget_is_not_held_against_it(tmp_path):
    sweep = make_sweep(tmp_path)
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), "budget": {"trials": 3}})
    write_forecast(sweep, make_forecast().dump())
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), "budget": {"trials": 30}})
    note_end(sweep, ran=900.0)
    assert read_forecast(sweep)["missed"] is None


@pytest.mark.parametrize("outcomes", [["completed"] * 3, ["pruned", "pruned", "completed"]])
def test_without_a_probe_the_first_trials_make_one(tmp_path, outcomes):
    sweep = make_sweep(tmp_path)
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), "budget": {"trials": 10}})
    write_heartbeat(sweep, state="running", ran=30.0)
    for number, outcome in enumerate(outcomes):
        keep_forecast(sweep, build_index(sweep))
        assert not (sweep.root / "forecast.json").exists()
        end_trial(sweep, number, outcome)
    keep_forecast(sweep, build_index(sweep))
    kept = read_json(sweep.root / "forecast.json")
    assert kept["by"] == "the first 3 trials"
    assert kept["seconds"]["median"] == pytest.approx(100.0)


def test_trials_that_rungs_stopped_make_none_alone(tmp_path):
    sweep = make_sweep(tmp_path)
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), "budget": {"trials": 10}})
    write_heartbeat(sweep, state="running", ran=30.0)
    for number in range(5):
        end_trial(sweep, number, "pruned")
    keep_forecast(sweep, build_index(sweep))
    assert not (sweep.root / "forecast.json").exists()


def end_trial(sweep, number, outcome):
    folder = sweep.trial(number)
    folder.root.mkdir(parents=True)
    write_json(folder.outcome, {"outcome": outcome})
    write_json(folder.summary, {"seconds": 10.0, "epochs": 1})
