"""The driver, with trials that train in this process in place of Ray."""

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
from prepared_fixtures import SPLITS, make_store
from search_fixtures import SPACE, Executor, epochs_trained, kinds, make_plan, make_search, make_sweep, outcomes

from mrisynth.errors import InvalidInputError, MrisynthError, NoCompletedTrialError, NotFoundError, UsageError
from mrisynth.files import read_json, write_json
from mrisynth.results.index import read_index
from mrisynth.results.store import SweepDirectory, read_shown, read_yaml, sweep_state, timestamp, write_yaml
from mrisynth.search import driver
from mrisynth.search import lease as lease_module
from mrisynth.search.driver import drive, resume_sweep, start_sweep
from mrisynth.search.launch import Again, NewSweep
from mrisynth.search.lease import LeaseLostError, hold
from mrisynth.search.settings import Budget
from mrisynth.search.space import parse_space, with_overrides


def space(**overrides):
    return with_overrides(parse_space(SPACE, "small.yaml"), overrides)


@contextmanager
def no_session(address):
    yield


@pytest.fixture(autouse=True)
def without_ray(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(driver, "ray_session", no_session)
    monkeypatch.setattr(driver, "run_trials", run_here)


def run_here(conductor, index, *, capacity, should_stop, grace):
    from mrisynth.search.worker import train_trial

    Executor(conductor, train=train_trial).run()


def run_stub(conductor, index, *, capacity, should_stop, grace):
    Executor(conductor).run()


def refuse_to_run(conductor, index, *, capacity, should_stop, grace):
    pytest.fail("Ray was started")


@pytest.fixture
def store(tmp_path):
    make_store(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def start(store, results, name="mine", **overrides):
    return start_sweep(NewSweep(space(**overrides), store, results, name, seed=3))


@pytest.mark.slow
def test_a_sweep_leaves_everything_that_its_readers_need(store, results):
    ended = start(store, results)
    sweep = SweepDirectory(results / "mine")
    assert (ended.state, ended.signal, ended.trials) == ("done", None, {"completed": 3})
    assert sweep_state(sweep) == "done"
    asked = read_yaml(sweep.sweep_yaml)
    assert (asked["name"], asked["seed"], asked["data_key"], asked["budget"]) == (
        "mine",
        3,
        "data",
        {"trials": 3, "hours": None, "gpu_hours": None, "wall": None},
    )
    assert sweep.space_yaml.read_text(encoding="utf-8") == SPACE
    lineage = read_json(sweep.lineage)
    assert lineage["subjects"]["ant"] == {"key": "key-of-ant", "split": "train"}
    assert {"mrisynth", "torch", "optuna", "ray"} <= set(lineage["versions"])
    assert sorted(path.name for path in sweep.slices.iterdir()) == ["cat", "dog"]
    assert read_shown(sweep.slices / "cat").low.shape[1:] == (20, 24)
    index = read_index(sweep)
    assert index.trials.num_rows == 3
    assert sorted(index.manifest["searched"]) == ["dcsrn.growth", "optimizer.generator_lr"]
    assert index.manifest["metrics"]["psnr"]["unit"] == "dB"
    assert index.manifest["baselines"]["identity"]["values"]["psnr"] > 0
    assert index.trials["value.psnr"].null_count == 0


@pytest.mark.slow
def test_a_sweep_is_resumed_and_extended(store, results, monkeypatch):
    start(store, results, **{"budget.trials": 1})
    monkeypatch.setattr(driver, "run_trials", refuse_to_run)
    assert resume_sweep(results / "mine").trials == {"completed": 1}
    monkeypatch.setattr(driver, "run_trials", run_here)
    assert resume_sweep(results / "mine", again=Again(budget_trials=2)).trials == {"completed": 2}
    assert resume_sweep(results / "mine", again=Again(kinds=["completed"])).trials == {"completed": 4}
    assert read_json(results / "mine" / "trials" / "2" / "origin.json")["retry_of"] == 0


def test_what_was_set_holds_when_it_is_resumed(store, results, monkeypatch):
    monkeypatch.setattr(driver, "run_trials", run_stub_of_space)
    start(store, results, epochs=5, **{"budget.trials": 2})
    resume_sweep(results / "mine", again=Again(budget_trials=3))
    assert set(map(len, epochs_trained(SweepDirectory(results / "mine")).values())) == {5}


def test_who_reads_the_index_knows_the_rungs(store, results, monkeypatch):
    monkeypatch.setattr(driver, "run_trials", run_stub_of_space)
    start(store, results, pruner={"halving": {"rungs": [0.2], "keep": 0.5}})
    assert read_index(SweepDirectory(results / "mine")).halving == ((0.2,), 0.5)


def run_stub_of_space(conductor, index, *, capacity, should_stop, grace):
    from stub_trial import train_stub

    Executor(conductor, train=lambda config, **where: train_stub({"epochs": 1, **config, "x": 0.1}, **where)).run()


NAMED = """
resources: {gpu: 0}
trials:
  trees: {generator: forest, forest: {trees: 2, pixels: 0.5}, patches: {size: 16, per_subject: 8}}
  plain: {generator: dcsrn, epochs: 6}
  seen: {generator: dcsrn, losses: {perceptual: 1}}
"""


def start_named(store, results, *overrides):
    named = with_overrides(parse_space(NAMED, "named.yaml"), overrides)
    return start_sweep(NewSweep(named, store, results, "mine"))


def test_a_space_of_trials_alone_runs_those_that_were_chosen_as_they_were_set_and_resumes_so(
    store, results, monkeypatch
):
    monkeypatch.setattr(driver, "run_trials", run_stub_of_space)
    ended = start_named(store, results, "epochs=2", "published=[plain, trees]")
    sweep = SweepDirectory(results / "mine")
    assert ended.trials == {"completed": 2}
    assert read_yaml(sweep.sweep_yaml)["set"] == {"published": ["plain", "trees"], "epochs": 2}
    assert [read_yaml(sweep.trial(number).config).get("epochs") for number in range(2)] == [2, None]
    monkeypatch.setattr(driver, "run_trials", refuse_to_run)
    assert resume_sweep(sweep.root).trials == {"completed": 2}


def test_weights_that_are_missing_are_said_before_anything_begins(store, results, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(driver, "run_trials", refuse_to_run)
    with pytest.raises(InvalidInputError, match=r"^seen: "):
        start_named(store, results)
    assert not results.exists()


def test_weights_that_went_missing_are_said_before_a_sweep_goes_on(store, results, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "run_trials", stop_at_once)
    (tmp_path / "vgg.pth").touch()
    weights = [f"perceptual.weights={tmp_path / 'vgg.pth'}", "perceptual.convention=caffe"]
    with pytest.raises(KeyboardInterrupt):
        start_named(store, results, *weights)
    (tmp_path / "vgg.pth").unlink()
    with pytest.raises(InvalidInputError, match=r"^seen: "):
        resume_sweep(results / "mine")


def stop_at_once(conductor, index, *, capacity, should_stop, grace):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_forest_is_a_trial_like_any_other(store, results):
    start_named(store, results, "published=[trees]")
    (trial,) = read_index(SweepDirectory(results / "mine")).trials.to_pylist()
    assert (trial["family"], trial["generator"], trial["epochs"], trial["outcome"]) == (
        "forest",
        "forest",
        1,
        "completed",
    )
    assert trial["value.psnr"] > 0


def test_a_name_that_is_taken_is_refused(store, results, monkeypatch):
    monkeypatch.setattr(driver, "run_trials", run_stub_of_space)
    start(store, results)
    with pytest.raises(UsageError, match="mrisynth resume"):
        start(store, results)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "with space"])
def test_a_name_that_is_no_folder_is_refused_and_leaves_nothing(store, results, name):
    with pytest.raises(UsageError, match="not usable"):
        start(store, results, name)
    assert not results.exists()


def test_data_that_are_not_there_leave_nothing(tmp_path, results):
    with pytest.raises(NotFoundError):
        start(tmp_path / "nowhere", results)
    assert not results.exists()


def test_data_without_validation_leave_nothing(tmp_path, results):
    make_store(tmp_path / "store", {"ant": "train"})
    with pytest.raises(InvalidInputError, match="validation"):
        start(tmp_path / "store", results)
    assert not results.exists() or not list(results.iterdir())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fox": "train"}, "fox is new"),
        ({"bee": "test"}, "bee was in train and is in test"),
    ],
)
def test_changed_data_are_refused_with_the_difference(store, results, monkeypatch, change, sentence):
    monkeypatch.setattr(driver, "run_trials", run_stub_of_space)
    start(store, results)
    other = make_store(store.with_name("other"), {**SPLITS, **change}).store
    cohort = read_json(other / "cohort.json")
    (other / "cohort.json").write_text(json.dumps({**cohort, "data_key": "other"}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=sentence):
        resume_sweep(results / "mine", store=other)


def begun(store, results, monkeypatch, **overrides):
    """A sweep that has ended."""
    monkeypatch.setattr(driver, "run_trials", run_stub_of_space)
    start(store, results, **{"budget.trials": 1, **overrides})
    return SweepDirectory(results / "mine")


def test_a_space_that_was_changed_is_refused_with_the_difference(store, results, monkeypatch):
    sweep = begun(store, results, monkeypatch)
    sweep.space_yaml.write_text(SPACE.replace("{int: [1, 4]}", "{int: [1, 8]}"), encoding="utf-8")
    before = sweep.journal.read_bytes()
    with pytest.raises(InvalidInputError, match=r"-   dcsrn.growth: \{int: \[1, 4\]\}; \+   dcsrn.growth: .* 8\]"):
        resume_sweep(sweep.root)
    assert sweep.journal.read_bytes() == before


@pytest.mark.parametrize(("key", "value"), [("seed", 4), ("set", {"epochs": 3}), ("objectives", {"ssim": "maximize"})])
def test_what_was_asked_for_is_not_changed_behind_our_back(store, results, monkeypatch, key, value):
    sweep = begun(store, results, monkeypatch)
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), key: value})
    with pytest.raises(InvalidInputError, match=f"sweep.yaml: {key} was .* when the sweep began"):
        resume_sweep(sweep.root)


def test_a_sweep_of_a_newer_version_is_refused_and_one_of_an_older_is_read(store, results, monkeypatch):
    sweep = begun(store, results, monkeypatch)
    asked, lineage = read_yaml(sweep.sweep_yaml), read_json(sweep.lineage)
    write_yaml(sweep.sweep_yaml, {**asked, "schema_version": 2})
    with pytest.raises(InvalidInputError, match="a newer mrisynth wrote it"):
        resume_sweep(sweep.root)
    write_yaml(sweep.sweep_yaml, {key: value for key, value in asked.items() if key not in ("set", "schema_version")})
    write_json(sweep.lineage, {key: value for key, value in lineage.items() if key != "asked"})
    assert resume_sweep(sweep.root).trials == {"completed": 1}


@pytest.mark.parametrize("bring", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_a_sweep_goes_on_wherever_its_folder_and_its_data_are(store, results, tmp_path, monkeypatch, bring):
    begun(store, results, monkeypatch)
    bring(str(results), str(tmp_path / "elsewhere"))
    shutil.move(store, tmp_path / "data")
    there = SweepDirectory(tmp_path / "elsewhere" / "mine")
    with pytest.raises(NotFoundError, match="--data STORE"):
        resume_sweep(there.root)
    ended = resume_sweep(there.root, store=tmp_path / "data", again=Again(budget_trials=3))
    assert ended.trials == {"completed": 3}
    assert set(outcomes(there)) == {0, 1, 2}
    if bring is shutil.copytree:
        assert set(outcomes(SweepDirectory(results / "mine"))) == {0}


def test_a_smaller_budget_is_refused_and_leaves_the_old_one(store, results, monkeypatch):
    sweep = begun(store, results, monkeypatch, **{"budget.trials": 2})
    with pytest.raises(InvalidInputError, match="the budget is 2 trials already; 1 would be less"):
        resume_sweep(sweep.root, again=Again(budget_trials=1))
    with pytest.raises(InvalidInputError, match="no limit of hours"):
        resume_sweep(sweep.root, again=Again(budget_hours=1.0))
    assert read_yaml(sweep.sweep_yaml)["budget"]["trials"] == 2
    assert sweep_state(sweep) == "done"


def test_a_sweep_that_is_held_is_not_extended(store, results, monkeypatch):
    sweep = begun(store, results, monkeypatch)
    with hold(sweep), pytest.raises(MrisynthError, match="is held by process"):
        resume_sweep(sweep.root, again=Again(budget_trials=5))
    assert read_yaml(sweep.sweep_yaml)["budget"]["trials"] == 1


def test_a_driver_that_loses_the_sweep_leaves_everything_as_it_is(tmp_path, monkeypatch):
    sweep = make_sweep(tmp_path)

    def lose_it(conductor, index, *, capacity, should_stop, grace):
        executor = Executor(conductor)
        executor.fill()
        executor.step(0)
        write_json(sweep.root / "lease.json", {"token": "x", "pid": 7, "host": "third", "time": timestamp()})
        later = lease_module.now() + 90
        monkeypatch.setattr(lease_module, "now", lambda: later)
        before.update({path: path.read_bytes() for path in sweep.root.rglob("*") if path.is_file()})
        executor.run()

    before = {}
    monkeypatch.setattr(driver, "run_trials", lose_it)
    with pytest.raises(LeaseLostError, match="process 7 on third"):
        search_and_drive(tmp_path, sweep)
    changed = [path for path in before if path.read_bytes() != before[path]]
    assert [path for path in changed if path.parent != sweep.trial(0).root and "checkpoint" not in str(path)] == []


def test_a_sweep_that_does_not_exist_is_not_found(results):
    with pytest.raises(NotFoundError):
        resume_sweep(results / "mine")


def search_and_drive(tmp_path, sweep, progress=lambda _: None, **changes):
    search = make_search(sweep, make_plan(tmp_path, **changes))
    with hold(sweep) as lease:
        return drive(replace(search, progress=progress), lease)


def test_a_sweep_in_which_nothing_completes_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "run_trials", reject_all)
    sweep = make_sweep(tmp_path)
    with pytest.raises(NoCompletedTrialError, match="6 rejected"):
        search_and_drive(tmp_path, sweep)
    assert sweep_state(sweep) == "failed"


def reject_all(conductor, index, *, capacity, should_stop, grace):
    while not isinstance(assignment := conductor.next_trial(), str):
        conductor.hear(assignment.number, {"rejected": "diverged", "message": "nan"})


def test_if_tune_breaks_it_is_started_again(tmp_path, monkeypatch):
    left = [3]

    def break_sometimes(conductor, index, *, capacity, should_stop, grace):
        executor = Executor(conductor)
        executor.fill()
        executor.step(next(iter(executor.running)))
        left[0] -= 1
        if left[0] > 0:
            raise RuntimeError("1 worker(s) were killed due to the node running low on memory")
        Executor(conductor, running=executor.running).run()

    monkeypatch.setattr(driver, "run_trials", break_sometimes)
    sweep = make_sweep(tmp_path)
    assert search_and_drive(tmp_path, sweep).trials == {"completed": 6}
    assert kinds(sweep).count("engine-broke") == 2
    assert all(epochs == [1, 2, 3, 4] for epochs in epochs_trained(sweep).values())


def test_if_tune_always_breaks_the_sweep_fails(tmp_path, monkeypatch):
    def broken(conductor, index, *, capacity, should_stop, grace):
        raise RuntimeError("broken")

    monkeypatch.setattr(driver, "run_trials", broken)
    sweep = make_sweep(tmp_path)
    with pytest.raises(RuntimeError, match="broken"):
        search_and_drive(tmp_path, sweep)
    assert kinds(sweep).count("engine-broke") == 4
    assert sweep_state(sweep) == "failed"


def test_progress_is_told_trial_by_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "run_trials", run_stub)
    said = []
    search_and_drive(tmp_path, make_sweep(tmp_path), said.append, budget=Budget(trials=2))
    assert [sentence.split(":")[0] for sentence in said] == ["trial 0 completed", "trial 1 completed"]
    assert all("psnr 2" in sentence or "psnr 1" in sentence for sentence in said)


def test_a_sweep_whose_workers_always_fail_raises_why(tmp_path, monkeypatch):
    def lose_all(conductor, index, *, capacity, should_stop, grace):
        while not isinstance(assignment := conductor.next_trial(), str):
            conductor.fail_attempt(assignment.number)
            conductor.lose(assignment.number)

    monkeypatch.setattr(driver, "run_trials", lose_all)
    sweep = make_sweep(tmp_path)
    with pytest.raises(MrisynthError, match="5 trials in a row were lost"):
        search_and_drive(tmp_path, sweep)
    assert outcomes(sweep) == dict.fromkeys(range(5), "lost")


@pytest.mark.parametrize("kind", ["sqlite", "url"])
def test_a_study_in_a_database_is_resumed_extended_and_found_where_it_has_moved(store, results, monkeypatch, kind):
    url, moved = (f"sqlite:///{results.parent / name}.db" for name in ("study", "moved"))
    monkeypatch.setattr(driver, "run_trials", run_stub_of_space)
    storage = "sqlite" if kind == "sqlite" else url
    begin = space(**{"budget.trials": 1})
    start_sweep(NewSweep(begin, store, results, "mine", seed=3, storage=storage))
    sweep = SweepDirectory(results / "mine")
    assert read_yaml(sweep.sweep_yaml)["storage"] == storage
    assert not sweep.journal.exists()
    if kind == "sqlite":
        sweep.root.rename(results / "other")
        assert resume_sweep(results / "other", again=Again(budget_trials=2)).trials == {"completed": 2}
        with pytest.raises(UsageError, match="leave --storage out"):
            resume_sweep(results / "other", storage=url)
        return
    (results.parent / "study.db").rename(results.parent / "moved.db")
    with pytest.raises(InvalidInputError, match=r"has 1 trial and its study .* has none"):
        resume_sweep(sweep.root)
    assert resume_sweep(sweep.root, storage=moved, again=Again(budget_trials=2)).trials == {"completed": 2}
    assert resume_sweep(sweep.root, again=Again(budget_trials=3)).trials == {"completed": 3}


@pytest.mark.parametrize("storage", ["nowhere", "postgresql://me:secret@db/mri"])
def test_a_storage_that_cannot_be_used_leaves_nothing(store, results, storage):
    with pytest.raises(UsageError):
        start_sweep(NewSweep(space(), store, results, "mine", storage=storage))
    assert not results.exists()
