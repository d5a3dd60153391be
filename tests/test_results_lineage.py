"""Where a trial comes from, and in what it differs from others."""

import shlex

from results_fixtures import make_sweep, make_trial

from mrisynth.files import write_json
from mrisynth.results.differences import differing, nearest
from mrisynth.results.lineage import attempts, repeat_command, resume_points, store_of
from mrisynth.results.store import SweepDirectory


def row(trial, generator="unet", **settings):
    return {"trial": trial, "generator": generator, **{f"param.{path}": value for path, value in settings.items()}}


def test_only_what_differs_is_told():
    rows = [row(0, l1=1.0, l2=0.0, depth=None), row(1, l1=1.0, l2=2.0, depth=3)]
    assert differing(rows) == {"l2": [0.0, 2.0], "depth": [None, 3]}
    assert differing(rows[:1]) == differing([]) == {}
    assert differing([row(0, l1=1.0), row(1, l2=2.0)]) == {"l1": [1.0, None], "l2": [None, 2.0]}


def test_the_nearest_has_the_same_generator_if_any_and_the_fewest_differences():
    one = row(0, l1=1.0, l2=0.0)
    far, near, other = row(1, l1=2.0, l2=3.0), row(2, l1=2.0, l2=0.0), row(3, "dcgan", l1=1.0, l2=0.0)
    assert nearest(one, [one, far, near, other]) is near
    assert nearest(one, [one, other]) is other
    assert nearest(one, [one]) is None


def test_attempts_are_told_in_order_and_those_that_took_it_up_again_are_points_of_resuming(tmp_path):
    trial = make_trial(SweepDirectory(tmp_path / "sweep"), 0, epochs=4)
    for old in trial.attempts.glob("*.json"):
        old.unlink()
    trial.attempts.mkdir(exist_ok=True)
    first = {"host": "a", "address": "10.0.0.1", "started": "2026-01-01T00:00:00+00:00", "from_epoch": 0}
    write_json(trial.attempts / "z.json", {**first, "error": "OSError: gone"})
    write_json(
        trial.attempts / "y.json", {**first, "host": "b", "started": "2026-01-02T00:00:00+00:00", "from_epoch": 3}
    )
    (trial.attempts / "x.json").write_text("torn", encoding="utf-8")
    assert [(each.host, each.error) for each in attempts(trial)] == [
        ("a (10.0.0.1)", "OSError: gone"),
        ("b (10.0.0.1)", ""),
    ]
    assert resume_points(trial) == [3]


def test_the_command_that_repeats_a_trial_names_its_configuration_and_the_store(tmp_path):
    sweep = make_sweep(tmp_path / "my results")
    assert store_of(sweep) is None
    assert shlex.split(repeat_command(sweep, 1))[3:5] == ["--data", "STORE"]
    write_json(
        sweep.lineage, {"schema_version": 1, "command": ["mrisynth", "sweep", "cnn", "--data", "s3://b/my store"]}
    )
    words = shlex.split(repeat_command(sweep, 1))
    assert words[:2] == ["mrisynth", "train"]
    assert words[2] == str(sweep.trial(1).config)
    assert words[3:] == ["--data", "s3://b/my store", "--out", "first-1-again"]
