"""Ctrl-C and SIGTERM end a command cleanly."""

import signal

import pytest
import typer

from mrisynth.cli.signals import stoppable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_block_with_a_sentence_and_its_exit_code(number, capsys):
    before = signal.getsignal(number)
    with pytest.raises(typer.Exit) as caught, stoppable("go on with resume"):
        signal.raise_signal(number)
    assert caught.value.exit_code == 128 + number
    assert "stopped: go on with resume" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_signals_that_a_library_took_can_be_taken_again():
    def go_on(catch):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.raise_signal(signal.SIGTERM)
        catch()
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(typer.Exit), stoppable("") as catch:
        go_on(catch)
