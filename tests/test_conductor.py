import math
import os
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from search_fixtures import (
    Executor,
    StubConfig,
    epochs_trained,
    kinds,
    make_plan,
    make_sweep,
    open_conductor,
    outcomes,
    suggest_stub,
    suggestions,
)

from mrisynth.errors import InvalidInputError
from mrisynth.files import read_json, write_json
from mrisynth.results.constraints import bounds
from mrisynth.results.control import request_stop, stop_requests
from mrisynth.search.attempts import Failure, FencedError, valid_attempt
from mrisynth.search.conductor import EXCUSED, LOSSES_IN_A_ROW, Conductor
from mrisynth.search.drill.toy import score
from mrisynth.search.feasibility import Infeasible
from mrisynth.search.lease import LeaseLostError
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.settings import Budget
from mrisynth.search.study import open_study, queue_retries


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Nothing here cuts the power: what is written need not reach the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def run(tmp_path, *, slots=1, name="sweep", **changes):
    sweep = make_sweep(tmp_path, name)
    conductor = open_conductor(sweep, make_plan(tmp_path, **changes))
    Executor(conductor, slots).run()
    return sweep, conductor


def test_a_search_ends_with_its_budget(tmp_path):
    sweep, conductor = run(tmp_path)
    assert outcomes(sweep) == dict.fromkeys(range(6), "completed")
    assert [trial.state for trial in conductor.study.trials] == [TrialState.COMPLETE] * 6
    assert [trial.value for trial in conductor.study.trials] == [
        pytest.approx(score(config, 4)) for config in suggestions(sweep).values()
    ]


def test_core_hours_are_a_budget_too(tmp_path):
    # Each trial has 4 epochs of a second: the third is begun after 8 seconds, and ended after its first epoch.
    sweep, _ = run(tmp_path, budget=Budget(hours=9 / 3600))
    assert outcomes(sweep) == {0: "completed", 1: "completed", 2: "pruned"}


def test_a_larger_budget_goes_on_where_the_smaller_ended(tmp_path):
    sweep, _ = run(tmp_path, budget=Budget(trials=2))
    before = suggestions(sweep)
    Executor(open_conductor(sweep, make_plan(tmp_path, budget=Budget(trials=5)))).run()
    whole, _ = run(tmp_path, name="whole", budget=Budget(trials=5))
    assert len(before) == 2
    assert suggestions(sweep) == suggestions(whole)


def test_nobody_may_begin_while_the_live_ones_fill_the_budget(tmp_path):
    conductor = open_conductor(make_sweep(tmp_path), make_plan(tmp_path, budget=Budget(trials=1)))
    only = conductor.next_trial()
    assert conductor.next_trial() == "wait"
    conductor.lose(only.number)
    successor = conductor.next_trial()
    assert successor.number == 1
    conductor.hear(1, {"rejected": "diverged", "message": "epoch 1: the training loss 'l1' is nan"})
    assert conductor.next_trial() == "finished"


def test_a_rejection_is_told_pruned_with_its_reason(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path))
    number = conductor.next_trial().number
    assert conductor.hear(number, {"rejected": "out of memory", "message": "it needs 90 GB"})
    stored = read_json(sweep.trial(number).outcome)
    assert (stored["outcome"], stored["reason"], stored["message"]) == ("rejected", "out of memory", "it needs 90 GB")
    assert conductor.study.trials[number].state == TrialState.PRUNED


def test_a_score_that_is_no_number_is_a_divergence(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path))
    number = conductor.next_trial().number
    record = {"epoch": 4, "final": True, "scores": {"psnr": math.nan}, "seconds": 1, "pid": 1, "host": "h"}
    assert conductor.hear(number, record)
    assert read_json(sweep.trial(number).outcome)["reason"] == "diverged"


def test_an_infeasible_suggestion_is_rejected_and_the_next_one_runs(tmp_path):
    def suggest(trial):
        config = suggest_stub(trial)
        if trial.number == 0:
            raise Infeasible("a patch of 32 is too small for 6 levels", config.dump())
        return config

    sweep, _ = run(tmp_path, suggest=suggest, budget=Budget(trials=3))
    assert outcomes(sweep) == {0: "rejected", 1: "completed", 2: "completed", 3: "completed"}
    assert read_json(sweep.trial(0).outcome)["reason"] == "infeasible"
    assert "x" in suggestions(sweep)[0]


def test_a_search_with_a_tight_constraint_still_trains_as_many_as_its_budget_says(tmp_path):
    def suggest(trial):
        config = suggest_stub(trial)
        if (beyond := trial.params["x"] - 0.1) > 0:
            raise Infeasible("x is too large", config.dump(), {"x <= 0.1": beyond})
        return config

    sweep, conductor = run(tmp_path, suggest=suggest, budget=Budget(trials=8))
    ended = list(outcomes(sweep).values())
    assert ended.count("completed") == 8
    assert ended.count("rejected") > 0
    assert not conductor.has_work()
    refused = [trial for trial in conductor.study.trials if trial.user_attrs["outcome"] == "rejected: infeasible"]
    assert all(trial.constraints["x <= 0.1"] == pytest.approx(trial.params["x"] - 0.1) for trial in refused)
    assert queue_retries(conductor.study, ["rejected"]) == []  # the same again would be the same again


def test_a_search_that_suggests_nothing_feasible_any_more_ends_with_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr("mrisynth.search.queue.INFEASIBLE_IN_A_ROW", 5)

    def suggest(trial):
        config = suggest_stub(trial)
        if trial.number >= 2:
            raise Infeasible("too large", config.dump(), {"x <= 0": 1.0})
        return config

    said = []
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path, suggest=suggest))
    conductor.progress = said.append
    Executor(conductor).run()
    assert list(outcomes(sweep).values()) == ["completed"] * 2 + ["rejected"] * 5
    assert [each for each in said if "the last 5 suggestions were all infeasible" in each] == [said[-1]]
    again = open_conductor(sweep, make_plan(tmp_path, suggest=suggest, budget=Budget(trials=9)))
    assert not again.has_work()


def test_a_completed_trial_that_breaks_a_constraint_says_so_and_optuna_is_told(tmp_path):
    sweep = make_sweep(tmp_path)
    wanted = bounds({"seam": {"max": 1.5}, "ssim": {"min": 0.5}})
    conductor = open_conductor(sweep, make_plan(tmp_path, bounds=wanted))
    number = conductor.next_trial().number
    scores = {"psnr": 30.0, "seam": 1.8, "ssim": 0.6}
    assert conductor.hear(number, {"epoch": 4, "final": True, "scores": scores, "seconds": 1, "pid": 1, "host": "h"})
    stored = read_json(sweep.trial(number).outcome)
    assert (stored["outcome"], stored["message"]) == ("completed", "psnr 30; breaks seam <= 1.5")
    told = conductor.study.trials[number]
    assert told.state == TrialState.COMPLETE
    assert told.constraints == {"seam <= 1.5": pytest.approx(0.2), "ssim >= 0.5": pytest.approx(-0.2)}


def test_pruned_trials_stop_on_their_rung(tmp_path):
    sweep, conductor = run(tmp_path, slots=2, rungs=(0.25, 0.5), keep=0.34, budget=Budget(trials=10))
    ended = outcomes(sweep)
    trained = epochs_trained(sweep)
    pruned = [number for number, outcome in ended.items() if outcome == "pruned"]
    assert all(read_json(sweep.trial(number).outcome)["rung"] == len(trained[number]) in (1, 2) for number in pruned)
    assert {len(trained[number]) for number, outcome in ended.items() if outcome == "completed"} == {4}
    assert sum(map(len, trained.values())) < 0.6 * 10 * 4
    states = {number: conductor.study.trials[number].state for number in pruned}
    assert set(states.values()) == {TrialState.PRUNED}


def test_the_best_one_is_never_pruned(tmp_path):
    sweep, _ = run(tmp_path, rungs=(0.25, 0.5), keep=0.34, budget=Budget(trials=20))
    best = max(suggestions(sweep), key=lambda number: score(suggestions(sweep)[number], 4))
    assert outcomes(sweep)[best] == "completed"


def test_families_are_pruned_apart(tmp_path):
    # The gans score far less than any cnn; the best of them goes on all the same.
    def suggest(trial):
        gan = trial.number % 2 == 1
        return StubConfig({"x": trial.suggest_float("x", 0.0, 1.0) + (5 if gan else 0), "gan": gan})

    sweep, _ = run(tmp_path, suggest=suggest, rungs=(0.25,), keep=0.34, budget=Budget(trials=8))
    completed = {number % 2 for number, outcome in outcomes(sweep).items() if outcome == "completed"}
    assert completed == {0, 1}


def test_named_trials_run_first_whole_and_as_they_are(tmp_path):
    named = {"fits": StubConfig({"x": 0.9, "kind": "plain", "bend": 0}), "odd": StubConfig({"x": 7.0, "epochs": 8})}
    points = {"fits": {"x": 0.9, "kind": "plain"}, "odd": {}}
    sweep, conductor = run(tmp_path, named=named, points=points, rungs=(0.25,), keep=0.34, budget=Budget(trials=6))
    assert [read_json(sweep.trial(number).origin)["name"] for number in range(3)] == ["fits", "odd", None]
    assert suggestions(sweep)[1] == {"epochs": 8, "x": 7.0}
    assert epochs_trained(sweep)[0] == [1, 2, 3, 4]
    assert epochs_trained(sweep)[1] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert conductor.study.trials[0].params == {"x": 0.9, "kind": "plain"}
    assert conductor.study.trials[1].params == {}


def test_a_space_without_parameters_runs_its_named_trials_only(tmp_path):
    named = {"a": StubConfig({"x": 0.1}), "b": StubConfig({"x": 0.2})}
    sweep, _ = run(tmp_path, named=named, searches=False, budget=Budget(trials=50))
    assert outcomes(sweep) == {0: "completed", 1: "completed"}


def test_the_quota_of_a_family_goes_on_whatever_it_scores(tmp_path):
    sweep, _ = run(tmp_path, rungs=(0.25,), keep=0.1, quota=4, budget=Budget(trials=8))
    assert [outcomes(sweep)[number] for number in range(4)] == ["completed"] * 4
    assert "pruned" in outcomes(sweep).values()


def test_several_objectives_are_pruned_together(tmp_path):
    objectives = {"psnr": "maximize", "ssim": "maximize"}
    sweep, conductor = run(tmp_path, objectives=objectives, rungs=(0.25,), keep=0.34, budget=Budget(trials=15))
    assert set(outcomes(sweep).values()) == {"completed", "pruned"}
    pruned = next(number for number, outcome in outcomes(sweep).items() if outcome == "pruned")
    outcome = read_json(sweep.trial(pruned).outcome)
    assert outcome["values"].keys() == objectives.keys()
    assert "were not among the best 34% of the cnn trials by non-dominated rank" in outcome["message"]
    assert len(conductor.study.trials[pruned].user_attrs["rung:0"]["values"]) == 2
    done = next(trial for trial in conductor.study.trials if trial.state == TrialState.COMPLETE)
    assert done.values == [pytest.approx(done.values[1] * 40), done.values[1]]


def test_a_rung_whose_record_was_lost_is_judged_by_the_history(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path, rungs=(0.25,), keep=0.34))
    executor = Executor(conductor, slots=2)
    executor.fill()
    ranked = sorted(executor.running, key=lambda number: -score(suggestions(sweep)[number], 1))
    executor.step(ranked[0])
    next(executor.running[ranked[1]])  # the worker died after its checkpoint, before anyone heard of the epoch
    assert conductor.hear(ranked[1], next(executor.running[ranked[1]]))
    assert read_json(sweep.trial(ranked[1]).outcome)["rung"] == 1


def test_a_verdict_is_not_taken_back(tmp_path):
    sweep = make_sweep(tmp_path)
    plan = make_plan(tmp_path, rungs=(0.25,), keep=0.34)
    executor = Executor(open_conductor(sweep, plan), slots=6)
    executor.fill()
    worst_first = sorted(executor.running, key=lambda number: score(suggestions(sweep)[number], 1))
    for number in worst_first:
        executor.step(number)
    # From the third on each was the best until then and went on; asked again after a restart, with all rivals known, it
    # still does.
    again = open_conductor(sweep, plan)
    assert set(again.live) == set(worst_first[2:])


def test_a_sweep_whose_workers_always_fail_gives_up(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path, budget=Budget(trials=50)))
    for _ in range(LOSSES_IN_A_ROW):
        number = conductor.next_trial().number
        token = (sweep.trial(number).root / "fence").read_text(encoding="utf-8")
        write_json(sweep.trial(number).attempts / f"{token}.json", {"error": "OSError: the disk is gone"})
        conductor.fail_attempt(number)
        conductor.lose(number)
    assert conductor.next_trial() == "finished"
    assert "the disk is gone" in str(conductor.failure)


def test_a_failed_attempt_loses_its_right_to_write(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path))
    number = conductor.next_trial().number
    before = (sweep.trial(number).root / "fence").read_text(encoding="utf-8")
    conductor.fail_attempt(number)
    assert (sweep.trial(number).root / "fence").read_text(encoding="utf-8") != before


def test_a_trial_that_is_given_up_too_early_goes_on_as_long_as_it_has_retries(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path, budget=Budget(trials=1)))
    conductor.retries = 2
    number = conductor.next_trial().number
    for _ in range(conductor.retries):
        conductor.fail_attempt(number)
        conductor.lose(number)
        assert conductor.next_trial().number == number
        assert conductor.next_trial() == "wait"
    conductor.fail_attempt(number)
    conductor.lose(number)
    assert outcomes(sweep) == {number: "lost"}
    assert conductor.next_trial().number == number + 1


@pytest.mark.parametrize("reason", ["worker", "node", "storage"])
def test_a_lost_trial_has_a_reason(tmp_path, reason):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path))
    number = conductor.next_trial().number
    conductor.fail_attempt(number, Failure(reason, f"the {reason} is gone"))
    conductor.lose(number)
    stored = read_json(sweep.trial(number).outcome)
    assert (stored["outcome"], stored["reason"], stored["message"]) == ("lost", reason, f"the {reason} is gone")
    assert conductor.study.trials[number].state == TrialState.FAIL
    assert f"lost: {reason}: the {reason} is gone" in sweep.trial(number).log.read_text(encoding="utf-8")


def test_a_trial_whose_workers_are_killed_for_memory_is_rejected(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path))
    number = conductor.next_trial().number
    conductor.fail_attempt(number, Failure("out of memory", "Ray's memory monitor ended its worker"))
    conductor.lose(number)
    assert read_json(sweep.trial(number).outcome)["reason"] == "out of memory"
    assert conductor.study.trials[number].state == TrialState.PRUNED


def test_a_trial_that_ends_because_of_another_one_uses_up_no_retry_but_not_for_ever(tmp_path):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path))
    number = conductor.next_trial().number
    for _ in range(EXCUSED):
        conductor.fail_attempt(number, Failure("node", "another one took the memory", excused=True))
        conductor.lose(number)
        assert conductor.next_trial().number == number
    conductor.fail_attempt(number, Failure("node", "another one took the memory", excused=True))
    conductor.lose(number)
    assert outcomes(sweep) == {number: "lost"}


OUT_OF_MEMORY = {"rejected": "out of memory", "message": "CUDA out of memory"}


def test_out_of_memory_on_a_share_of_a_gpu_it_goes_on_once_with_a_whole_one(tmp_path):
    sweep = make_sweep(tmp_path)
    executor = Executor(open_conductor(sweep, make_plan(tmp_path, budget=Budget(trials=1))))
    executor.conductor.slots.gpu = 0.25
    executor.fill()
    executor.step(0)
    before = valid_attempt(sweep.trial(0))
    assert executor.conductor.hear(0, OUT_OF_MEMORY)  # the worker is free
    assert valid_attempt(sweep.trial(0)) != before
    assert outcomes(sweep) == {}
    again = open_conductor(sweep, executor.conductor.plan)  # the driver is killed: the larger share is in the study
    again.slots.gpu = 0.25
    assignment = again.next_trial()
    assert (assignment.number, assignment.gpu) == (0, 1.0)
    assert again.hear(0, OUT_OF_MEMORY)
    assert outcomes(sweep) == {0: "rejected"}
    assert again.next_trial() == "finished"


@pytest.mark.parametrize("gpu", [0.0, 1.0, 2.0])
def test_out_of_memory_without_a_larger_share_to_give_it_is_rejected(tmp_path, gpu):
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, make_plan(tmp_path))
    conductor.slots.gpu = gpu
    number = conductor.next_trial().number
    assert conductor.hear(number, OUT_OF_MEMORY)
    assert outcomes(sweep) == {number: "rejected"}


def test_a_trial_is_stopped_on_request_with_the_scores_it_has(tmp_path):
    sweep = make_sweep(tmp_path)
    executor = Executor(open_conductor(sweep, make_plan(tmp_path, rungs=(0.25,))))
    executor.fill()
    executor.step(0)
    executor.step(0)
    request_stop(sweep, 0)
    assert executor.conductor.stop_trials() == [0]
    stored = read_json(sweep.trial(0).outcome)
    assert (stored["outcome"], stored["reason"]) == ("pruned", "stopped")
    assert stored["message"] == "stopped on request after epoch 2"
    assert stored["values"] == {"psnr": score(suggestions(sweep)[0], 1)}
    assert executor.conductor.study.trials[0].state == TrialState.PRUNED
    with pytest.raises(FencedError):  # its worker had not heard of it
        next(executor.running[0])
    assert executor.conductor.hear(0, {"epoch": 3})
    assert stop_requests(sweep) == []


def test_a_request_to_stop_what_has_ended_is_dropped(tmp_path):
    sweep, conductor = run(tmp_path, budget=Budget(trials=1))
    request_stop(sweep, 0)
    request_stop(sweep, 77)
    assert conductor.stop_trials() == []
    assert stop_requests(sweep) == []


def test_a_trial_of_a_stopped_sweep_is_ended_when_it_goes_on(tmp_path):
    sweep = make_sweep(tmp_path)
    plan = make_plan(tmp_path, budget=Budget(trials=2))
    open_conductor(sweep, plan).next_trial()
    request_stop(sweep, 0)
    Executor(open_conductor(sweep, plan)).run()
    assert outcomes(sweep) == {0: "pruned", 1: "completed"}
    assert "before its first epoch had ended" in read_json(sweep.trial(0).outcome)["message"]


def test_a_pruned_trial_runs_to_its_end_when_it_is_asked_for(tmp_path):
    sweep, conductor = run(tmp_path, rungs=(0.25,), keep=0.34, budget=Budget(trials=8))
    continued, new = {trial.user_attrs.get("retry_of") for trial in conductor.study.trials}, len(outcomes(sweep))
    pruned = next(n for n, outcome in outcomes(sweep).items() if outcome == "pruned" and n not in continued)
    assert queue_retries(conductor.study, trials=[pruned]) == [pruned]
    again = Executor(open_conductor(sweep, conductor.plan))
    again.run()
    assert outcomes(sweep)[new] == "completed"
    assert read_json(sweep.trial(new).origin) == {"name": None, "retry_of": pruned, "from_epoch": 1}
    assert epochs_trained(sweep)[new] == [1, 2, 3, 4]
    assert again.conductor.study.trials[new].user_attrs["seconds"] == 3.0  # the first epoch was the old trial's


def test_what_was_not_pruned_is_not_tried_again_as_if_it_had_been(tmp_path):
    _, conductor = run(tmp_path, budget=Budget(trials=1))
    with pytest.raises(InvalidInputError, match="trial 0 is completed, not pruned"):
        queue_retries(conductor.study, trials=[0])
    with pytest.raises(InvalidInputError, match="no trial 4; the last one is 0"):
        queue_retries(conductor.study, trials=[4])
    assert len(conductor.study.trials) == 1


def test_who_has_lost_the_sweep_changes_nothing_any_more(tmp_path):
    sweep = make_sweep(tmp_path)
    plan = make_plan(tmp_path)
    lost = []

    def check():
        if lost:
            raise LeaseLostError("another driver has it")

    study = open_study(sweep.journal, objectives=plan.objectives, sampler=SeededSampler("tpe", 1), before_write=check)
    conductor = Conductor(sweep, study, plan, check=check)
    executor = Executor(conductor)
    executor.fill()
    record = next(executor.running[0])
    lost.append(True)
    before = {path: path.read_bytes() for path in sweep.root.rglob("*") if path.is_file()}
    actions = [
        conductor.next_trial,
        lambda: conductor.hear(0, record),
        lambda: conductor.fail_attempt(0),
        lambda: conductor.lose(0),
        study.ask,
        lambda: queue_retries(study, ["lost"]) or study.enqueue_trial({"x": 0.5}),
    ]
    for action in actions:
        with pytest.raises(LeaseLostError):
            action()
    assert {path: path.read_bytes() for path in sweep.root.rglob("*") if path.is_file()} == before


def test_a_retry_runs_beyond_the_budget_and_does_not_count(tmp_path):
    sweep, conductor = run(tmp_path, budget=Budget(trials=2))
    lost = conductor.study.trials[0]
    conductor.study.enqueue_trial(lost.params, user_attrs={"retry_of": 0})
    Executor(open_conductor(sweep, conductor.plan)).run()
    assert suggestions(sweep)[2] == suggestions(sweep)[0]
    assert read_json(sweep.trial(2).origin)["retry_of"] == 0
    Executor(open_conductor(sweep, replace(conductor.plan, budget=Budget(trials=3)))).run()
    assert sorted(outcomes(sweep)) == [0, 1, 2, 3]


def test_events_tell_the_story(tmp_path):
    sweep, _ = run(tmp_path, budget=Budget(trials=1))
    assert kinds(sweep) == ["reconciled", "ask", "suggested", "launched", *["epoch"] * 4, "outcome", "told"]
