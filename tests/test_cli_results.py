"""What `status`, `top` and the end of a sweep tell of its results."""

import pytest
from results_fixtures import make_sweep

from mrisynth.cli import sweep as driving
from mrisynth.results.index import build_index, write_index
from mrisynth.results.store import write_heartbeat, write_yaml


@pytest.mark.parametrize(
    ("budget", "option"),
    [
        ({"trials": 4}, "--max-trials N"),
        ({"trials": 100, "hours": 21 / 3600}, "--max-hours N"),
        ({"trials": 100, "wall": 61 / 3600}, "--max-wall TIME"),
        ({"trials": 100}, None),
        ({}, None),
    ],
)
def test_what_a_finished_search_can_be_given_more_of_is_what_it_has_spent(tmp_path, capsys, budget, option):
    made = make_sweep(tmp_path)
    write_yaml(made.sweep_yaml, {"objectives": {"psnr": "maximize"}, "budget": budget})
    write_heartbeat(made, state="done", ran=60.0)
    write_index(made, build_index(made))
    driving._say_how_to_search_on(made.root, "")
    told = "".join(capsys.readouterr().err.split("\n"))
    assert told.endswith(option) if option else told == ""


def test_status_and_top_show_every_objective_and_the_front(tmp_path, command):
    made = make_sweep(tmp_path)
    write_yaml(made.sweep_yaml, {"objectives": {"psnr": "maximize", "mae": "maximize"}, "budget": {"trials": 10}})
    write_index(made, build_index(made))
    told = command("status", made.root).stdout
    assert "best by psnr: trial 1, psnr 26.5, mae" in told
    assert "Pareto front of psnr and mae, which no other trial beats in all: trials 1, 0 (2)" in told
    assert "spent: 4 of 10 trials, 21 core-seconds (no limit)" in told
    top = command("top", made.root).stdout
    assert "completed, on the front" in top
    assert "trials 1, 0 (2); these alone:" in top
    assert "these alone" not in command("top", made.root, "--pareto").stdout
