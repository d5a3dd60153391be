"""Bounds on scores and sizes: what breaks them, and what follows for the order of trials."""

import math

import pytest
from results_fixtures import copy_sweep, finish, make_sweep

from mrisynth.results.constraints import Bound, bounds, broken, excesses
from mrisynth.results.index import build_index
from mrisynth.results.leaderboard import breaking, pareto_front, status, top
from mrisynth.results.store import read_yaml, write_yaml


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return finish(make_sweep(tmp_path_factory.mktemp("results")))


def constrained(tmp_path, template, constraints):
    """The fixture's sweep (psnr 24.5 and 26.5 of trials 0 and 1, with 1,000 and 2,000 parameters) with constraints."""
    sweep = copy_sweep(template, tmp_path)
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), "constraints": constraints})
    return sweep, build_index(sweep)


def test_bounds_are_read_as_spaces_and_sweeps_hold_them():
    assert bounds({"seam": {"max": 1.5}, "ssim": {"min": 0.5, "max": None}}) == (
        Bound("seam", "max", 1.5),
        Bound("ssim", "min", 0.5),
    )
    assert bounds(None) == bounds({"seam": 3, "mae": {"max": "x"}}) == ()


def test_bounds_in_words():
    assert str(Bound("seam", "max", 1.5)) == "seam <= 1.5"
    assert str(Bound("generator_parameters", "max", 2e6)) == "generator_parameters <= 2,000,000"
    assert str(Bound("ssim", "min", 0.5)) == "ssim >= 0.5"


def test_how_far_beyond_a_bound_a_value_is():
    assert Bound("seam", "max", 1.5).excess(1.8) == pytest.approx(0.2)
    assert Bound("seam", "max", 1.5).excess(1.5) == 0
    assert Bound("psnr", "min", 30).excess(27) == pytest.approx(0.1)
    assert Bound("psnr", "min", 30).excess(33) == pytest.approx(-0.1)
    assert Bound("seam", "max", 0).excess(0.3) == pytest.approx(0.3)
    assert Bound("seam", "max", 1).excess(math.inf) == 1e6  # JSON and Optuna take no infinity


def test_a_metric_that_is_not_known_breaks_its_bound_and_a_size_that_there_is_not_does_not():
    wanted = bounds({"seam": {"max": 1}, "adversary_parameters": {"max": 10}})
    assert broken({"seam": math.nan}, wanted) == broken({}, wanted) == ["seam <= 1"]
    assert excesses({"seam": 1.0, "adversary_parameters": None}, wanted) == {
        "seam <= 1": 0.0,
        "adversary_parameters <= 10": 0.0,
    }


def test_the_best_trial_is_one_that_keeps_to_the_constraints(tmp_path, template):
    sweep, index = constrained(tmp_path, template, {"generator_parameters": {"max": 1500}})
    rows = top(index)
    assert [row["trial"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]  # else 1 is better
    assert [row["breaks"] for row in rows[:3]] == [[], ["generator_parameters <= 1,500"], []]
    assert status(sweep, index)["best"]["trial"] == 0
    assert pareto_front(index) == {0}


def test_where_every_completed_trial_breaks_one_the_best_of_them_says_so(tmp_path, template):
    sweep, index = constrained(tmp_path, template, {"ssim": {"min": 0.9}, "mae": {"max": 1}})
    assert breaking(index) == {0: ["ssim >= 0.9"], 1: ["ssim >= 0.9"]}
    best = status(sweep, index)["best"]
    assert (best["trial"], best["breaks"]) == (1, ["ssim >= 0.9"])
    assert pareto_front(index) == {1}


def test_an_index_without_constraints_breaks_none(template):
    index = build_index(template)
    del index.manifest["constraints"]
    assert breaking(index) == {}


def test_what_is_infeasible_does_not_count_in_the_budget(tmp_path, template):
    sweep, index = constrained(tmp_path, template, {})
    spent = status(sweep, index)["budget"]["trials"]["spent"]
    reasons = ["infeasible" if each == "diverged" else each for each in index.trials["reason"].to_pylist()]
    at = index.trials.column_names.index("reason")
    changed = type(index)(
        index.manifest, index.trials.set_column(at, "reason", [reasons]), index.history, index.subjects
    )
    assert status(sweep, changed)["budget"]["trials"]["spent"] == spent - 1
