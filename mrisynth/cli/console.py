"""Data go to stdout, messages to stderr; progress is drawn on a terminal only."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

messages = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False, soft_wrap=True)
# In a pipe or a file a row of a table stays one line.
_WIDE = 400


def program() -> str:
    """How to call this program again: by its name if the shell finds it, else as it was called."""
    if shutil.which("mrisynth"):
        return "mrisynth"
    return f"{sys.executable} -m mrisynth" if sys.argv[0].endswith("__main__.py") else sys.argv[0]


def say(text: str) -> None:
    """A message for the person at the terminal (rich markup, stderr)."""
    messages.print(text)


def show(text: str) -> None:
    """A line of the answer (plain text, stdout)."""
    output.print(text, markup=False)


def show_json(value: Any) -> None:
    """The answer for a program (stdout); a key `schema_version` is added."""
    output.print_json(json.dumps({"schema_version": 1, **value}, allow_nan=False), indent=2)


def show_table(title: str, columns: list[str], rows: list[list[str]], *, right: set[str] | None = None) -> None:
    """The answer as a table (stdout); the columns named in `right` are aligned to the right."""
    table = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in (right or set()) else "left", overflow="fold")
    for row in rows:
        table.add_row(*[cell.replace("[", r"\[") for cell in row])
    console = output if output.is_terminal else Console(highlight=False, width=_WIDE)
    console.print(table, soft_wrap=False)


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """A progress bar with the remaining time, on a terminal only."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as bar:
        bar.add_task(label, total=None)
        yield bar
