"""The pages about whole sweeps: the list with its search, tags and alerts, the overview's additions, and Health."""

import json
import platform

import pytest
import streamlit
from dashboard_fixtures import every_kind
from insight_fixtures import known_trials, write_known
from results_fixtures import HOSTILE, METRICS, copy_sweep, finish
from test_dashboard import chart_data, sweep, template, texts, visit

from mrisynth import __version__
from mrisynth.files import write_json
from mrisynth.results.index import read_index
from mrisynth.results.leaderboard import status
from mrisynth.results.notes import read_sweep_note, set_tags
from mrisynth.results.published import PUBLISHED
from mrisynth.results.store import read_yaml, write_heartbeat, write_yaml

__all__ = ["sweep", "template", "visit"]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    every_kind(folder)
    return folder


def names(app):
    return [each.value for each in app.subheader]


def plainly(app, *kinds):
    """The page's texts without the backslashes that keep what people wrote from being Markdown."""
    return [text.replace("\\", "") for text in texts(app, *kinds)]


def table(app, number):
    """A table of facts: name to value."""
    frame = app.table[number].value
    return {name.replace("\\", ""): value.replace("\\", "") for name, value in frame.iloc[:, 0].items()}


# Sweeps


def test_every_kind_of_sweep_has_a_card_with_its_state(kinds, visit):
    app = visit("sweeps", folder=kinds)
    assert set(plainly(app, "subheader")) >= {"mixed", "running", "stopped", "stale", "empty", "all-rejected", "newer"}
    said = plainly(app)
    for state, count in {"running": 1, "stopped": 1, "stale": 1, "queued": 2, "done": 4}.items():
        assert sum(f"badge[{state}]" in text for text in said) == count
    assert sum("Some files of this sweep could not be read" in text for text in said) == 2  # broken and newer


def test_a_damaged_index_is_told_on_the_card(sweep, visit):
    (sweep.index / "trials.parquet").write_bytes(b"PAR1")
    assert any("Some files of this sweep could not be read" in text for text in texts(visit("sweeps"), "markdown"))


def test_an_alert_of_a_sweep_stands_on_its_card(kinds, visit):
    said = plainly(visit("sweeps", folder=kinds, search="stale"))
    assert any("**Error:**" in text and "has given no sign of life for" in text for text in said)
    said = plainly(visit("sweeps", folder=kinds, search="all-rejected"))
    assert any("**Warning:**" in text and "3 of 3 trials that ended were rejected" in text for text in said)


def test_the_search_finds_names_spaces_tags_and_states(sweep, tmp_path, visit):
    others = {name: copy_sweep(sweep, tmp_path, name) for name in ("mixed", "halted", "gone")}
    finish(others["halted"], "stopped")
    set_tags(others["mixed"], None, ["for the paper"])
    write_yaml(others["gone"].sweep_yaml, {**read_yaml(sweep.sweep_yaml), "space": "gan.yaml"})
    app = visit("sweeps", search="MIXED")
    assert names(app) == ["mixed"]
    assert texts(app, "caption")[0].startswith("1 of 4 sweeps")
    for search, found in {
        "stopped": ["halted"],
        "paper mixed": ["mixed"],
        "gan.yaml": ["gone"],
        "paper gan": [],
    }.items():
        app.text_input(key="search").set_value(search).run()
        assert names(app) == found
    assert "No sweep has all these words" in texts(app, "info")[0]


def test_of_many_sweeps_the_latest_are_shown(sweep, tmp_path, visit):
    for number in range(21):
        folder = tmp_path / f"small-{number}"
        write_yaml(
            folder / "sweep.yaml", {"schema_version": 1, "name": folder.name, "objectives": {"psnr": "maximize"}}
        )
    app = visit("sweeps")
    assert len(names(app)) == 20
    assert "the 20 latest are shown" in texts(app, "caption")[0]


def test_data_code_and_space_stand_on_the_card(sweep, visit):
    write_json(sweep.lineage, {"versions": {"mrisynth": "0.0.9"}, "commit": "0123456789abcdef0123"})
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), "space": "gan.yaml"})
    said = " ".join(plainly(visit("sweeps"), "caption"))
    assert "data 0123456789abcdef · space gan.yaml · mrisynth 0.0.9 (commit 0123456789ab) · last sign of life " in said


def test_the_remaining_time_is_that_of_status_while_the_sweep_runs(sweep, visit):
    write_heartbeat(sweep, state="running", ran=900.0)
    left = status(sweep)["remaining"]
    app = visit("sweeps")
    said = [text for text in texts(app, "caption") if text.startswith("Remaining: ")]
    assert said == [f"Remaining: about {left['seconds'] / 60:.0f} min ({left['low'] / 60:.0f} min to "
                    f"{left['high'] / 60:.0f} min), until its trials are done; 16 trials an hour"]  # fmt: skip
    write_heartbeat(sweep, state="stopped", ran=900.0)
    assert not any(text.startswith("Remaining: ") for text in texts(app.run(), "caption"))


def test_limits_of_gpu_hours_and_wall_time_are_shown(sweep, visit):
    budget = {"trials": None, "gpu_hours": 3.0, "wall": 1.0}
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), "budget": budget})
    finish(sweep)
    write_heartbeat(sweep, state="running", ran=1800.0)
    (bar,) = visit("sweeps").get("progress")
    assert bar.text == "Budget: 4 trials, 0.00583 core-hours, 0 of 3 GPU-hours, 0.5 of 1 hours of wall time"
    assert bar.value == 50


@pytest.fixture
def again(monkeypatch):
    """After how long each part of a page is drawn again, as the pages ask for it."""
    asked, fragment = [], streamlit.fragment
    monkeypatch.setattr(
        streamlit,
        "fragment",
        lambda part, run_every=None: asked.append(run_every) or fragment(part, run_every=run_every),
    )
    return asked


@pytest.mark.parametrize("page", ["sweeps", "overview", "health"])
def test_a_page_of_a_sweep_that_ends_is_drawn_once_more_and_then_rests(sweep, visit, again, page):
    app = visit(page, sweep="first")
    assert set(again) == {"3s" if page == "overview" else "5s"}
    again.clear()
    write_heartbeat(sweep, state="done")
    app.run()
    assert set(again) == {None}


# Tags


def test_tags_of_a_sweep_are_kept_and_shown_as_text(sweep, visit):
    app = visit("overview", sweep="first")
    app.multiselect(key="tags of the sweep first").set_value([HOSTILE[:40], "paper"]).run()
    assert read_sweep_note(sweep).tags == (HOSTILE[:40], "paper")
    for page in ("overview", "sweeps"):
        shown = visit(page, sweep="first")
        assert any("gray-badge[:material/label: paper]" in text for text in texts(shown, "markdown"))
        assert not any("<script>" in text for text in texts(shown, "markdown"))


def test_a_tag_that_cannot_be_kept_is_said(sweep, visit):
    app = visit("overview", sweep="first")
    app.multiselect(key="tags of the sweep first").set_value(["x" * 41]).run()
    assert "is longer than 40 characters" in texts(app, "error")[0]
    assert read_sweep_note(sweep).tags == ()


def test_tags_of_other_sweeps_are_offered(sweep, tmp_path, visit):
    set_tags(copy_sweep(sweep, tmp_path, "second"), None, ["paper"])
    assert visit("overview", sweep="first").multiselect(key="tags of the sweep first").options == ["paper"]


def test_damaged_notes_do_not_hide_a_sweep(sweep, visit):
    sweep.notes.write_text("{", encoding="utf-8")
    assert names(visit("sweeps")) == ["first"]
    assert visit("overview", sweep="first").metric


# Overview


def test_alerts_are_those_of_status_with_their_commands(kinds, visit):
    app = visit("overview", folder=kinds, sweep="stale")
    (stale, lost) = status(next(each for each in app.session_state["all sweeps"].values() if each.name == "stale"))[
        "alerts"
    ]
    assert plainly(app, "error") == [f"{stale['reason']} **{stale['remedy']}**"]
    assert [each.value for each in app.main.get("code")] == [stale["command"], lost["command"]]
    assert [each.label for each in app.expander] == ["Hints (1)"]


def test_edges_of_ranges_are_hints(tmp_path, visit):
    write_known(tmp_path, known_trials(150))
    said = plainly(visit("overview", sweep="known"), "markdown")
    assert any("The best lies at the upper end of the range of losses.l1" in text for text in said)


def test_each_family_has_a_best_so_far_of_its_own(tmp_path, visit):
    write_known(tmp_path, known_trials(40))
    points = chart_data(visit("overview", sweep="known", families="true"), 0)[0]
    assert {row["family"] for row in points} == {"cnn", "gan"}
    best = {"cnn": None, "gan": None}
    for row in points:
        if row["outcome"] == "completed":
            best[row["family"]] = max(row["value"], best[row["family"]] or row["value"])
        assert row["best"] == best[row["family"]]


def test_trials_can_be_laid_along_what_they_cost(tmp_path, visit):
    trials = known_trials(30)
    write_known(tmp_path, trials, resources={"cpu": 2.0})
    points = chart_data(visit("overview", sweep="known", along="cost"), 0)[0]
    spent, expected = 0.0, {}
    for trial in trials:  # they ended in the order of their numbers, rejected ones too
        spent += 2 * trial.fields["seconds"] / 3600
        expected[trial.number] = spent
    assert {row["trial"]: row["at"] for row in points} == pytest.approx(
        {number: expected[number] for number in (row["trial"] for row in points)}
    )
    assert sum(trial.fields["outcome"] == "rejected" for trial in trials) > 0


def test_the_papers_results_are_ghosts_where_the_metric_is_the_papers(tmp_path, visit):
    trials = known_trials(5, prune=False)
    for each in trials:
        each.values["psnr_255"] = each.values["psnr"] + 40
    write_known(tmp_path, trials, metrics={**METRICS, "psnr_255": METRICS["psnr"]})
    app = visit("overview", sweep="known", metric="psnr_255")
    ghosts = next(rows for rows in chart_data(app, 0) if rows and set(rows[0]) == {"model", "value"})
    assert {row["model"]: row["value"] for row in ghosts} == {row.label: row.psnr for row in PUBLISHED.values()}
    assert any("another cohort" in text and "not for comparison" in text for text in texts(app, "caption"))
    app.toggle(key="paper").set_value(False).run()
    assert len(chart_data(app, 0)) == 1
    app.selectbox(key="metric").set_value("psnr").run()
    assert len(chart_data(app, 0)) == 1
    assert not any("another cohort" in text for text in texts(app, "caption"))


def layers(app, mark):
    """The layers of the overview's chart of scores that draw with a mark."""
    spec = json.loads(app.get("vega_lite_chart")[0].proto.spec)
    return [layer for layer in spec["layer"] if layer["mark"]["type"] == mark]


def test_the_legend_of_scores_names_only_outcomes_that_are_there(tmp_path, visit):
    write_known(tmp_path, known_trials(5, prune=False))
    (points,) = layers(visit("overview", sweep="known"), "circle")
    assert points["encoding"]["color"]["legend"]["values"] == ["completed"]


def test_the_name_of_the_lower_baseline_stands_below_its_line(sweep, visit):
    texts = layers(visit("overview", sweep="first"), "text")
    below = {layer["transform"][0]["filter"]: layer["mark"]["dy"] > 0 for layer in texts}
    assert below == {"(datum.baseline === 'matched')": False, "(datum.baseline === 'identity')": True}


def test_the_nodes_are_those_of_the_heartbeat(sweep, visit):
    write_heartbeat(sweep, state="running", nodes={"second (10.0.0.2)": [5, 7], "vm": [6]})
    app = visit("overview", sweep="first")
    assert {"**second (10.0.0.2)**: 2 trials (5, 7)", "**vm**: 1 trial (6)"} <= set(plainly(app, "markdown"))
    assert "Where they run" in names(app)
    write_heartbeat(sweep, state="stopped")
    assert "Where they run" not in names(app.run())


# Health


def test_health_without_a_sweep_shows_the_dashboard_itself(tmp_path, visit):
    app = visit("health")
    found = table(app, 0)
    assert (found["mrisynth"], found["Python"]) == (__version__, platform.python_version())
    assert found["Streamlit"] == streamlit.__version__
    assert found["results folder"] == str(tmp_path)
    assert "mrisynth sweep" in texts(app, "info")[0]


def test_health_shows_driver_lease_code_and_index(sweep, visit):
    write_json(sweep.root / "lease.json", {"host": "node-2", "pid": 8, "time": "2026-11-26T11:00:30+00:00"})
    write_json(sweep.lineage, {"versions": {"mrisynth": "0.0.9", "torch": "2.13.0"}, "commit": "abc"})
    app = visit("health", sweep="first")
    beat = json.loads(sweep.heartbeat.read_text(encoding="utf-8"))
    driver, code, index = (table(app, number) for number in (1, 2, 3))
    assert driver["state"].startswith("running")
    assert driver["sign of life"].endswith(f"by process {beat['pid']} on {beat['host']}")
    assert driver["lease"].endswith("(2026-11-26 11:00 UTC), by process 8 on node-2")
    assert code == {"mrisynth": "0.0.9", "torch": "2.13.0", "commit": "abc"}
    assert any(f"0.0.9 began this sweep, and {__version__} shows it" in text for text in plainly(app, "info"))
    tables = read_index(sweep)
    assert (index["trials"], index["numbers by epoch"]) == (str(tables.trials.num_rows), str(tables.history.num_rows))
    assert index["form"] == f"version 1, by mrisynth {__version__}"
    assert index["index/trials.parquet"] == f"{(sweep.index / 'trials.parquet').stat().st_size / 1e3:.3g} kB"
    assert any("sweep.yaml 1 (up to 1), index/manifest.json 1 (up to 1)" in text for text in plainly(app, "caption"))
    assert len(app.success) == 1


def test_health_says_what_could_not_be_read(kinds, visit):
    above, *said = plainly(visit("health", folder=kinds, sweep="broken"), "warning")
    assert "`mrisynth resume` writes the index anew" in above
    assert "sweep.yaml is not valid YAML" in said[0]
    assert not any("The index" in sentence for sentence in said)  # it is said above
    newer = " ".join(plainly(visit("health", folder=kinds, sweep="newer"), "warning"))
    assert "sweep.yaml has schema version 99, and this mrisynth reads up to 1" in newer
    assert "update this one" in newer


def test_the_glossary_is_what_the_manifest_says(sweep, visit):
    manifest = json.loads((sweep.index / "manifest.json").read_text(encoding="utf-8"))
    manifest["metrics"]["psnr"] |= {"formula": "10 log10(1 / mse)", "settings": "<b>mse</b> at least 1e-10"}
    write_json(sweep.index / "manifest.json", manifest)
    app = visit("health", sweep="first")
    said = plainly(app)
    for expected in ("**psnr ↑ (dB)**", "peak signal-to-noise ratio", "<b>mse</b> at least 1e-10"):
        assert expected in said
    assert "more is better; from 0, an objective of this sweep" in said
    assert "less is better; 0 to 1" in said
    assert [each.value for each in app.main.get("code")] == ["10 log10(1 / mse)"]


def test_an_index_without_formulas_still_opens(sweep, visit):
    app = visit("health", sweep="first")
    assert "An older mrisynth wrote this index" in texts(app, "caption")[-2]
    assert not app.main.get("code")
