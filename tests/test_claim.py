"""A study is its sweep's: not a copy's, and no empty one in its place."""

import shutil

import pytest
from search_fixtures import Executor, make_plan, make_sweep, open_conductor

from mrisynth.errors import InvalidInputError
from mrisynth.results.store import SweepDirectory
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.settings import Budget
from mrisynth.search.storage.claim import claim, study_name
from mrisynth.search.study import open_study


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'shared.db'}"


def search(sweep, storage, trials=2):
    plan = make_plan(sweep.root.parent, budget=Budget(trials=trials))
    conductor = open_conductor(sweep, plan, storage=storage, name=study_name(sweep, storage))
    claim(conductor.study, sweep, storage)
    Executor(conductor).run()
    return conductor.study


def test_sweeps_of_one_database_have_a_study_each(tmp_path, url):
    studies = [search(make_sweep(tmp_path, name), url, trials) for name, trials in (("one", 1), ("two", 2))]
    assert [len(study.trials) for study in studies] == [1, 2]


def test_a_copy_is_refused_while_its_original_is_there_and_a_moved_folder_goes_on(tmp_path, url):
    sweep = make_sweep(tmp_path, "one")
    search(sweep, url)
    copy = SweepDirectory(tmp_path / "archive" / "one")
    shutil.copytree(sweep.root, copy.root)
    with pytest.raises(InvalidInputError, match=f"is a copy of {sweep.root}"):
        search(copy, url)
    shutil.rmtree(sweep.root)
    assert len(search(copy, url, trials=3).trials) == 3
    assert search(copy, url, trials=3).user_attrs["home"]["folder"] == str(copy.root)


def test_a_link_to_the_folder_is_no_copy(tmp_path, url):
    sweep = make_sweep(tmp_path, "one")
    search(sweep, url)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert len(search(SweepDirectory(link / "one"), url, trials=3).trials) == 3


@pytest.mark.parametrize("storage", ["journal", "database"])
def test_an_empty_study_in_the_place_of_a_lost_one_is_refused(tmp_path, url, storage):
    storage = url if storage == "database" else storage
    sweep = make_sweep(tmp_path, "one")
    search(sweep, storage)
    (tmp_path / "shared.db").unlink(missing_ok=True)
    shutil.rmtree(sweep.journal.parent, ignore_errors=True)
    with pytest.raises(InvalidInputError, match=r"has 2 trials and its study .* has none"):
        claim(open_empty(sweep, storage), sweep, storage)
    assert len(sweep.trial_directories()) == 2


def open_empty(sweep, storage):
    objectives = make_plan(sweep.root.parent).objectives
    name = study_name(sweep, storage)
    return open_study(sweep.journal, objectives=objectives, sampler=SeededSampler("tpe", 1), storage=storage, name=name)
