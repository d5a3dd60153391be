"""The page Analysis against what `mrisynth.results.insight` says of the same index."""

import json
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from insight_fixtures import known_trials, trial, write_known
from results_fixtures import finish, make_sweep
from streamlit.testing.v1 import AppTest

from mrisynth.results.index import read_index
from mrisynth.results.insight.edges import edges
from mrisynth.results.insight.importance import importance
from mrisynth.results.leaderboard import pareto_front

MAIN = Path(__file__).parent.parent / "dashboard" / "main.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write_known(folder, known_trials(150), "one")
    write_known(folder, known_trials(60), "two", objectives={"psnr": "maximize", "ssim": "maximize"})
    write_known(folder, known_trials(8, prune=False), "few")
    write_known(folder, [trial(0, {}, {}, outcome="rejected", reason="diverged", epochs=1)], "rejected")
    write_known(folder, [], "empty")
    return folder


@pytest.fixture
def visit(results, tmp_path_factory, monkeypatch):
    """Open the page at a URL's query, as a browser would."""
    nothing = tmp_path_factory.mktemp("nothing")
    monkeypatch.setattr("sys.argv", ["main.py"])
    monkeypatch.setenv("MRISYNTH_LOGIN", "waived")  # without a server there is no address that could be judged
    # A run puts its script in the place of `__main__`, which processes that later tests spawn would import.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def visit(sweep, *, folder=results, **query):
        monkeypatch.setenv("MRISYNTH_RESULTS", str(nothing))  # a first run is needed, and quick without sweeps
        app = AppTest.from_file(str(MAIN), default_timeout=30).run()
        app.switch_page("views/analysis.py")
        monkeypatch.setenv("MRISYNTH_RESULTS", str(folder))
        app.query_params.update({"sweep": sweep, **query})
        app.run()
        assert not app.exception
        return app

    return visit


def charts(app):
    """The tables behind each chart of the page."""
    return [
        [pa.ipc.open_stream(each.data.data).read_all().to_pylist() for each in chart.proto.datasets]
        for chart in app.get("vega_lite_chart")
    ]


def options(app):
    """What ECharts was given."""
    (chart,) = app.get("echarts_chart")
    return json.loads(chart.proto.spec)


def said(app):
    return " ".join(str(each.value) for kind in ("info", "warning", "caption", "markdown") for each in app.get(kind))


def test_the_importance_shown_is_the_one_computed(results, visit):
    app = visit("one")
    expected = importance(read_index_of(results, "one"), "psnr")
    rows = next(table for table in charts(app)[0] if "share" in table[0])
    assert [(row["path"], row["share"] / 100) for row in rows] == [
        (each.path, pytest.approx(each.share)) for each in expected.parameters
    ]
    assert rows[0]["verdict"] == "beyond chance"
    assert expected.counted in said(app)


def test_a_range_that_was_too_narrow_is_said_at_the_top(results, visit):
    (warning,) = visit("one").warning
    found = edges(read_index_of(results, "one"), "psnr")
    assert found
    assert warning.value.count("Widen it") == len(found)


def test_a_link_restores_every_choice(visit):
    query = {
        "metric": "ssim",
        "in_family": "gan",
        "across": "losses.l1",
        "up": "patches.size",
        "lines": "the best tenth",
    }
    app = visit("one", **query, slices=["losses.l1"], axes=["generator", "losses.l1"])
    assert {name: app.query_params[name] for name in query} == query
    assert [box.value for box in app.multiselect] == [["losses.l1"], ["generator", "losses.l1"]]
    assert [axis["name"] for axis in options(app)["parallelAxis"]] == ["generator", "losses.\nl1", "ssim ↑"]
    assert "of the family" not in said(app)


def test_what_is_not_chosen_is_what_matters_most(results, visit):
    ranked = [each.path for each in importance(read_index_of(results, "one"), "psnr").parameters]
    app = visit("one")
    assert [box.value for box in app.multiselect] == [[], []]
    assert [axis["name"].replace("\n", "") for axis in options(app)["parallelAxis"]] == [*ranked, "psnr ↑ (dB)"]
    app.selectbox(key="across").select("losses.l1").run()
    app.selectbox(key="in_family").select("cnn").run()
    assert app.selectbox(key="across").value == "losses.l1"
    assert "cnn" in {row["family"] for table in charts(app)[1] for row in table if "family" in row}


def test_the_lines_hold_every_completed_trial_and_say_where_a_parameter_is_not(results, visit):
    spec = options(visit("one", axes=["unet.levels", "losses.l1"]))
    levels, weight, _ = spec["parallelAxis"]
    assert levels["data"][0] == "(not there)"
    assert (weight["type"], weight["min"], weight["max"]) == ("log", 0.1, 100.0)
    rows = {row["trial"]: row for row in read_index_of(results, "one").trials.to_pylist()}
    lines = spec["series"][0]["data"]
    assert len(lines) == sum(row["outcome"] == "completed" for row in rows.values())
    for shown, l1, score, number in lines:
        assert (l1, score) == (rows[number]["param.losses.l1"], rows[number]["value.psnr"])
        assert (shown == "(not there)") == (rows[number]["generator"] == "dcgan")


def test_the_front_is_that_of_the_metrics_chosen(results, visit):
    index = read_index_of(results, "two")
    tables = [table for chart in charts(visit("two")) for table in chart if table and "front" in table[0]]
    assert {row["trial"] for row in tables[0] if row["front"]} == pareto_front(index)


def test_several_objectives_are_followed_by_their_hypervolume(visit):
    app = visit("two", side="true")
    assert "Hypervolume" in said(app)
    assert "Reference point" in said(app)
    titles = [each.value for each in app.markdown if each.value.startswith("**")]
    assert len([title for title in titles if "all families" in title]) == 2


def test_a_small_sweep_says_what_it_lacks(visit):
    app = visit("few")
    assert "Importance by psnr needs at least 20 trials" in said(app)
    assert len(app.get("echarts_chart")) == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("empty", "No trial has begun"), ("rejected", "No trial has completed with this metric yet. Th")],
)
def test_a_sweep_without_a_completed_trial_gets_one_sentence(visit, name, sentence):
    app = visit(name)
    assert [each.value[: len(sentence)] for each in app.info] == [sentence]
    assert not app.get("vega_lite_chart")


def test_an_index_without_ranges_is_shown_with_those_tried(tmp_path, visit):
    finish(make_sweep(tmp_path), "done")
    app = visit("first", folder=tmp_path)
    assert "does not tell the searched ranges" in said(app)
    assert not app.warning


def test_a_sweep_of_named_trials_is_told_without_parameters(tmp_path, visit):
    write_known(tmp_path, known_trials(8, prune=False), searched=[])
    app = visit("known", folder=tmp_path)
    assert [each.value for each in app.info] == ["This sweep searched no parameter: its trials were all named."]
    assert not app.get("echarts_chart")
    assert len(app.get("vega_lite_chart")) == 4


@pytest.mark.slow
def test_five_thousand_trials_take_less_than_half_of_the_time_once_they_are_read(tmp_path, visit):
    write_known(tmp_path, known_trials(5000))
    began = time.process_time()
    app = visit("known", folder=tmp_path)
    read = time.process_time()
    app.selectbox(key="across").select("losses.l1").run()
    assert not app.exception
    assert time.process_time() - read < (read - began) / 2


def read_index_of(results, name):
    from mrisynth.results.store import SweepDirectory

    return read_index(SweepDirectory(results / name))
