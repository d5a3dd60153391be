"""Ctrl-C and SIGTERM end a command cleanly, with the exit code that shells expect."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer

from mrisynth.cli.console import say

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Stopped(KeyboardInterrupt):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def stoppable(message: str = "") -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block as an exception would, and then the command with 128 + the signal's number.

    Only in a main thread. A block inside another one (where a library took the signals for itself) gives no message.

    Args:
        message: what to say after "stopped"; nothing is said, and the command not ended, where it is empty.

    Raises:
        typer.Exit: a signal came.
    """
    before = [(number, signal.signal(number, _stop)) for number in _SIGNALS]
    try:
        yield
    except _Stopped as stopped:
        if not message:
            raise
        say(f"stopped: {message}")
        raise typer.Exit(128 + stopped.number) from None
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped(number)
