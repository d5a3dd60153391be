"""What strangers put into a link, and what users wrote: compared with what exists, and shown as text."""

import itertools
import re
import sys

import pytest
from results_fixtures import finish, make_sweep
from streamlit.testing.v1 import AppTest
from test_dashboard import MAIN, texts
from test_dashboard_broken import PAGES

from mrisynth.files import write_json
from mrisynth.results.notes import read_notes, set_tags, set_text
from mrisynth.results.store import append_event, read_yaml, write_yaml

SCRIPT = "<img src=x onerror=\"window.ran='yes'\"><script>window.ran='yes'</script>"
FORGED = (
    "../..",
    "/etc/passwd",
    "%2e%2e%2f..%2fsecrets.toml",
    "1\0../0",
    "9" * 5000,
    "-1",
    "nan",
    SCRIPT,
)
PARAMETERS = (
    *("trial", "trials", "subject", "slice", "view", "left", "right", "minus", "line", "row", "column", "crop", "page"),
    *(
        "by",
        "at",
        "metric",
        "in_family",
        "across",
        "up",
        "first",
        "second",
        "lines",
        "slices",
        "axes",
        "along",
        "curve",
    ),
    *("families", "paper", "by_hand", "grey", "limit", "log", "where", "outcome", "family", "generator", "adversary"),
    *("at_least", "at_most", "best", "pareto", "starred", "tag", "settings", "against", "side", "search"),
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A sweep in which everything that a person or a program can write is a script."""
    return make_hostile(tmp_path_factory.mktemp("results"))


def make_hostile(results):
    name = SCRIPT.replace("/", "\N{DIVISION SLASH}")  # all else may stand in the name of a folder
    sweep = make_sweep(results, name)
    asked = read_yaml(sweep.sweep_yaml)
    write_yaml(sweep.sweep_yaml, {**asked, "description": SCRIPT, "space": SCRIPT})
    write_json(sweep.trial(1).origin, {"schema_version": 1, "name": SCRIPT, "retry_of": None})
    write_yaml(sweep.trial(1).config, {**read_yaml(sweep.trial(1).config), "generator": SCRIPT, "note": SCRIPT})
    ended = {"schema_version": 1, "outcome": "completed", "reason": SCRIPT, "rung": None, "message": SCRIPT}
    write_json(sweep.trial(1).outcome, {**ended, "values": {}, "time": "2026-11-22T12:15:00+00:00"})
    sweep.trial(1).log.write_text(SCRIPT, encoding="utf-8")
    append_event(sweep, SCRIPT, number=1, message=SCRIPT)
    append_event(sweep, "attempt-failed", number=1, message=SCRIPT)
    finish(sweep, "done")
    set_text(sweep, 1, seen="", text=SCRIPT)
    set_tags(sweep, 1, ["<script>ran=1</script>"])
    return sweep


@pytest.fixture
def open_pages(tmp_path_factory, monkeypatch):
    """Open every page in one session: pairs of a page and its app."""
    monkeypatch.setattr("sys.argv", ["main.py"])
    monkeypatch.setenv("MRISYNTH_LOGIN", "waived")  # without a server there is no address that could be judged
    # A run puts its script in the place of `__main__`, which processes that later tests spawn would import.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def visit(results, **query):
        monkeypatch.setenv("MRISYNTH_RESULTS", str(tmp_path_factory.mktemp("nothing")))  # a first run is needed
        app = AppTest.from_file(str(MAIN), default_timeout=30).run()
        monkeypatch.setenv("MRISYNTH_RESULTS", str(results))
        for page in PAGES:
            app.switch_page(page)
            app.query_params.update(query)
            app.run()
            assert not app.exception, page
            yield page, app

    return visit


def assert_no_markup(app):
    kinds = ("markdown", "info", "warning", "error", "caption", "title", "header", "subheader")
    for text in texts(app, *kinds):
        assert not re.search(r"(?<!\\)<(img|script)", text), text
    assert not any(each.proto.allow_html for each in app.markdown)


@pytest.mark.parametrize("turn", range(0, len(FORGED), 2))
def test_what_a_link_says_is_only_compared_with_what_exists(hostile, open_pages, turn):
    values = itertools.islice(itertools.cycle(FORGED), turn, None)
    for _, app in open_pages(hostile.root.parent, sweep=hostile.name, **dict(zip(PARAMETERS, values, strict=False))):
        assert_no_markup(app)
        assert "root:" not in " ".join(texts(app))


@pytest.mark.parametrize("asked", FORGED)
def test_a_forged_sweep_is_one_sentence(hostile, open_pages, asked):
    pages = open_pages(hostile.root.parent, sweep=asked)
    for page, app in itertools.islice(pages, 1, 2):  # all pages but the first ask in the same way
        assert "here is no sweep" in texts(app, "error")[0], page
        assert_no_markup(app)


def test_what_people_and_programs_wrote_is_never_markup(hostile, open_pages):
    shown = {
        page: app_texts(app)
        for page, app in open_pages(hostile.root.parent, sweep=hostile.name, trial="1", trials="0,1")
    }
    assert read_notes(hostile)[1].text == SCRIPT
    for page in ("views/sweeps.py", "views/trial.py"):
        assert SCRIPT in shown[page]


def app_texts(app):
    assert_no_markup(app)
    return texts(app, "text")
