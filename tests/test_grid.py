"""The grid of a space: every point once, in a trial each, whatever interrupts."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from search_fixtures import Executor, make_plan, make_sweep, open_conductor, outcomes, suggestions

from mrisynth.errors import InvalidInputError
from mrisynth.search.domains import Choice, Constant, Range
from mrisynth.search.drill.toy import ToyConfig
from mrisynth.search.grid import MOST_POINTS, grid_in_order, grid_points, grid_values
from mrisynth.search.settings import Budget
from mrisynth.search.space import Space, parse_space
from mrisynth.search.study import ask

CONDITIONAL = """\
sampler: grid
fixed: {epochs: 3, patchgan.filters: 4}
search:
  generator: [dcgan, unet]
  dcgan.kernel_size: [3, 5]
  unet.filters: {int: [4, 6]}
  adversary: [none, patchgan]
  patchgan.layers: {int: [1, 2]}
  losses.l1: {float: [0.5, 1.5], step: 0.5}
"""


def grid_space(search: str = "", budget: str = "") -> Space:
    return parse_space(f"{budget}{CONDITIONAL}{search}", "grid.yaml")


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (Constant(3), (3,)),
        (Choice(("a", "b")), ("a", "b")),
        (Range(4, 6), (4, 5, 6)),
        (Range(4, 8, step=2), (4, 6, 8)),
        (Range(0.0, 0.3, step=0.1), pytest.approx((0.0, 0.1, 0.2, 0.3))),
        (Range(0.0, 1.0), None),
        (Range(4, 64, log=True), None),
    ],
)
def test_a_domain_has_values_where_it_has_few(domain: Any, values: Any) -> None:
    found = grid_values(domain)
    assert (found if found is None else tuple(found)) == values


def test_steps_never_lead_beyond_the_end() -> None:
    assert max(grid_values(Range(0.1, 0.7, step=0.1)) or ()) == 0.7


def test_every_point_comes_once_and_has_what_exists_there() -> None:
    points = list(grid_points(grid_space().parameters))
    assert len(points) == (2 + 3) * (1 + 2) * 3  # kernel sizes and filters; no adversary, or layers; weights
    assert len({json.dumps(point, sort_keys=True) for point in points}) == len(points)
    assert all(("dcgan.kernel_size" in point) is (point["generator"] == "dcgan") for point in points)
    assert all(("patchgan.layers" in point) is (point["adversary"] == "patchgan") for point in points)


def test_a_study_takes_every_point_as_it_is() -> None:
    space = grid_space()
    study = optuna.create_study()
    points = grid_in_order(space.parameters, 0)
    for point in points:
        ask(study, points)
        trial = study.ask()
        space.parameters.suggest(trial)
        assert trial.params == point


def test_a_list_of_lists_is_enumerated_as_the_study_has_it() -> None:
    text = "sampler: grid\nsearch:\n  generator: [fcn]\n  fcn.filters: [[8, 8, 8], [16, 16, 16]]\n"
    points = grid_in_order(parse_space(text, "grid.yaml").parameters, 0)
    assert sorted(point["fcn.filters"] for point in points) == ["[16,16,16]", "[8,8,8]"]


def test_the_seed_orders_a_grid_and_changes_nothing_else() -> None:
    parameters = grid_space().parameters
    one, same, other = (grid_in_order(parameters, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert sorted(map(str, one)) == sorted(map(str, other))


def test_a_grid_needs_no_budget_and_takes_one() -> None:
    assert grid_space().budget.trials is None
    assert grid_space(budget="budget: {trials: 4}\n").budget.trials == 4


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "  losses.l2: {float: [0, 1]}\n",
            "line 10, column 3: losses.l2 is a range from 0 to 1, of which a grid has no list",
        ),
        ("  losses.l2: {float: [0.1, 1], log: true}\n", "write a list of choices"),
        ("  seed: {int: [0, 100000]}\n", f"line 1, column 1: the grid has more than {MOST_POINTS:,} points"),
    ],
)
def test_a_grid_without_end_is_refused_with_its_line(line: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        grid_space(line)
    assert sentence in str(caught.value)


POINTS = tuple({"x": x / 4, "kind": kind} for x in range(4) for kind in ("plain", "bent"))


def suggest(trial: optuna.Trial) -> ToyConfig:
    x = trial.suggest_float("x", 0.0, 1.0, step=0.25)
    return ToyConfig({"x": x, "kind": trial.suggest_categorical("kind", ["plain", "bent"])})


def toy_grid(tmp_path: Path, **changes: Any) -> Any:
    return make_plan(tmp_path, suggest=suggest, grid=POINTS, **{"budget": Budget(), **changes})


def tried(sweep: Any) -> list[dict[str, Any]]:
    return [{"x": config["x"], "kind": config["kind"]} for config in suggestions(sweep).values()]


def test_a_grid_ends_a_sweep_by_itself(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    Executor(open_conductor(sweep, toy_grid(tmp_path), sampler="grid"), slots=3).run()
    assert tried(sweep) == list(POINTS)
    assert set(outcomes(sweep).values()) == {"completed"}


def test_a_grid_goes_on_where_it_was(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    Executor(open_conductor(sweep, toy_grid(tmp_path, budget=Budget(trials=3)), sampler="grid")).run()
    conductor = open_conductor(sweep, toy_grid(tmp_path), sampler="grid")
    ask(conductor.study, POINTS)  # queued by a driver that was killed before it began
    Executor(conductor).run()
    assert tried(sweep) == list(POINTS)
    assert not open_conductor(sweep, toy_grid(tmp_path), sampler="grid").has_work()


def test_a_half_asked_point_is_completed(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    conductor = open_conductor(sweep, toy_grid(tmp_path), sampler="grid")
    ask(conductor.study, POINTS)
    conductor.study.ask().suggest_float("x", 0.0, 1.0, step=0.25)
    Executor(open_conductor(sweep, toy_grid(tmp_path), sampler="grid")).run()
    assert tried(sweep) == list(POINTS)


def test_named_trials_come_before_the_grid(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    plan = toy_grid(tmp_path, named={"mine": ToyConfig({"x": 0.9, "kind": "plain"})}, points={"mine": {}})
    Executor(open_conductor(sweep, plan, sampler="grid")).run()
    assert tried(sweep) == [{"x": 0.9, "kind": "plain"}, *POINTS]
