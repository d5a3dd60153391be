"""Every page of the dashboard before whatever may lie in a results folder: a sentence, and never a traceback."""

import json
import re
import shutil
import sys

import pyarrow.parquet as pq
import pytest
from results_fixtures import add_outcome, copy_sweep, finish, make_sweep, make_trial
from streamlit.testing.v1 import AppTest
from test_dashboard import MAIN, texts

PAGES = re.findall(r'st\.Page\("(views/\w+\.py)"', MAIN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return finish(make_sweep(tmp_path_factory.mktemp("results")), "done")


@pytest.fixture
def sweep(tmp_path, template):
    return copy_sweep(template, tmp_path)


@pytest.fixture
def said_on(tmp_path, tmp_path_factory, monkeypatch):
    """Open every page in one session: page to all that it says."""
    monkeypatch.setattr("sys.argv", ["main.py"])
    monkeypatch.setenv("MRISYNTH_LOGIN", "waived")  # without a server there is no address that could be judged
    # A run puts its script in the place of `__main__`, which processes that later tests spawn would import.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def visit(folder=tmp_path, pages=PAGES, **query):
        monkeypatch.setenv("MRISYNTH_RESULTS", str(tmp_path_factory.mktemp("nothing")))  # a first run is needed
        app = AppTest.from_file(str(MAIN), default_timeout=30).run()
        monkeypatch.setenv("MRISYNTH_RESULTS", str(folder))
        said = {}
        for page in pages:
            app.switch_page(page)
            app.query_params.update(query)
            app.run()
            assert not app.exception, page
            said[page] = " ".join(texts(app)).replace("\\", "")
        return said

    return visit


def test_the_pages_are_found():
    assert len(PAGES) == len(list((MAIN.parent / "views").glob("*.py"))) > 8


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def forget(sweep, names):
    """As an older version, which did not write these columns."""
    path = sweep.index / "trials.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([name for name in names if name in table.column_names]), path)


def change_manifest(sweep, **changes):
    path = sweep.index / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in manifest.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


DAMAGED = "The index of this sweep is damaged: .* `mrisynth resume` writes the index anew"
ABSENT = "This sweep has no index yet.*`mrisynth resume` starts one"
INDEXES = {
    "garbage for a manifest": (lambda sweep: (sweep.index / "manifest.json").write_bytes(b"\xff\0["), DAMAGED),
    "half a table": (lambda sweep: halve(sweep.index / "history.parquet"), DAMAGED),
    "no index": (lambda sweep: shutil.rmtree(sweep.index), ABSENT),
    "a newer version": (
        lambda sweep: change_manifest(sweep, schema_version=99, objectives=None),
        "schema version 99, .* a newer mrisynth wrote it; update this one",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), INDEXES.values(), ids=INDEXES)
def test_an_index_that_cannot_be_read_is_said_above_every_page(sweep, said_on, spoil, sentence):
    spoil(sweep)
    said = said_on(sweep="first", trial="1")
    said.pop("views/sweeps.py")  # its cards point to the page Health
    for page, each in said.items():
        assert re.search(sentence, each), page


OLDER = ["name", "retry_of", "reason", "message", "warning", "family", "generator", "adversary", "epochs_planned"]
OLDER += [
    "seconds",
    "gpu",
    "generator_parameters",
    "adversary_parameters",
    "started",
    "ended",
    "rung",
    "host",
    "config",
]


def test_an_index_of_an_older_version_opens_with_what_it_knows(sweep, said_on):
    forget(sweep, [*OLDER, "stamp"])
    keys = ("domains", "planned", "resources", "constraints", "description", "searched", "config_schema", "data_key")
    change_manifest(sweep, **dict.fromkeys(keys))
    said = said_on(sweep="first", trial="1")
    assert not any("index of this sweep is damaged" in each for each in said.values())
    assert "Trial 1 completed 4 epochs." in said["views/trial.py"]
    assert "searched no parameter" in said["views/analysis.py"]


def test_an_empty_folder_says_how_to_begin(said_on):
    assert all("`mrisynth sweep SPACE --data STORE" in said for said in said_on().values())


def test_a_folder_that_does_not_exist_says_which_to_name(said_on, tmp_path):
    for said in said_on(tmp_path / "gone").values():
        assert "cannot be read: No such file or directory; name the folder that holds your sweeps." in said


@pytest.mark.parametrize(
    ("state", "sentence"), [("queued", "this page then shows them"), ("stopped", "`mrisynth resume`")]
)
def test_a_sweep_without_trials_says_what_comes_or_what_to_do(said_on, tmp_path, state, sentence):
    finish(make_sweep(tmp_path, trials=False), state)
    for page, said in said_on(sweep="first").items():
        expected = {"views/sweeps.py": "no trial has begun yet", "views/cohort.py": "No trial has completed yet"}
        expected["views/health.py"] = "peak signal-to-noise ratio"  # what it tells needs no trials
        assert expected.get(page, sentence) in said, page


def test_a_sweep_of_which_nothing_completed_says_where_to_look(said_on, tmp_path):
    sweep = make_sweep(tmp_path, trials=False)
    for number in range(2):
        trial = make_trial(sweep, number, epochs=1)
        add_outcome(trial, message="The loss became NaN.", reason="diverged", outcome="rejected")
    finish(sweep, "done")
    said = said_on(sweep="first")
    assert "2 rejected" in said.pop("views/sweeps.py")
    for page, each in said.items():
        assert "No trial of this sweep completed (2 rejected)" in each, page
        assert "correct the space or the data" in each


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_sweep_whose_trials_go_on_has_not_failed(said_on, tmp_path, state):
    sweep = make_sweep(tmp_path, trials=False)
    make_trial(sweep, 0, epochs=1)
    finish(sweep, state)
    said = said_on(pages=["views/analysis.py"], sweep="first")
    assert "No trial of this sweep completed" not in said["views/analysis.py"]


def damage_a_trial(sweep):
    halve(sweep.trial(1).images / "rat-1.npz")
    sweep.trial(1).log.write_bytes(b"\xff\0\x1b[31mred")
    sweep.notes.write_text("{", encoding="utf-8")
    sweep.events.write_bytes(b'\xff\0\n[1]\n{"kind": [1], "time": {}}\n{"kind": "outcome"}\n{"k')
    sweep.heartbeat.write_bytes(b"\xff")
    sweep.sweep_yaml.write_bytes(b"{\xff")


def damage_a_scan(sweep):
    halve(sweep.slices / "rat-1" / "low.npz")
    shutil.rmtree(sweep.trial(1).root)


def lose_pictures(sweep):
    shutil.rmtree(sweep.cohort)
    shutil.rmtree(sweep.trials)


DAMAGES = {
    damage_a_trial: {
        "trial": "copy it again from where the sweep ran",
        "compare": "Trial 1: its picture is damaged",
        "trials": "move it away to begin anew",
        "overview": "stale",
    },
    damage_a_scan: dict.fromkeys(("trial", "compare", "gallery", "cohort"), "cannot be"),
    lose_pictures: dict.fromkeys(("compare", "gallery", "cohort", "trial"), "copy its whole folder"),
}


@pytest.mark.parametrize(("spoil", "expected"), DAMAGES.items(), ids=[each.__name__ for each in DAMAGES])
def test_what_is_damaged_is_said_where_it_would_be_shown(sweep, said_on, spoil, expected):
    spoil(sweep)
    said = said_on(sweep="first", trial="1", trials="0,1", subject="rat-1")
    for page, sentence in expected.items():
        assert sentence in said[f"views/{page}.py"], page


def test_a_sweep_that_vanished_is_one_sentence(sweep, said_on, tmp_path):
    copy_sweep(sweep, tmp_path, "second")
    shutil.rmtree(sweep.root)
    said = said_on(pages=["views/trial.py"], sweep="first")["views/trial.py"]
    assert "There is no sweep 'first' in this results folder; choose another one" in said
