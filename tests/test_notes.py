"""Stars, tags and notes: kept, not lost when two write, never half."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from mrisynth.errors import InvalidInputError, MrisynthError
from mrisynth.results import notes
from mrisynth.results.notes import Note, all_tags, read_notes, read_sweep_note, set_star, set_tags, set_text
from mrisynth.results.store import SweepDirectory


@pytest.fixture
def sweep(tmp_path):
    return SweepDirectory(tmp_path)


def test_nothing_written_is_nothing_read(sweep):
    assert read_notes(sweep) == {}


def test_each_part_is_changed_alone(sweep):
    set_star(sweep, 1, True)
    set_tags(sweep, 1, ["b", " a ", "", "b"])
    text = "<b>look</b> at slice 20\nand 30"
    set_text(sweep, 1, seen="", text=text)
    assert read_notes(sweep) == {1: Note(True, ("a", "b"), text)}
    set_star(sweep, 1, False)
    assert read_notes(sweep)[1] == Note(False, ("a", "b"), text)


def test_a_sweep_has_tags_of_its_own_beside_those_of_its_trials(sweep):
    assert read_sweep_note(sweep) == Note()
    set_tags(sweep, 0, ["seams"])
    set_tags(sweep, None, ["for the paper", "<b>"])
    assert read_sweep_note(sweep).tags == ("<b>", "for the paper")
    set_star(sweep, 0, True)
    assert read_sweep_note(sweep).tags == ("<b>", "for the paper")
    assert read_notes(sweep) == {0: Note(True, ("seams",))}
    set_tags(sweep, None, [])
    assert "sweep" not in json.loads(sweep.notes.read_text(encoding="utf-8"))


@pytest.mark.parametrize("entry", [None, [], "x", {"tags": "x"}, {"tags": [1, None]}])
def test_a_damaged_entry_of_the_sweep_is_passed_over(sweep, entry):
    sweep.notes.write_text(json.dumps({"schema_version": 1, "sweep": entry, "trials": {}}), encoding="utf-8")
    assert read_sweep_note(sweep) == Note()


def test_an_entry_that_says_nothing_is_dropped(sweep):
    set_star(sweep, 1, True)
    set_star(sweep, 1, False)
    assert json.loads(sweep.notes.read_text(encoding="utf-8"))["trials"] == {}


def test_two_who_write_at_once_lose_nothing(sweep):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: set_tags(sweep, number % 5, [f"t{number}"]), range(20)))
        list(pool.map(lambda number: set_star(sweep, number, True), range(20)))
    found = read_notes(sweep)
    assert sorted(found) == list(range(20))
    assert all(len(found[number].tags) == 1 for number in range(5))


def test_a_text_that_somebody_else_changed_is_not_overwritten(sweep):
    set_text(sweep, 1, seen="", text="mine")
    with pytest.raises(InvalidInputError, match="has a new note since you opened it"):
        set_text(sweep, 1, seen="", text="yours")
    assert read_notes(sweep)[1].text == "mine"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sweep: set_text(sweep, 1, seen="", text="x" * (notes.LONGEST_NOTE + 1)), "more than 4000"),
        (lambda sweep: set_tags(sweep, 1, ["x" * 41]), "longer than 40"),
        (lambda sweep: set_tags(sweep, 1, map(str, range(21))), "may have 20"),
    ],
)
def test_what_is_too_long_is_refused(sweep, change, said):
    with pytest.raises(InvalidInputError, match=said):
        change(sweep)
    assert not sweep.notes.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"trials": []}', '{"schema_version": 99, "trials": {}}'])
def test_a_damaged_file_is_refused_and_not_overwritten(sweep, content):
    sweep.notes.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError):
        set_star(sweep, 1, True)
    assert sweep.notes.read_text(encoding="utf-8") == content


def test_what_is_of_the_wrong_kind_in_an_entry_is_passed_over(sweep):
    entries = {"1": {"star": "yes", "tags": [1, "a"], "text": 7}, "../2": {"star": True}, "3": []}
    sweep.notes.write_text(json.dumps({"trials": entries}), encoding="utf-8")
    assert read_notes(sweep) == {1: Note(tags=("a",))}


def test_a_lock_that_somebody_holds_is_one_sentence(sweep, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(notes, "_WAIT", 0.01)
    with FileLock(str(sweep.notes) + ".lock"), pytest.raises(MrisynthError, match="is locked by somebody else"):
        set_star(sweep, 1, True)


def test_all_tags_are_listed_once():
    assert all_tags([Note(tags=("b",)), Note(tags=("a", "b"))]) == ["a", "b"]
