"""How far a preparation is, for a person: the remaining time, a bar on a terminal, lines elsewhere."""

import io

import pytest
from rich.console import Console

from mrisynth.cli import progress as shown
from mrisynth.data.preparation import progress
from mrisynth.data.preparation.progress import Progress, Tracker


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_the_remaining_time_reckons_with_what_runs_side_by_side(clock):
    steps = []
    tracker = Tracker(steps.append, 5, {})
    tracker.tell("known", "reused")
    tracker.tell("a", "started")
    tracker.tell("b", "started")
    assert steps[-1].remaining is None
    clock.now += 10
    tracker.tell("a", "built")
    # b should be done by now; c and d are left, 10 s each, side by side.
    assert steps[-1].remaining == 10
    tracker.tell("c", "started")
    assert steps[-1].remaining == 10
    clock.now += 4
    tracker.tell("b", "built")
    # A mean of 12 s: c has 8 s to go, d 12 s; 20 s of work for two.
    assert steps[-1].remaining == 10
    tracker.tell("d", "started")
    assert steps[-1].remaining == 12
    for name in ("c", "d"):
        tracker.tell(name, "built")
    assert (steps[-1].remaining, steps[-1].done, steps[-1].seconds) == (0, 5, 14)


def test_a_subject_that_starts_again_counts_from_then(clock):
    steps = []
    tracker = Tracker(steps.append, 1, {})
    tracker.tell("a", "started")
    clock.now += 50
    tracker.tell("a", "started")
    clock.now += 10
    tracker.tell("a", "built")
    assert tracker._lasted == [10]
    assert [step.done for step in steps] == [0, 0, 1]


def say_all(monkeypatch, steps, **console):
    """What a person reads of some steps."""
    text = io.StringIO()
    messages = Console(file=text, width=120, soft_wrap=True, **console)
    monkeypatch.setattr(shown, "messages", messages)
    monkeypatch.setattr(shown, "say", messages.print)
    with shown.preparation_progress(3) as tell:
        for step in steps:
            tell(step)
    return text.getvalue()


STEPS = [
    Progress("ant", "reused", 1, 3, 0.0, None),
    Progress("b[red]ee", "started", 1, 3, 0.1, None, "the file of low changed"),
    Progress("b[red]ee", "built", 2, 3, 61.0, 200.0),
    Progress("cat", "started", 2, 3, 61.0, 200.0),
]


def test_in_a_pipe_there_is_a_line_for_each_subject_that_ends(monkeypatch):
    said = say_all(monkeypatch, [*STEPS, Progress("cat", "failed", 3, 3, 90.5, 0.0)])
    assert said.splitlines() == [
        "reading and checking the scans of 3 subjects",
        "b[red]ee is made anew: the file of low changed",
        "b[red]ee prepared: 2 of 3 after 61 s, about 3 min left",
        "cat failed: 3 of 3 after 2 min",
    ]


def test_on_a_terminal_a_bar_shows_who_runs_and_the_time_that_is_left(monkeypatch):
    said = say_all(monkeypatch, STEPS, force_terminal=True, color_system=None)
    assert all(part in said for part in ("preparing", "2/3", "about 3 min left", "cat"))
    assert "b[red]ee is made anew" in said


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (89.4, "89 s"), (90, "2 min"), (5300, "88 min"), (5399, "1 h 30 min"), (7800, "2 h 10 min")],
)
def test_durations_in_words(seconds, words):
    assert shown.in_words(seconds) == words
