"""Every page of the dashboard against the index and the arrays that it shows."""

import json
import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from results_fixtures import HOSTILE, OUTCOMES, copy_sweep, finish, make_sweep
from streamlit.runtime.media_file_storage import MediaFileKind
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.testing.v1 import AppTest

from mrisynth.files import write_json
from mrisynth.results.index import read_index
from mrisynth.results.leaderboard import top
from mrisynth.results.lineage import repeat_command
from mrisynth.results.notes import read_notes, set_star, set_tags, set_text
from mrisynth.results.pictures import panel, png, shared_window
from mrisynth.results.store import read_slices, read_yaml, write_heartbeat, write_yaml
from mrisynth.training.config import json_schema

MAIN = Path(__file__).parent.parent / "dashboard" / "main.py"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return finish(make_sweep(tmp_path_factory.mktemp("results")))


@pytest.fixture
def sweep(tmp_path, template):
    sweep = copy_sweep(template, tmp_path)
    write_heartbeat(sweep, state="running")  # the template's may be old by now
    return sweep


@pytest.fixture
def visit(tmp_path, tmp_path_factory, monkeypatch):
    """Open a page at a URL's query, as a browser would."""
    nothing = tmp_path_factory.mktemp("nothing")
    monkeypatch.setattr("sys.argv", ["main.py"])
    monkeypatch.setenv("MRISYNTH_LOGIN", "waived")  # without a server there is no address that could be judged
    # A run puts its script in the place of `__main__`, which processes that later tests spawn would import.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def visit(page, /, *, folder=tmp_path, **query):
        monkeypatch.setenv("MRISYNTH_RESULTS", str(nothing))  # a first run is needed, and quick without sweeps
        app = AppTest.from_file(str(MAIN), default_timeout=30).run()
        app.switch_page(f"views/{page}.py")
        monkeypatch.setenv("MRISYNTH_RESULTS", str(folder))
        app.query_params.update(query)
        app.run()
        assert not app.exception
        return app

    return visit


def metrics(app):
    return {each.label: each.value for each in app.metric}


def texts(app, *kinds):
    return [
        str(each.value)
        for kind in kinds or ("markdown", "info", "warning", "error", "caption", "text")
        for each in app.get(kind)
    ]


def chart_data(app, number):
    """The tables behind the chart with this number on the page."""
    datasets = app.get("vega_lite_chart")[number].proto.datasets
    return [pa.ipc.open_stream(each.data.data).read_all().to_pylist() for each in datasets]


# Sweeps


def test_a_sweep_shows_its_counts_its_best_and_its_gains(sweep, visit):
    app = visit("sweeps")
    assert metrics(app) == {
        "Best psnr ↑ (dB): trial 1": "26.50",
        "Gain over identity (dB)": "+5.500",
        "Gain over matched (dB)": "+4.000",
    }
    (said,) = (text for text in texts(app) if text.startswith("**Trials:**"))
    assert re.findall(r"\[(.*?)\]", said) == [
        "2 completed", "1 pruned", "1 rejected", "1 lost", "1 running", "1 queued"
    ]  # fmt: skip
    assert [bar.text for bar in app.get("progress")] == ["Budget: 4 of 10 trials, 0.00583 of 2 core-hours"]


def test_the_subject_that_gains_least_is_named_beside_the_mean(sweep, visit):
    sweep.trial(1).summary.unlink()  # now trial 0 is best: 25 and 24 against 20 and 22, and 22 and 23
    finish(sweep)
    deltas = [each.delta for each in visit("sweeps").metric]
    assert deltas[1:] == ["+2.000 at least per subject", "+1.000 at least per subject"]


@pytest.mark.parametrize(("state", "said"), [("running", "running now"), ("done", "its budget is spent")])
def test_the_state_is_said_in_words(sweep, visit, state, said):
    finish(sweep, state)
    assert any(f"badge[{state}] {said}" in text for text in texts(visit("sweeps")))


def test_a_sweep_whose_driver_fell_silent_is_stale(sweep, visit):
    beat = json.loads(sweep.heartbeat.read_text(encoding="utf-8"))
    sweep.heartbeat.write_text(json.dumps({**beat, "time": "2020-01-01T00:00:00+00:00"}), encoding="utf-8")
    assert any("red-badge[stale]" in text for text in texts(visit("sweeps")))


def test_a_sweep_without_a_completed_trial_says_so(tmp_path, visit):
    finish(make_sweep(tmp_path, trials=False), "queued")
    app = visit("sweeps")
    assert "No trial has completed yet." in texts(app, "info")
    assert "**Trials:** no trial has begun yet" in texts(app)
    assert not app.metric


def test_an_index_that_does_not_exist_yet_is_built_for_the_reader(tmp_path, visit):
    make_sweep(tmp_path)
    assert metrics(visit("sweeps"))["Best psnr ↑: trial 1"] == "26.50"


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 99}'])
def test_a_broken_index_does_not_stop_the_reader(sweep, visit, text):
    (sweep.index / "manifest.json").write_text(text, encoding="utf-8")
    assert "26.50" in metrics(visit("sweeps")).values()


def test_what_users_wrote_is_shown_as_text(sweep, visit):
    for page in ("sweeps", "trial"):
        app = visit(page, sweep="first", trial="1")
        assert not any("<script>" in each.value or "<b>" in each.value for each in app.markdown)
        assert not any(each.proto.allow_html for each in app.markdown)
    assert HOSTILE in texts(visit("sweeps"), "text")


def test_a_missing_folder_is_one_sentence(tmp_path, visit):
    assert texts(visit("sweeps", folder=tmp_path / "gone"), "error")[0].endswith(
        r"cannot be read\: No such file or directory; name the folder that holds your sweeps\."
    )


def test_an_empty_folder_says_how_to_begin(tmp_path, visit):
    assert "mrisynth sweep" in texts(visit("sweeps"), "info")[0]


def test_a_server_that_others_can_reach_shows_nothing_without_a_login(sweep, visit, monkeypatch):
    app = visit("sweeps")
    monkeypatch.setenv("MRISYNTH_LOGIN", "off")  # and there is no address, which means all of this machine's
    app.run()
    assert "no login is configured" in texts(app, "error")[0]
    assert not app.metric


# Choosing


def test_the_only_sweep_is_chosen_and_put_into_the_url(sweep, visit):
    assert visit("overview").query_params["sweep"] == "first"


def test_of_several_sweeps_one_must_be_chosen(sweep, tmp_path, visit):
    copy_sweep(sweep, tmp_path, "second")
    assert texts(visit("overview"), "info") == ["Choose a sweep at the left."]


def test_choosing_a_sweep_puts_it_into_the_url(sweep, tmp_path, visit):
    copy_sweep(sweep, tmp_path, "second")
    app = visit("overview", sweep="second")
    app.sidebar.selectbox[0].select("first").run()
    assert app.query_params["sweep"] == "first"
    assert app.title[0].value == "Overview of first"


@pytest.mark.parametrize("asked", ["../first", "/etc", "first/trials", "fir"])
def test_a_sweep_from_the_url_is_only_compared_with_those_that_exist(sweep, visit, asked):
    assert "here is no sweep" in texts(visit("trials", sweep=asked), "error")[0]


@pytest.mark.parametrize("asked", ["99", "-1", "1.0", "../1", "²", "1 "])
def test_a_trial_from_the_url_is_only_compared_with_those_that_exist(sweep, visit, asked):
    app = visit("trial", sweep="first", trial=asked)
    assert "There is no trial" in texts(app, "warning")[0]
    assert not app.metric


# Overview


def test_the_best_so_far_is_the_running_best_of_the_completed_trials(sweep, visit):
    points, baselines = chart_data(visit("overview", sweep="first"), 0)
    assert [(row["trial"], row["outcome"], row["value"], row["best"]) for row in points] == [
        (0, "completed", 24.5, 24.5),
        (1, "completed", 26.5, 26.5),
        (2, "pruned", 18.5, 26.5),
    ]
    assert baselines == [{"baseline": "identity", "value": 21.0}, {"baseline": "matched", "value": 22.5}]


def test_the_best_so_far_falls_where_less_is_better(sweep, visit):
    points, _ = chart_data(visit("overview", sweep="first", metric="mae"), 0)
    assert [row["best"] for row in points] == pytest.approx([(1 / 25 + 1 / 24) / 2, *[(1 / 26 + 1 / 27) / 2] * 2])


def test_the_best_so_far_and_the_best_tile_keep_to_the_constraints(sweep, visit):
    asked = read_yaml(sweep.sweep_yaml)
    write_yaml(sweep.sweep_yaml, {**asked, "constraints": {"generator_parameters": {"max": 1500}}})
    finish(sweep)
    app = visit("overview", sweep="first")
    assert [row["best"] for row in chart_data(app, 0)[0]] == [24.5, 24.5, 24.5]  # else trial 1 is better
    assert "trial 0" in app.metric[0].label
    write_yaml(sweep.sweep_yaml, {**asked, "constraints": {"ssim": {"min": 0.9}}})
    finish(sweep)
    assert "It breaks ssim >= 0.9" in texts(visit("overview", sweep="first"), "warning")[0]
    assert "Breaks ssim >= 0.9" in texts(visit("trial", sweep="first", trial="0"), "warning")[0]


def test_trials_can_be_laid_along_time(sweep, visit):
    outcome = json.loads(sweep.trial(1).outcome.read_text(encoding="utf-8"))
    sweep.trial(1).outcome.write_text(json.dumps({**outcome, "time": "2026-11-22T11:00:00+00:00"}), encoding="utf-8")
    finish(sweep)
    points, _ = chart_data(visit("overview", sweep="first", along="time"), 0)
    assert [row["trial"] for row in points] == [1, 0, 2]
    assert points[0]["at"].isoformat() == "2026-11-22T11:00:00+00:00"


def test_the_outcomes_are_counted(sweep, visit):
    (bars,) = chart_data(visit("overview", sweep="first"), 1)
    assert {row["outcome"]: row["trials"] for row in bars} == {
        name: list(OUTCOMES.values()).count(name)
        for name in ("completed", "pruned", "continued", "rejected", "lost", "running", "queued")
    }


def test_the_curves_of_running_trials_are_their_history(sweep, visit):
    (curve,) = chart_data(visit("overview", sweep="first"), 2)
    # Trial 5: l1 is 1 / epoch + 0.5 in training, and l2 in validation its square.
    assert [(row["trial"], row["epoch"], row["value"]) for row in curve] == [
        ("5", 1, pytest.approx(2.25)),
        ("5", 2, pytest.approx(1.0)),
    ]


def test_the_last_events_come_first_and_in_words(sweep, visit):
    events = visit("overview", sweep="first").dataframe[0].value
    assert list(zip(events["trial"], events["event"], strict=True)) == [
        ("1", "completed"),
        ("3", "was rejected (diverged)"),
        ("2", "reached the rung at epoch 2 with 18.50, to be pruned"),
        ("", "sweep started: trials 10"),
    ]


def test_an_overview_without_trials_says_so(tmp_path, visit):
    finish(make_sweep(tmp_path, trials=False), "queued")
    app = visit("overview")
    assert texts(app, "info")[0].startswith("No trial has begun yet: the first ones come when")
    assert app.dataframe[0].value["event"].tolist() == ["sweep started: trials 10"]


# Trials


def test_the_table_holds_the_index_best_first(sweep, visit):
    table = visit("trials", sweep="first").dataframe[0].value
    index = read_index(sweep)
    assert table["trial"].tolist() == [row["trial"] for row in top(index)] == [1, 0, 2, 3, 4, 5, 6]
    rows = {row["trial"]: row for row in index.trials.to_pylist()}
    for column in (
        "outcome",
        "generator",
        "adversary",
        "epochs",
        "value.psnr",
        "value.mae",
        "param.optimizer.generator_lr",
    ):
        expected = [rows[trial][column] for trial in table["trial"]]
        assert table[column].astype(object).where(table[column].notna(), None).tolist() == expected
    assert table["mean gain over identity"].tolist()[:2] == [5.5, 3.5]
    assert table["minimum gain over matched"].tolist()[:2] == [4.0, 1.0]


@pytest.mark.parametrize(
    ("query", "trials"),
    [
        ({"outcome": ["completed", "pruned"]}, [1, 0, 2]),
        ({"generator": ["unet"], "outcome": ["completed"]}, [1]),
        ({"family": ["cnn"]}, [0, 2, 4, 6]),
        ({"adversary": ["pooled"]}, [1, 3, 5]),
        ({"at_least": "20"}, [1, 0]),
        ({"at_least": "18", "at_most": "25"}, [0, 2]),
        ({"by": "mae", "at_most": "0.04"}, [1]),
        ({"where": 'psnr > 20 and generator == "unet"'}, [1]),
        ({"best": "2"}, [1, 0]),
        ({"pareto": "true"}, [1]),
        ({"starred": "true"}, [2]),
        ({"tag": ["seams"]}, [2, 4]),
    ],
)
def test_a_link_restores_the_filters(sweep, visit, query, trials):
    set_star(sweep, 2, True)
    for trial in (2, 4):
        set_tags(sweep, trial, ["seams"])
    app = visit("trials", sweep="first", **query)
    assert app.dataframe[0].value["trial"].tolist() == trials
    assert {name: app.query_params[name] for name in query} == {
        name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in query.items()
    }


def test_a_filter_that_cannot_be_read_says_where_and_shows_no_trials(sweep, visit):
    app = visit("trials", sweep="first", where="psmr > 3")
    assert texts(app, "error")[0].startswith("filter, character 1")
    assert not app.dataframe


def test_each_subjects_score_stands_in_the_row_of_its_trial(sweep, visit):
    table = visit("trials", sweep="first").dataframe[0].value
    assert [list(each) for each in table["subjects"][:2]] == [[26.0, 27.0], [25.0, 24.0]]


def test_trials_with_pictures_have_a_thumbnail(sweep, visit):
    table = visit("trials", sweep="first").dataframe[0].value
    pictured = table.loc[table["picture"].notna(), "trial"].tolist()
    assert pictured == [1, 0, 2]
    assert table["picture"].dropna().str.startswith("data:image/png;base64,").all()


def test_what_the_table_shows_can_be_taken_home(sweep, visit):
    labels = [each.label for each in visit("trials", sweep="first", generator="unet").get("download_button")]
    assert labels == ["Export 3 trials as CSV", "Export 3 trials as Parquet"]


@pytest.mark.parametrize("content", ["{", '{"schema_version": 99, "trials": {}}'])
def test_damaged_notes_do_not_hide_the_trials(sweep, visit, content):
    sweep.notes.write_text(content, encoding="utf-8")
    app = visit("trials", sweep="first")
    assert len(app.dataframe[0].value) == 7
    assert "notes of this sweep cannot be read" in texts(app, "warning")[0]


def test_a_filter_goes_into_the_url(sweep, visit):
    app = visit("trials", sweep="first")
    app.multiselect(key="generator").select("unet").run()
    assert app.dataframe[0].value["trial"].tolist() == [1, 3, 5]
    app.number_input(key="at_least").set_value(26.0).run()
    assert app.dataframe[0].value["trial"].tolist() == [1]


def test_filters_that_nothing_passes_say_so(sweep, visit):
    assert texts(visit("trials", sweep="first", at_least="99"), "info") == [
        "No trial passes these filters: take one away."
    ]


def test_filters_that_make_no_sense_are_dropped(sweep, visit):
    app = visit("trials", sweep="first", outcome="dancing", by="nothing", at_least="much")
    assert len(app.dataframe[0].value) == 7


# Trial


@pytest.mark.parametrize(
    ("trial", "sentence"),
    [
        (1, "**Trial 1 completed 4 of 4 epochs.**"),
        (2, "**Trial 2 was pruned after 2 of 4 epochs: others were better at that point.**"),
        (3, "**Trial 3 was rejected (diverged) after 1 of 4 epochs.**"),
        (4, "**Trial 4 was lost (worker) after 1 of 4 epochs.**"),
        (5, "**Trial 5 has done 2 of 4 epochs.**"),
        (6, "**Trial 6 has not begun yet.**"),
    ],
)
def test_a_trial_says_how_it_ended(sweep, visit, trial, sentence):
    assert sentence in texts(visit("trial", sweep="first", trial=str(trial)), "markdown")


def test_an_unfinished_trial_of_a_stopped_sweep_waits(sweep, visit):
    finish(sweep, "stopped")
    said = texts(visit("trial", sweep="first", trial="5"), "markdown")
    assert "**Trial 5 has done 2 of 4 epochs, and the sweep is stopped, so it waits to be resumed.**" in said


def test_a_trial_that_goes_on_with_another_names_it(sweep, visit):
    sweep.trial(0).origin.write_text('{"retry_of": 4}', encoding="utf-8")
    finish(sweep)
    assert any(
        "It goes on from trial 4." in text for text in texts(visit("trial", sweep="first", trial="0"), "markdown")
    )


def test_the_scores_of_each_subject_stand_beside_the_baselines(sweep, visit):
    app = visit("trial", sweep="first", trial="0")
    row = next(row for row in app.dataframe[0].value.to_dict("records") if row["metric"] == "psnr ↑ (dB)")
    del row["metric"]
    assert row == {"mean": 24.5, "rat-1": 25.0, "rat-2": 24.0, "identity (mean)": 21.0, "matched (mean)": 22.5}
    assert metrics(app)["Gain over matched (dB)"] == "+2.000"


def test_the_curves_are_the_history(sweep, visit):
    (curve,) = chart_data(visit("trial", sweep="first", trial="0"), 0)
    expected = {("train", epoch): 1 / epoch for epoch in (1, 2, 3, 4)}
    expected |= {("validation", epoch): 1 / epoch + 0.1 for epoch in (1, 2, 3, 4)}
    assert {(row["part"], row["epoch"]): row["value"] for row in curve} == pytest.approx(expected)


def test_where_a_worker_took_the_trial_up_again_its_curves_are_marked(sweep, visit):
    write_json(
        sweep.trial(0).attempts / "second.json", {"host": "b", "from_epoch": 2, "started": "2027-01-01T00:00:00Z"}
    )
    app = visit("trial", sweep="first", trial="0")
    assert [{"epoch": 2.0}] in chart_data(app, 0)
    assert any("another worker took the trial up, after epoch 2" in text for text in texts(app, "caption"))
    hosts = next(each.value["host"] for each in app.dataframe if "host" in each.value)
    assert list(hosts)[-1] == "b"


def test_a_trial_is_compared_with_the_best_and_with_the_named_one_most_like_it(sweep, visit):
    app = visit("trial", sweep="first", trial="0")
    table = next(each.value for each in app.dataframe if any("best" in str(name) for name in each.value))
    rows = {row["trial"]: row for row in read_index(sweep).trials.to_pylist()}
    best = top(read_index(sweep), k=1)[0]["trial"]
    assert list(table) == ["setting", "trial 0", f"best: trial {best}", f"named {rows[1]['name']}: trial 1"]
    shown = table.set_index("setting")["trial 0"]
    assert len(shown) > 0
    for path, value in shown.items():
        own, other = rows[0][f"param.{path}"], rows[best][f"param.{path}"]
        assert own != other
        assert value == (f"{own:.6g}" if isinstance(own, float) else str(own or ""))


def test_a_trial_is_compared_with_a_published_one_that_did_not_run(sweep, visit):
    manifest = sweep.index / "manifest.json"
    write_json(manifest, {**json.loads(manifest.read_text(encoding="utf-8")), "config_schema": json_schema()})
    app = visit("trial", sweep="first", trial="0")
    (table,) = (each.value for each in app.dataframe if any("best" in str(name) for name in each.value))
    shown = table.set_index("setting")["published fcn-1: did not run here"]
    assert (shown["fcn.kernels"], shown["losses.l2"], shown["patches.size"]) == ("[7, 7, 5, 3]", "1", "64")


def test_a_trial_says_how_to_train_it_again(sweep, visit):
    write_json(sweep.lineage, {"schema_version": 1, "command": ["mrisynth", "sweep", "cnn", "--data", "/lab/store"]})
    app = visit("trial", sweep="first", trial="1")
    command = next(each.value for each in app.code if each.value.startswith("mrisynth train"))
    assert command == repeat_command(sweep, 1)
    assert "--data /lab/store" in command


def address_of(picture):
    """Under which address Streamlit serves a picture: a digest of its bytes."""
    storage = MemoryMediaFileStorage("/mock/media")
    return storage.get_url(storage.load_and_get_id(png(picture), "image/png", MediaFileKind.MEDIA))


@pytest.mark.parametrize(("subject", "index"), [("rat-1", 10), ("rat-2", 30)])
def test_the_picture_is_the_panel_computed_from_the_arrays(sweep, visit, subject, index):
    app = visit("trial", sweep="first", trial="1", subject=subject, slice=str(index))
    position, folder = (index - 10) // 10, sweep.slices / subject
    low, high = read_slices(folder, "low"), read_slices(folder, "high")
    generated = read_slices(sweep.trial(1).images, subject)[position]
    window, title = shared_window(low, high), f"trial 1, {subject}, slice {index}"
    expected = panel(low[position], generated, high[position], window=window, title=title)
    assert app.image[0].value == [address_of(expected)]


def test_the_window_can_be_set_by_hand_and_is_in_the_url(sweep, visit):
    app = visit("trial", sweep="first", trial="1", by_hand="true", grey=["0.25", "0.5"], limit="0.05")
    assert any("black is 0.25, white is 0.50" in text and "up to ±0.05" in text for text in texts(app, "caption"))


@pytest.mark.parametrize("trial", ["3", "6"])
def test_a_trial_without_pictures_says_why(sweep, visit, trial):
    app = visit("trial", sweep="first", trial=trial)
    assert texts(app, "info") == [f"Trial {trial}: no picture: they are written at rungs and at the end."]
    assert not app.image


def test_a_damaged_picture_does_not_hide_the_trial(sweep, visit):
    (sweep.trial(1).images / "rat-1.npz").write_bytes(b"PK nothing")
    app = visit("trial", sweep="first", trial="1")
    assert metrics(app)["psnr ↑ (dB)"] == "26.50"
    assert not app.image


def test_the_configuration_can_be_taken_home(sweep, visit):
    app = visit("trial", sweep="first", trial="1")
    assert [button.label for button in app.get("download_button")] == ["Download config.yaml"]
    settings = dict(app.dataframe[1].value.to_numpy().tolist())
    assert (settings["generator"], settings["unet.filters"], settings["losses.l1"]) == ("unet", "16.0", "2.0")


def test_the_end_of_the_log_is_shown_as_text(sweep, visit):
    sweep.trial(1).log.write_text("first\n" + "line\n" * 70 + "<b>last</b>\n", encoding="utf-8")
    log = next(each.value for each in visit("trial", sweep="first", trial="1").code if "last" in each.value)
    assert log.splitlines() == ["line"] * 59 + ["<b>last</b>"]


def test_a_note_is_kept_and_shown_as_text(sweep, visit):
    app = visit("trial", sweep="first", trial="1")
    app.text_area[0].set_value(HOSTILE)
    next(button for button in app.button if button.label == "Keep").click()
    app.run()
    assert read_notes(sweep)[1].text == HOSTILE
    assert visit("trial", sweep="first", trial="1").text_area[0].value == HOSTILE


def test_a_note_that_changed_meanwhile_is_not_overwritten(sweep, visit):
    app = visit("trial", sweep="first", trial="1")
    set_text(sweep, 1, seen="", text="theirs")
    app.text_area[0].set_value("mine")
    next(button for button in app.button if button.label == "Keep").click()
    app.run()
    assert read_notes(sweep)[1].text == "theirs"
    assert "has a new note since you opened it" in texts(app, "error")[0].replace("\\", "")
