"""The index against what the trials left on disk, whatever state they are in."""

import json
import time
from dataclasses import replace

import pyarrow as pa
import pytest
from results_fixtures import (
    BASELINES,
    METRICS,
    OUTCOMES,
    add_summary,
    config,
    copy_sweep,
    finish,
    make_sweep,
    make_trial,
    mean_scores,
)

from mrisynth.errors import InvalidInputError, NewerError, NotFoundError
from mrisynth.results.index import Indexer, build_index, open_index, read_index, write_index
from mrisynth.results.records import read_trial
from mrisynth.results.store import SweepDirectory, write_yaml


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_sweep(tmp_path_factory.mktemp("results"))


@pytest.fixture
def sweep(tmp_path, template):
    return copy_sweep(template, tmp_path)


def rows(index):
    return {row["trial"]: row for row in index.trials.to_pylist()}


def test_every_trial_has_its_outcome(sweep):
    assert {number: row["outcome"] for number, row in rows(build_index(sweep)).items()} == OUTCOMES


def test_the_columns_of_a_completed_trial(sweep):
    row = rows(build_index(sweep))[1]
    assert (row["name"], row["family"], row["generator"], row["adversary"]) == (
        "<b>unet-7</b> *star*",
        "gan",
        "unet",
        "pooled",
    )
    assert (row["epochs"], row["epochs_planned"], row["seconds"], row["generator_parameters"]) == (4, 4, 6.0, 2000)
    assert row["started"].isoformat() == "2026-11-22T12:10:00+00:00"
    assert row["ended"].isoformat() == "2026-11-22T12:15:00+00:00"
    assert row["value.psnr"] == 26.5
    assert json.loads(row["config"]) == config(1)


def test_a_pruned_trial_keeps_its_rung_and_its_values(sweep):
    row = rows(build_index(sweep))[2]
    assert (row["rung"], row["epochs"], row["value.psnr"]) == (2, 2, 18.5)


def test_a_trial_that_failed_says_why(sweep):
    row = rows(build_index(sweep))[3]
    assert (row["reason"], row["message"]) == ("diverged", "The loss became NaN in epoch 2.")


def test_a_running_trial_is_as_far_as_its_last_whole_line(sweep):
    row = rows(build_index(sweep))[5]
    assert (row["epochs"], row["seconds"], row["ended"], row["value.psnr"]) == (2, 3.0, None, None)


def test_a_running_trial_shows_the_scores_of_its_last_rung(sweep):
    with sweep.trial(5).history.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps({"epoch": 1, "scores": {"psnr": 12.0, "mae": None}}) + "\n")
        stream.write(json.dumps({"epoch": 2, "scores": None}) + "\n")
    assert rows(build_index(sweep))[5]["value.psnr"] == 12.0


def test_parameters_are_columns_numeric_where_all_are_numbers(sweep):
    trials = build_index(sweep).trials
    assert trials.schema.field("param.optimizer.generator_lr").type == pa.float64()
    assert trials["param.unet.filters"].to_pylist() == [None, 16, None, 16, None, 16, None]
    assert trials["param.fcn.filters"].to_pylist()[0] == "[16, 8]"
    assert trials["param.adversary"].to_pylist()[:2] == ["none", "pooled"]


def test_the_history_is_long_and_an_epoch_done_twice_counts_once(sweep):
    with sweep.trial(3).history.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"epoch": 1, "train": {"l1": 9.0}}) + "\n")
    history = [row for row in build_index(sweep).history.to_pylist() if row["trial"] == 3]
    assert history == [{"trial": 3, "epoch": 1, "key": "train.l1", "value": 9.0}]


def test_the_scores_of_each_subject_are_rows(sweep):
    subjects = build_index(sweep).subjects.to_pylist()
    assert {"trial": 0, "subject": "rat-2", "metric": "psnr", "value": 24.0} in subjects
    assert len(subjects) == 3 * 2 * len(METRICS)


def test_the_manifest_describes_the_sweep(sweep):
    manifest = Indexer(sweep, metrics=METRICS, searched=["generator"]).build().manifest
    assert manifest["objectives"] == {"psnr": "maximize"}
    assert manifest["budget"] == {"trials": 10, "hours": 2.0}
    assert manifest["baselines"]["matched"]["values"] == mean_scores(BASELINES["matched"])
    assert (manifest["sweep"], manifest["metrics"], manifest["searched"]) == ("first", METRICS, ["generator"])


def test_the_rungs_are_known_where_there_are_some(sweep):
    assert build_index(sweep).halving == ((), 1.0)
    write_index(sweep, build_index(sweep, pruner={"rungs": [0.1, 0.3], "keep": 0.4, "quota": 0}))
    assert build_index(sweep).halving == ((0.1, 0.3), 0.4)
    assert build_index(sweep, pruner={}).halving == ((), 1.0)


def test_a_rebuilt_index_keeps_what_only_the_driver_knows(sweep):
    finish(sweep)
    assert build_index(sweep).manifest["metrics"] == METRICS


def test_write_then_read_is_the_identity(sweep):
    index = build_index(sweep)
    write_index(sweep, index)
    again = read_index(sweep)
    assert again.manifest == index.manifest
    assert again.trials.equals(index.trials)
    assert again.history.to_pylist() == index.history.to_pylist()
    assert again.subjects.equals(index.subjects)


def test_a_sweep_without_trials_has_an_empty_index(tmp_path):
    sweep = finish(make_sweep(tmp_path, trials=False))
    index = read_index(sweep)
    assert (index.trials.num_rows, index.history.num_rows, index.metrics) == (0, 0, [])


@pytest.mark.parametrize("name", ["config.yaml", "history.jsonl", "summary.json", "outcome.json", "origin.json"])
@pytest.mark.parametrize("text", ["", "{", "[1]", '{"epoch": "x", "values": [], "subjects": 3}', "\x00\udcff"])
def test_a_damaged_file_never_hides_the_other_trials(sweep, name, text):
    (sweep.trial(1).root / name).write_text(text, errors="surrogateescape", encoding="utf-8")
    assert rows(build_index(sweep))[0]["value.psnr"] == 24.5
    assert len(rows(build_index(sweep))) == 7


def test_an_index_without_a_manifest_is_not_found(sweep):
    with pytest.raises(NotFoundError):
        read_index(sweep)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema_version": 1}'])
def test_a_broken_manifest_is_refused_and_rebuilt_on_opening(sweep, text):
    finish(sweep)
    (sweep.index / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="manifest"):
        read_index(sweep)
    assert open_index(sweep).trials.num_rows == 7


def test_a_newer_index_is_refused(sweep):
    finish(sweep)
    manifest = sweep.index / "manifest.json"
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace('"schema_version": 1', '"schema_version": 2', 1), encoding="utf-8"
    )
    with pytest.raises(InvalidInputError, match="schema version 2"):
        read_index(sweep)


def test_a_broken_table_is_refused(sweep):
    finish(sweep)
    (sweep.index / "trials.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InvalidInputError, match=r"trials\.parquet"):
        read_index(sweep)


def test_a_table_of_something_else_is_refused(sweep):
    index = build_index(sweep)
    write_index(sweep, replace(index, trials=index.trials.drop_columns("outcome")))
    with pytest.raises(InvalidInputError, match=r"trials\.parquet is not a table of an index: it lacks outcome"):
        read_index(sweep)


def test_an_index_of_an_older_version_has_empty_columns(sweep):
    index = build_index(sweep)
    write_index(sweep, replace(index, trials=index.trials.drop_columns(["family", "config"])))
    assert read_index(sweep).trials["family"].to_pylist() == [None] * 7


def test_a_newer_manifest_may_have_other_keys(sweep):
    finish(sweep)
    (sweep.index / "manifest.json").write_text('{"schema_version": 99}', encoding="utf-8")
    with pytest.raises(NewerError, match="update this one"):
        read_index(sweep)


def test_baselines_of_another_kind_are_left_out(sweep):
    sweep.baselines.write_text('{"identity": 3, "matched": {"values": [], "subjects": {"rat-1": 3}}}', encoding="utf-8")
    assert build_index(sweep).manifest["baselines"] == {}


def test_an_indexer_reads_again_only_what_changed(sweep, monkeypatch):
    read = []
    monkeypatch.setattr(
        "mrisynth.results.index.read_trial", lambda trial: read.append(trial.number) or read_trial(trial)
    )
    indexer = Indexer(sweep)
    indexer.build()
    read.clear()
    add_summary(sweep.trial(5), (30.0, 32.0), epochs=4)
    assert rows(indexer.build())[5]["value.psnr"] == 31.0
    assert read == [5]


def test_a_trial_whose_outcome_arrives_is_indexed_anew(sweep):
    indexer = Indexer(sweep)
    indexer.build()
    make_trial(sweep, 8, epochs=1)
    sweep.trial(6).outcome.write_text('{"outcome": "lost"}', encoding="utf-8")
    assert {n: r["outcome"] for n, r in rows(indexer.build()).items()} == {**OUTCOMES, 6: "lost", 8: "running"}


def test_the_number_of_trials_does_not_slow_reading_down(tmp_path):
    sweep = SweepDirectory(tmp_path / "large")
    write_yaml(sweep.sweep_yaml, {"name": "large", "objectives": {"psnr": "maximize"}})
    index = build_index(make_sweep(tmp_path, "small"))
    many = pa.concat_tables([index.trials] * 300)
    large = type(index)(index.manifest, many, pa.concat_tables([index.history] * 4000), index.subjects)
    write_index(sweep, large)
    began = time.perf_counter()
    assert read_index(sweep).trials.num_rows == 2100
    assert time.perf_counter() - began < 1


def same_tables(one, other):
    return all(getattr(one, name).equals(getattr(other, name)) for name in ("trials", "history", "subjects"))


@pytest.fixture
def read(monkeypatch):
    """The numbers of the trials whose folders were read."""
    numbers = []
    monkeypatch.setattr(
        "mrisynth.results.index.read_trial", lambda trial: numbers.append(trial.number) or read_trial(trial)
    )
    return numbers


def test_a_new_indexer_takes_over_what_stands_and_builds_the_same(sweep, read):
    before = build_index(sweep)
    finish(sweep)
    read.clear()
    assert same_tables(build_index(sweep), before)
    assert read == []


def test_a_new_indexer_reads_what_changed_since_the_index_was_written(sweep, read):
    finish(sweep)
    read.clear()
    add_summary(sweep.trial(5), (30.0, 32.0), epochs=4)
    (sweep.trial(6).root / "outcome.json").write_text('{"outcome": "lost"}', encoding="utf-8")
    index = rows(build_index(sweep))
    assert (index[5]["value.psnr"], index[6]["outcome"]) == (31.0, "lost")
    assert read == [5, 6]


def test_what_another_version_indexed_is_read_again(sweep, read, monkeypatch):
    finish(sweep)
    read.clear()
    monkeypatch.setattr("mrisynth.results.index.__version__", "another")
    assert build_index(sweep).trials.num_rows == len(read) == 7


def test_an_index_that_was_cut_off_while_it_was_written_is_not_taken_over(sweep, read):
    finish(sweep)
    manifest = sweep.index / "manifest.json"
    text = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**text, "written": "before"}), encoding="utf-8")
    read.clear()
    assert build_index(sweep).trials.num_rows == len(read) == 7


def test_an_index_of_an_older_version_without_stamps_is_read_again(sweep, read):
    index = build_index(sweep)
    write_index(sweep, type(index)(index.manifest, index.trials.drop_columns("stamp"), index.history, index.subjects))
    read.clear()
    assert build_index(sweep).trials.num_rows == len(read) == 7
