import json

import pytest
from search_fixtures import make_toy

from mrisynth.search import machine
from mrisynth.search.drill import verdict as verdicts
from mrisynth.search.drill.verdict import Strike, Verdict
from mrisynth.search.machine import Item


def test_it_prints_one_line_an_item(command, monkeypatch):
    monkeypatch.setattr(
        machine, "examine", lambda _: [Item("torch", "2.6"), Item("disk", "full", "warning", "make room")]
    )
    answer = command("doctor")
    assert answer.code == 0
    assert answer.stdout.splitlines() == ["ok      torch: 2.6", "warning disk: full; make room"]


def test_an_error_is_exit_code_1(command, monkeypatch):
    monkeypatch.setattr(machine, "examine", lambda _: [Item("ray", "not installed", "error", "install it")])
    assert command("doctor").code == 1
    answer = command("doctor", "--json")
    assert answer.code == 1
    told = json.loads(answer.stdout)
    assert (told["schema_version"], told["passed"]) == (1, False)
    assert told["items"] == [{"name": "ray", "value": "not installed", "verdict": "error", "remedy": "install it"}]


def test_a_drill_needs_a_folder(command):
    answer = command("doctor", "--resume-drill")
    assert answer.code == 2
    assert "--results" in answer.stderr


def test_an_unknown_storage_is_refused_and_leaves_nothing(command, tmp_path):
    answer = command("doctor", "--resume-drill", "--results", tmp_path, "--storage", "mongodb://here")
    assert answer.code == 2
    assert "unknown" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_not_there_is_told_before_anything_is_killed(command, tmp_path):
    url = "postgresql://somebody@127.0.0.1:9/nothing"
    answer = command("doctor", "--resume-drill", "--results", tmp_path, "--storage", url)
    assert answer.code == 1
    assert "cannot be used" in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """A function that makes every drill end with this damage."""

    def end(damage):
        sweep = make_toy(tmp_path, trials=2)
        verdict = Verdict(sweep.root, damage, [Strike("a worker", "process 7", 3.0)], trials={"completed": 2}, budget=2)
        monkeypatch.setattr(verdicts, "run_drill", lambda *_, **__: verdict)
        return sweep.root

    return end


def test_a_drill_that_passed_leaves_nothing(command, ended):
    folder = ended([])
    answer = command("doctor", "--resume-drill", "--results", folder.parent)
    assert answer.code == 0
    assert answer.stdout.startswith("passed: 1 kills in")
    assert not folder.exists()


def test_its_folder_can_be_kept(command, ended):
    folder = ended([])
    answer = command("doctor", "--resume-drill", "--results", folder.parent, "--keep", "--json")
    assert json.loads(answer.stdout)["folder"] == str(folder)
    assert folder.exists()


def test_a_drill_that_failed_says_what_to_do_and_keeps_the_folder(command, ended):
    folder = ended(["trial 1 has no outcome"])
    answer = command("doctor", "--resume-drill", "--results", folder.parent)
    assert answer.code == 1
    assert "FAILED" in answer.stdout
    assert "damage: trial 1 has no outcome" in answer.stdout
    assert str(folder) in answer.stderr
    assert "--storage journal" in answer.stderr
    assert folder.exists()
