"""`mrisynth status --watch`, in a pipe and on a terminal."""

import pytest
from results_fixtures import make_sweep
from rich.console import Console

from mrisynth.cli import watch as module
from mrisynth.cli.durations import hours_in
from mrisynth.files import write_json
from mrisynth.results.index import build_index, write_index
from mrisynth.results.store import write_heartbeat
from mrisynth.words import in_words


@pytest.fixture
def sweep(tmp_path):
    made = make_sweep(tmp_path)
    write_heartbeat(made, state="running", ran=60.0)
    return made


def go_on(sweep, looks):
    """What happens while the watcher waits: first nothing, then trial 5 ends, then the sweep."""

    def pause(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            write_json(sweep.trial(5).outcome, {"outcome": "completed", "time": "2026-11-22T13:00:00+00:00"})
            write_index(sweep, build_index(sweep))
        if len(looks) == 3:
            write_heartbeat(sweep, state="done", ran=80.0)

    return pause


def test_in_a_pipe_it_tells_a_line_for_each_change_and_ends_with_the_sweep(sweep, capsys):
    looks = []
    last = module.watch(sweep.root, pause=go_on(sweep, looks))
    lines = capsys.readouterr().out.splitlines()
    assert (last["state"], len(looks), len(lines)) == ("done", 3, 3)
    assert lines[0].startswith("running; 2 completed, 1 pruned")
    assert "best: trial 1, psnr 26.5 (+5.50 over identity)" in lines[0]
    assert "remaining about" in lines[0]
    assert "3 completed" in lines[1]
    assert lines[2].startswith("done;")


def test_on_a_terminal_it_is_drawn_with_what_runs(sweep, monkeypatch):
    terminal = Console(force_terminal=True, width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    monkeypatch.setattr(module, "output", terminal)
    module.watch(sweep.root, pause=go_on(sweep, []))
    drawn = terminal.export_text()
    assert "of 2 core-hours" in drawn
    assert "trials an hour" in drawn
    assert "cost so far: 21 core-seconds" in drawn


def test_a_grave_alert_is_drawn_and_a_hint_is_not(sweep, monkeypatch):
    terminal = Console(force_terminal=True, width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    monkeypatch.setattr(module, "output", terminal)
    write_heartbeat(sweep, state="failed", ran=60.0)
    module.watch(sweep.root)
    drawn = terminal.export_text()
    assert "error: The sweep was ended by an error." in drawn
    assert "was lost" not in drawn


def test_a_sweep_that_does_not_run_is_shown_once(tmp_path, command):
    sweep = make_sweep(tmp_path)
    write_heartbeat(sweep, state="stopped", ran=60.0)
    answer = command("status", sweep.root, "--watch")
    assert (answer.code, len(answer.stdout.splitlines())) == (0, 1)


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("2h", 2), ("1h30m", 1.5), ("1.5", 1.5), ("36 s", 0.01)])
def test_durations_are_hours_unless_they_say_otherwise(text, hours):
    assert hours_in(text) == pytest.approx(hours)


@pytest.mark.parametrize("text", ["", "soon", "2 weeks", "0", "h", "5 h x"])
def test_what_is_no_duration_is_refused(text):
    from typer import BadParameter

    with pytest.raises(BadParameter):
        hours_in(text)


def test_durations_are_told_as_people_say_them():
    assert [in_words(seconds) for seconds in (40, 200, 7800, 4 * 86400)] == ["40 s", "3 min", "2 h 10 min", "4 d 0 h"]
