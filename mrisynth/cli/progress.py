"""What a person sees while subjects are prepared: a bar on a terminal, a line a subject in a pipe or a log file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from mrisynth.cli.console import messages, say
from mrisynth.cli.durations import in_words

if TYPE_CHECKING:
    from mrisynth.data.preparation.cohort import Progress

Tell = Callable[["Progress"], None]

_NAMES = 3
"""How many of the subjects that run are named."""


@contextmanager
def preparation_progress(subjects: int) -> Iterator[Tell]:
    """Show a preparation as it goes on.

    Args:
        subjects: how many there are.

    Yields:
        What to call at each of its steps.
    """
    if messages.is_terminal:
        with _bar() as bar:
            yield _Drawer(bar, subjects)
    else:
        say(f"reading and checking the scans of {subjects} subjects")
        yield _tell_line


class _Drawer:
    """Draws each step, and remembers who runs."""

    def __init__(self, bar: Bar, subjects: int) -> None:
        self._bar = bar
        self._task = bar.add_task("checking", total=subjects, ends=None, running="")
        self._running: list[str] = []

    def __call__(self, step: "Progress") -> None:
        _tell_reason(step)
        self._running = [name for name in self._running if name != step.subject]
        if step.event == "started":
            self._running.append(step.subject)
        names = ", ".join(self._running[:_NAMES]) + (", ..." if len(self._running) > _NAMES else "")
        ends = None if step.remaining is None else time.monotonic() + step.remaining
        # One call: the bar is drawn meanwhile by another thread.
        self._bar.update(
            self._task,
            description="preparing",
            total=step.total,
            completed=step.done,
            ends=ends,
            running=escape(names),
        )


class _Left(ProgressColumn):
    """The expected time to the end, which runs down between two steps."""

    def render(self, task: Task) -> Text:
        ends = task.fields["ends"]
        return Text(
            "" if ends is None else f"about {in_words(ends - time.monotonic())} left", style="progress.remaining"
        )


def _bar() -> Bar:
    running = TextColumn("{task.fields[running]}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _Left(),
        running,
    )
    return Bar(*columns, console=messages, transient=True)


def _tell_line(step: "Progress") -> None:
    """A line for each subject that was prepared, or could not be."""
    _tell_reason(step)
    if step.event in ("built", "failed"):
        how = "prepared" if step.event == "built" else "[red]failed[/]"
        left = "" if not step.remaining else f", about {in_words(step.remaining)} left"
        say(f"{escape(step.subject)} {how}: {step.done} of {step.total} after {in_words(step.seconds)}{left}")


def _tell_reason(step: "Progress") -> None:
    if step.reason:
        say(escape(f"{step.subject} is made anew: {step.reason}"))
