import pytest

from mrisynth.results.store import SweepDirectory
from mrisynth.search.drill import traps
from mrisynth.search.drill.traps import SetTrap, Trap, clear_trap, set_trap, trap_file


@pytest.fixture
def died(monkeypatch):
    """How often a trap was sprung."""
    times = []
    monkeypatch.setattr(traps, "die", lambda: times.append("died"))
    return times


def test_it_is_sprung_at_the_event_of_that_number(died):
    trap = Trap.parse("outcome:2")
    for event in ("outcome", "epoch", "told"):
        trap.hear(event)
    assert not died
    trap.hear("outcome")
    assert died


def test_half_an_index_is_between_its_tables_and_its_manifest(died):
    trap = Trap.parse("half-index:2")
    for _ in range(2):
        trap.hear("index-begin")
        assert not died
        trap.hear_manifest()
    assert died == ["died"]


def test_without_a_trap_nothing_happens(died):
    for trap in (Trap(), Trap.parse("never")):
        trap.hear("never")
        trap.hear_manifest()
    assert not died


def test_a_trap_is_found_when_it_is_set_and_counts_from_then_on(tmp_path, died):
    sweep = SweepDirectory(tmp_path)
    standing = SetTrap(trap_file(sweep))
    standing.look().hear("ask")
    set_trap(sweep, "ask:2")
    standing.look().hear("ask")
    assert not died
    standing.look().hear("ask")
    assert died
    clear_trap(sweep)
    assert standing.look() == Trap()
