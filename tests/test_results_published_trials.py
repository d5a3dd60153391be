"""The published trials' settings, told without torch, against what the program itself makes of them."""

import pytest
from results_fixtures import make_trial

from mrisynth.results.differences import differing, nearest
from mrisynth.results.index import Indexer
from mrisynth.results.published import NAMES
from mrisynth.results.published_trials import complete, not_run
from mrisynth.results.store import SweepDirectory, read_yaml, write_yaml
from mrisynth.shipped import search_spaces
from mrisynth.training.config import TrialConfig, json_schema

CONFIGS = read_yaml(search_spaces() / "published.yaml")["trials"]
SCHEMA = json_schema()


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_completes_a_configuration_as_the_program_does(name):
    assert complete(CONFIGS[name], SCHEMA) == TrialConfig.parse(CONFIGS[name]).dump()


def test_only_those_that_did_not_run_are_told():
    assert [row["name"] for row in not_run(SCHEMA, NAMES[2:])] == list(NAMES[:2])
    assert not_run(SCHEMA, NAMES) == []


def test_without_a_schema_nothing_is_compared():
    assert not_run({}, ()) == []


@pytest.mark.parametrize("name", ["forest", "dcsrn-perceptual", "unet-6"])
def test_a_trial_with_the_settings_of_a_published_one_does_not_differ_from_it(tmp_path, name):
    sweep = SweepDirectory(tmp_path / "sweep")
    write_yaml(sweep.sweep_yaml, {"schema_version": 1, "name": "sweep", "objectives": {"psnr": "maximize"}})
    for number, each in enumerate(dict.fromkeys([name, "unet-7", "fcn-1"])):  # beside others, whose columns it lacks
        write_yaml(make_trial(sweep, number, epochs=0).config, TrialConfig.parse(CONFIGS[each]).dump())
    row = Indexer(sweep, metrics={}, searched=[]).build().trials.to_pylist()[0]
    found = nearest(row, not_run(SCHEMA, ()))
    assert found is not None
    assert (found["name"], differing([row, found])) == (name, {})
