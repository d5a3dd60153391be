"""Who is best, by how much, and how far a sweep has come."""

import subprocess
import sys

import pytest
from results_fixtures import add_outcome, add_summary, copy_sweep, finish, make_sweep

from mrisynth.errors import NotFoundError
from mrisynth.results.index import build_index, read_index
from mrisynth.results.leaderboard import gains, leaderboard, pareto_front, ranking, status, top
from mrisynth.results.store import write_yaml


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return finish(make_sweep(tmp_path_factory.mktemp("results")))


@pytest.fixture
def sweep(tmp_path, template):
    return copy_sweep(template, tmp_path)


def test_completed_trials_come_first_then_pruned_ones_then_the_rest(sweep):
    assert [row["trial"] for row in top(read_index(sweep))] == [1, 0, 2, 3, 4, 5, 6]


def test_the_ranking_is_the_order_of_the_rows(sweep):
    index = read_index(sweep)
    for metric in (None, "mae"):
        assert ranking(index, metric) == [row["trial"] for row in top(index, by=metric)]


def test_a_pruned_trial_never_passes_a_completed_one(sweep):
    add_summary(sweep.trial(2), (90.0, 90.0), epochs=2)
    rows = top(build_index(sweep), k=3)
    assert [(row["trial"], row["outcome"], row["rung"]) for row in rows] == [
        (1, "completed", None),
        (0, "completed", None),
        (2, "pruned", 2),
    ]


def test_a_metric_to_minimize_ranks_the_other_way(sweep):
    index = read_index(sweep)
    assert [row["trial"] for row in top(index, by="mae", k=2)] == [1, 0]
    index.manifest["metrics"]["mae"]["direction"] = "maximize"
    assert [row["trial"] for row in top(index, by="mae", k=2)] == [0, 1]


def test_an_unknown_metric_is_named_with_the_known_ones(sweep):
    with pytest.raises(NotFoundError, match=r"'psnrr'.*mae, psnr, ssim"):
        top(read_index(sweep), by="psnrr")


def test_gains_are_taken_subject_by_subject(sweep):
    # Trial 0 has psnr 25 and 24; identity 20 and 22; matched 22 and 23.
    assert gains(read_index(sweep), "psnr", [0])[0] == {
        "identity": {"mean": 3.5, "minimum": 2.0},
        "matched": {"mean": 2.0, "minimum": 1.0},
    }


def test_a_gain_is_positive_where_less_is_better(sweep):
    gained = gains(read_index(sweep), "mae", [0])[0]["identity"]
    assert gained["mean"] == pytest.approx((1 / 20 - 1 / 25 + 1 / 22 - 1 / 24) / 2)
    assert gained["minimum"] == pytest.approx(1 / 22 - 1 / 24)


def test_the_leaderboard_holds_the_baselines(sweep):
    board = leaderboard(read_index(sweep), k=1)
    assert board["baselines"]["identity"]["psnr"] == 21.0
    assert board["baselines"]["matched"]["psnr"] == 22.5
    assert (board["by"], board["direction"], board["schema_version"]) == ("psnr", "maximize", 1)
    assert board["trials"][0]["values"]["psnr"] == 26.5
    assert board["trials"][0]["config"]["generator"] == "unet"


def test_the_status_counts_outcomes_and_budget(sweep):
    found = status(sweep)
    assert found["trials"] == {
        "completed": 2,
        "pruned": 1,
        "continued": 0,
        "rejected": 1,
        "lost": 1,
        "running": 1,
        "queued": 1,
    }
    # Lost trials are not counted; seconds are 6 + 6 + 3 + 1.5 + 1.5 + 3.
    assert found["budget"]["trials"] == {"spent": 4, "limit": 10}
    assert found["budget"]["hours"] == {"spent": 21 / 3600, "limit": 2.0}
    assert (found["state"], found["sweep"], found["best"]["trial"]) == ("running", "first", 1)


def test_there_is_no_best_trial_before_one_completed(tmp_path):
    found = status(make_sweep(tmp_path, trials=False))
    assert (found["best"], found["state"]) == (None, "queued")


def test_a_pruned_trial_is_not_the_best(sweep):
    for number in (0, 1):
        sweep.trial(number).outcome.unlink()
    assert status(sweep, build_index(sweep))["best"] is None


def test_the_pareto_front_holds_what_nothing_beats(sweep):
    write_yaml(sweep.sweep_yaml, {"objectives": {"psnr": "maximize", "mae": "maximize"}})
    assert pareto_front(build_index(sweep)) == {0, 1}  # mae falls where psnr rises
    write_yaml(sweep.sweep_yaml, {"objectives": {"psnr": "maximize", "mae": "minimize"}})
    assert pareto_front(build_index(sweep)) == {1}


def test_the_front_is_told_where_there_are_several_objectives_the_best_by_the_first_one_first(sweep):
    assert (status(sweep)["front"], leaderboard(read_index(sweep))["front"]) == ([], [])
    write_yaml(sweep.sweep_yaml, {"objectives": {"psnr": "maximize", "mae": "maximize"}})
    index = build_index(sweep)
    assert (status(sweep, index)["front"], leaderboard(index)["front"]) == ([1, 0], [1, 0])
    assert status(sweep, index)["objectives"] == {"psnr": "maximize", "mae": "maximize"}


def test_only_the_pareto_front_can_be_asked_for(sweep):
    assert [row["trial"] for row in top(read_index(sweep), pareto=True)] == [1]


def test_equal_scores_are_ordered_by_number(sweep):
    add_summary(sweep.trial(0), (26.0, 27.0), epochs=4)
    add_outcome(sweep.trial(0), message="Completed.")
    assert [row["trial"] for row in top(build_index(sweep), k=2)] == [0, 1]


def test_status_and_top_do_without_pandas_which_takes_as_long_as_they(sweep):
    code = (
        "import sys; from pathlib import Path; from mrisynth.results.index import open_index; "
        "from mrisynth.results.leaderboard import leaderboard, status; from mrisynth.results.store import open_sweep; "
        "sweep = open_sweep(Path(sys.argv[1])); status(sweep); leaderboard(open_index(sweep), k=3); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, str(sweep.root)]
    modules = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.split()
    assert "mrisynth.results.leaderboard" in modules
    assert "pandas" not in modules
