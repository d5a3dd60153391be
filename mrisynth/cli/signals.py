"""Ctrl-C and SIGTERM end a command cleanly, with the exit code that shells expect."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer

from mrisynth.cli.console import say

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable(message: str) -> Iterator[Callable[[], None]]:
    """Ctrl-C and SIGTERM end the block as an exception would, and then the command with 128 + the signal's number.

    Only in a main thread.

    Args:
        message: what to say after "stopped".

    Yields:
        What takes the signals again, after a library took them for itself.

    Raises:
        typer.Exit: a signal came.
    """
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt  # Ray replaces any other by this one

    def catch() -> None:
        for number in _SIGNALS:
            signal.signal(number, stop)

    before = [(number, signal.getsignal(number)) for number in _SIGNALS]
    catch()
    try:
        yield catch
    except KeyboardInterrupt:
        if not came:
            raise
        say(f"stopped: {message}")
        raise typer.Exit(128 + came[0]) from None
    finally:
        for number, handler in before:
            signal.signal(number, handler)
