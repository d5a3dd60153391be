"""The drill that users run on their own storage: real kills over every kind of it, objectives and pruning.

Every kind is done once but Ray's control store: `benchmarks/resume_drill.py --mixed` does all, in every combination.
With the driver's five kills of `test_resume_drill.py` (journal, one objective, pruning) there are fifteen in all.
"""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from search_fixtures import make_toy

from mrisynth.errors import UsageError
from mrisynth.files import read_json, write_bytes, write_json
from mrisynth.results.store import append_record
from mrisynth.search.drill.checks import find_damage
from mrisynth.search.drill.kills import KINDS, draw_kills, kills_of
from mrisynth.search.drill.toy import begun_file
from mrisynth.search.drill.toy_sweep import ToySettings, open_toy_study
from mrisynth.search.drill.verdict import remove_drill, run_drill
from mrisynth.search.driver import resume_sweep
from mrisynth.search.storage.database import parse_storage

ONE, TWO = {"psnr": "maximize"}, {"psnr": "maximize", "ssim": "maximize"}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (ToySettings("journal", TWO, pruning=False), ["ask", "worker"]),
        (ToySettings("sqlite", ONE, pruning=False), ["outcome", "raylet"]),
        (ToySettings("sqlite", TWO, pruning=True), ["index", "memory"]),
        (ToySettings("postgresql", ONE, pruning=True), ["epoch", "reconciled"]),
        (ToySettings("postgresql", TWO, pruning=False), ["random", "resuming"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value.storage,
)
def test_whatever_is_killed_nothing_is_lost_or_doubled(tmp_path, settings, kinds, request):
    if settings.storage == "postgresql":
        settings = replace(settings, storage=request.getfixturevalue("postgres").new_database())
    settings = replace(settings, trials=9, wait=0.1)
    verdict = run_drill(tmp_path, settings=settings, kills=kills_of(kinds), say=print)
    assert verdict.damage == []
    assert [strike.what for strike in verdict.strikes] == [
        KINDS[kind].words for kind in kinds if KINDS[kind].words not in " ".join(verdict.skipped)
    ]
    assert all("memory" in reason for reason in verdict.skipped)
    assert "lost" not in verdict.trials
    # Where other programs take memory meanwhile, Ray's monitor may end the same trial in all its attempts.
    assert verdict.trials.get("rejected", 0) <= ("memory" in kinds)
    assert ("pruned" in verdict.trials) == settings.pruning


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_prints_a_verdict_and_leaves_nothing(tmp_path):
    words = ["doctor", "--resume-drill", "--results", tmp_path, "--kills", 1, "--seed", 4, "--json"]
    command = [sys.executable, "-m", "mrisynth", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["schema_version"] == 1
    assert answer["passed"]
    assert len(answer["kills"]) == 1
    assert sum(answer["trials"].values()) == answer["budget"]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def whole(tmp_path):
    """A toy sweep that ran undisturbed, without Ray."""
    return make_toy(tmp_path, trials=4)


def test_a_sweep_that_ran_undisturbed_has_no_damage(whole):
    assert find_damage(whole) == []


def test_what_is_lost_or_doubled_is_found(whole):
    study = open_toy_study(whole)
    study.ask()
    append_record(begun_file(whole.trial(1)), {"epoch": 1, "attempt": "another", "pid": 1})
    append_record(whole.events, {"kind": "told", "number": 2})
    whole.trial(3).outcome.unlink()
    (whole.trials / "9").mkdir()
    write_bytes(whole.index / "manifest.json", b"{}")
    damage = "; ".join(find_damage(whole))
    for sentence in (
        "1 trials of the study are RUNNING",
        "trial 1 began epoch 1 after epoch 4",
        "the study was told of trial 2 2 times",
        "trial 3 has no outcome",
        "there are folders of the trials [0, 1, 2, 3, 4, 9]",
        "the index cannot be read",
    ):
        assert sentence in damage


@pytest.mark.parametrize(("kind", "found"), [("completed", True), ("rejected", False)])
def test_the_epoch_in_which_a_trial_was_given_up_is_no_damage(whole, kind, found):
    outcome = whole.trial(1).outcome
    write_json(outcome, {**read_json(outcome), "outcome": kind})
    append_record(begun_file(whole.trial(1)), {"epoch": 5, "attempt": "another", "pid": 1})
    assert ("trial 1 began epochs 1 to 5 and has 4" in find_damage(whole)) == found


def test_a_budget_that_is_not_met_is_found(tmp_path):
    sweep = make_toy(tmp_path, trials=3, stop_after=2)
    assert "the study counts 2 trials instead of 3" in find_damage(sweep)


def test_every_kind_of_kill_is_drawn_before_any_comes_twice():
    drawn = [kill.words for kill in draw_kills(len(KINDS) + 3, seed=7)]
    assert set(drawn[: len(KINDS)]) == {kill.words for kill in KINDS.values()}
    assert drawn == [kill.words for kill in draw_kills(len(KINDS) + 3, seed=7)]


def test_on_a_cluster_only_what_is_the_drills_own_is_killed():
    victims = {kill.victim for kill in draw_kills(40, seed=1, cluster=True)}
    assert victims == {"driver", "worker"}


@pytest.mark.slow
def test_a_study_in_a_database_is_removed_too(tmp_path, postgres):
    import optuna

    url = parse_storage(postgres.new_database())
    sweep = make_toy(tmp_path, trials=2, storage=url)
    assert optuna.get_all_study_names(url)
    remove_drill(sweep.root)
    assert optuna.get_all_study_names(url) == []
    assert not sweep.root.exists()


def test_a_toy_sweep_is_not_resumed_as_if_it_were_a_real_one(whole):
    with pytest.raises(UsageError, match="is what a drill left"):
        resume_sweep(whole.root)
