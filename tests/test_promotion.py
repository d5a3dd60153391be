"""Trials that a rung stopped, and that go on later because they are among the best there by then."""

import os

import pytest
from search_fixtures import (
    Executor,
    StubOfFamily,
    epochs_trained,
    make_plan,
    make_sweep,
    open_conductor,
    outcomes,
    suggest_stub,
    suggestions,
)

from mrisynth.files import read_json
from mrisynth.results.index import build_index
from mrisynth.results.insight.judged import judge
from mrisynth.results.insight.survival import rung_survival
from mrisynth.results.leaderboard import status
from mrisynth.search.drill.toy import score
from mrisynth.search.driver import count_outcomes
from mrisynth.search.settings import Budget
from mrisynth.search.study import queue_retries


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Nothing here cuts the power: what is written need not reach the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def run(tmp_path, *, slots=1, **changes):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path, **changes))
    Executor(conductor, slots).run()
    return sweep, conductor


def suggest_both_families(trial):
    return StubOfFamily({**suggest_stub(trial).values, "family": ["cnn", "gan"][trial.number % 2]})


def promotions(conductor):
    """The trials that went on with others, each with the other."""
    marks = [(trial.number, trial.user_attrs) for trial in conductor.study.trials]
    return {number: each["retry_of"] for number, each in marks if "promoted" in each}


def test_they_go_on_where_they_stopped_and_count_once(tmp_path):
    sweep, conductor = run(tmp_path, rungs=(0.25, 0.5), keep=0.34, budget=Budget(trials=12))
    found = promotions(conductor)
    assert len(found) > 1
    for number, origin in found.items():
        epoch = read_json(sweep.trial(origin).outcome)["rung"]
        assert outcomes(sweep)[origin] == "pruned"
        assert suggestions(sweep)[number] == suggestions(sweep)[origin]
        assert read_json(sweep.trial(number).origin) == {"name": None, "retry_of": origin, "from_epoch": epoch}
        trained = len(epochs_trained(sweep)[number]) - epoch
        assert conductor.study.trials[number].user_attrs["seconds"] == trained
    assert len(set(found.values())) == len(found)
    assert len(conductor.study.trials) == 12 + len(found)
    assert sum(count_outcomes(conductor.study).values()) == 12


@pytest.mark.parametrize("slots", [1, 3])
def test_the_best_of_each_rung_go_on_whenever_they_came(tmp_path, slots):
    rungs = (0.25, 0.5)
    sweep, conductor = run(tmp_path, slots=slots, rungs=rungs, keep=0.34, budget=Budget(trials=20))
    epochs, origins = epochs_trained(sweep), promotions(conductor)
    for rung, epoch in enumerate((1, 2)):
        key = f"rung:{rung}"
        stood = {t.number: t.user_attrs[key]["values"][0] for t in conductor.study.trials if key in t.user_attrs}
        went_on = {number for number in stood if len(epochs[number]) > epoch} | set(origins.values())
        best = sorted(stood, key=stood.__getitem__, reverse=True)[: int(0.34 * len(stood))]
        assert best
        assert set(best) <= went_on


def test_of_a_family_with_few_trials_the_best_goes_on_in_the_end(tmp_path):
    sweep, conductor = run(tmp_path, rungs=(0.25,), keep=0.1, budget=Budget(trials=3))
    assert list(outcomes(sweep).values()) == ["pruned"] * 3 + ["completed"]
    scores = {number: score(suggestions(sweep)[number], 1) for number in range(3)}
    assert promotions(conductor) == {3: max(scores, key=scores.get)}


def test_each_family_has_one_in_the_end(tmp_path):
    sweep, conductor = run(tmp_path, rungs=(0.25,), keep=0.1, budget=Budget(trials=4), suggest=suggest_both_families)
    whole = [number for number, epochs in epochs_trained(sweep).items() if len(epochs) == 4]
    origins = [conductor.study.trials[promotions(conductor)[number]] for number in whole]
    assert {origin.user_attrs["rung:0"]["family"] for origin in origins} == {"cnn", "gan"}


def test_nobody_goes_on_when_the_time_is_spent(tmp_path):
    # The stub's epochs take a second each.
    sweep, conductor = run(tmp_path, rungs=(0.25,), keep=0.1, budget=Budget(trials=9, hours=3 / 3600))
    assert outcomes(sweep) == dict.fromkeys(range(3), "pruned")
    assert promotions(conductor) == {}


def test_in_the_last_tenth_of_the_time_each_family_gets_one_before_new_trials_begin(tmp_path):
    # The stub's epochs take a second each: after 18 trials of two epochs nine tenths are gone, and the other two epochs
    # of the best of both families use up what is left.
    budget = Budget(trials=99, hours=40 / 3600)
    sweep, conductor = run(tmp_path, rungs=(0.5,), keep=0.1, budget=budget, suggest=suggest_both_families)
    assert list(outcomes(sweep).values()) == ["pruned"] * 18 + ["completed"] * 2
    scores = {number: score(suggestions(sweep)[number], 2) for number in range(18)}
    best = [max(numbers, key=scores.get) for numbers in (range(0, 18, 2), range(1, 18, 2))]
    assert sorted(promotions(conductor).values()) == sorted(best)


def test_what_was_tried_again_by_hand_does_not_go_on_once_more(tmp_path):
    plan = {"rungs": (0.25,), "keep": 0.1, "budget": Budget(trials=9, hours=3 / 3600)}
    sweep, conductor = run(tmp_path, **plan)
    scores = {number: score(suggestions(sweep)[number], 1) for number in range(3)}
    best = max(scores, key=scores.get)
    assert queue_retries(conductor.study, trials=[best]) == [best]
    Executor(open_conductor(sweep, make_plan(tmp_path, **{**plan, "budget": Budget(trials=3)}))).run()
    assert outcomes(sweep) == {0: "pruned", 1: "pruned", 2: "pruned", 3: "completed"}


def test_people_see_which_trials_were_continued_and_statistics_count_them_once(tmp_path):
    sweep, conductor = run(tmp_path, rungs=(0.25,), keep=0.34, budget=Budget(trials=12))
    index = build_index(sweep)
    told = dict(zip(index.trials["trial"].to_pylist(), index.trials["outcome"].to_pylist(), strict=True))
    continued = set(promotions(conductor).values())
    assert {number for number, outcome in told.items() if outcome == "continued"} == continued
    assert status(sweep, index)["trials"]["continued"] == len(continued)
    assert status(sweep, index)["budget"]["trials"]["spent"] == 12
    judged = judge(index, "psnr")
    assert len(judged) == 12
    assert not continued & set(index.trials["trial"].to_numpy()[judged.rows].tolist())
    begun, rung, end = rung_survival(index)
    assert (begun.reached, rung.reached, rung.reached - rung.pruned) == (12, 12, end.reached)
