"""What `status` and the dashboard warn of: each rule where it must speak and where it must be silent."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from insight_fixtures import BEGAN, DOMAINS, index_of, known_trials, trial
from results_fixtures import copy_sweep, finish, make_sweep

from mrisynth.results.alerts import LOW_DISK, alerts
from mrisynth.results.insight.edges import edges
from mrisynth.results.leaderboard import status

ROOT = Path("/results/my sweep")


def told(trials, *, state="running", **known):
    """The alerts by code."""
    found = alerts(index_of(trials, DOMAINS), state=state, root=ROOT, **known)
    assert all(alert.reason.endswith(".") and alert.remedy.endswith(".") for alert in found)
    return {alert.code: alert for alert in found}


def completed(number, psnr=20.0, **fields):
    return trial(number, {}, {"psnr": psnr}, **fields)


def ended(number, outcome, reason, message="It happened.", **fields):
    return trial(number, {}, {}, outcome=outcome, reason=reason, message=message, **fields)


def test_nothing_is_said_of_a_sweep_in_order():
    assert told([completed(number) for number in range(5)], free=1e12, silent=1.0, leaders={4}) == {}
    assert told([], state="queued") == {}


@pytest.mark.parametrize("state", ["queued", "running", "stopped", "done"])
def test_a_healthy_state_is_no_alert(state):
    assert told([], state=state, silent=7200.0) == {}


def test_a_silent_driver_is_an_error_with_the_command_that_resumes():
    alert = told([], state="stale", silent=7200.0)["stale"]
    assert (alert.severity, alert.command) == ("error", "mrisynth resume '/results/my sweep'")
    assert "no sign of life for 2 h 00 min" in alert.reason


def test_a_failed_sweep_is_an_error():
    assert told([], state="failed")["failed"].command == "mrisynth resume '/results/my sweep'"


@pytest.mark.parametrize(("reason", "word"), [("diverged", "learning rates"), ("collapsed", "adversary")])
def test_many_rejected_trials_are_told_with_the_commonest_reason_and_its_remedy(reason, word):
    other = "collapsed" if reason == "diverged" else "diverged"
    trials = [completed(number) for number in range(6)]
    trials += [ended(6, "rejected", reason), ended(7, "rejected", reason, "The second."), ended(8, "rejected", other)]
    alert = told(trials)["rejected"]
    assert "3 of 9 trials that ended were rejected (33%), most often (2) because they " + reason in alert.reason
    assert "the last, trial 7: The second." in alert.reason
    assert word in alert.remedy


def test_trials_rejected_without_a_reason_are_told_too():
    assert "3 of 3 trials that ended were rejected (100%), all because they failed" in (
        told([ended(number, "rejected", None, None) for number in range(3)])["rejected"].reason
    )


def test_few_rejected_trials_are_no_alert():
    assert "rejected" not in told([completed(0), ended(1, "rejected", "diverged"), ended(2, "rejected", "diverged")])
    few = [completed(number) for number in range(10)]
    assert "rejected" not in told([*few, *(ended(number, "rejected", "diverged") for number in (10, 11, 12))])


def test_trials_without_memory_are_numbered_until_they_are_tried_again():
    full = [ended(0, "rejected", "out of memory"), ended(1, "rejected", "out of memory")]
    alert = told([*full, completed(2, retry_of=1)])["memory"]
    assert "1 trial ran out of memory: trial 0." in alert.reason
    assert alert.command == "mrisynth retry '/results/my sweep' --rejected"
    assert "rejected" not in told([*full, ended(2, "rejected", "out of memory")])
    assert "memory" not in told([full[0], completed(2, retry_of=0)])


def test_lost_trials_in_a_row_are_an_error_and_scattered_ones_a_hint():
    lost = [ended(number, "lost", "node", f"Node {number} is gone.") for number in (1, 2, 3)]
    alert = told([completed(0), *lost])["lost"]
    assert (alert.severity, alert.command) == ("error", "mrisynth retry '/results/my sweep'")
    assert "The last 3 trials to end were lost (node); the last, trial 3: Node 3 is gone." in alert.reason
    assert told([*lost, completed(4)])["lost"].severity == "info"
    assert "lost" not in told([lost[0], completed(4, retry_of=1)])


def test_the_row_goes_by_the_time_of_ending_and_not_by_number():
    lost = [ended(number, "lost", "node") for number in (1, 2, 3)]
    assert told([completed(0, ended=BEGAN + timedelta(days=1)), *lost])["lost"].severity == "info"


def test_a_search_that_finds_nothing_better_is_told_with_its_cost():
    trials = [completed(0, 30.0), *(completed(number) for number in range(1, 21))]
    alert = told(trials, leaders={0})["stuck"]
    assert "No better trial than 0 has come in the last 20 trials, which were 95% of the cost." in alert.reason
    assert alert.command == "mrisynth stop '/results/my sweep'"
    assert told(trials, leaders={0}, state="stopped")["stuck"].command is None
    assert "stuck" not in told(trials, leaders={0}, state="done")
    assert "stuck" not in told(trials[:20], leaders={0})
    assert "stuck" not in told(trials, leaders={0, 10})  # of several objectives the newest counts
    cheap = [trials[0], *(completed(number, seconds=1.0) for number in range(1, 21))]
    assert "stuck" not in told(cheap, leaders={0})


def test_the_edges_of_ranges_are_those_that_the_analysis_finds():
    index = index_of(known_trials(150), DOMAINS)
    found = [alert.reason for alert in alerts(index, state="done", root=ROOT) if alert.code == "edge"]
    assert found == [edge.finding for edge in edges(index, "psnr")]
    assert any("losses.l1" in reason for reason in found)


def test_a_disk_that_is_full_or_will_be_is_told_while_the_sweep_may_write():
    assert told([], free=LOW_DISK - 1)["disk"].severity == "error"
    assert told([], free=5e9, to_come=9e9)["disk"].reason == "The sweep will write some 9 GB more, and 5 GB are free."
    assert "disk" not in told([], free=5e9, to_come=4e9)
    assert "disk" not in told([], free=0.0, state="done")
    assert "disk" not in told([], free=None, to_come=9e9)


def test_the_worst_comes_first():
    trials = [ended(0, "rejected", "out of memory"), *(ended(number, "lost", "node") for number in (1, 2, 3))]
    found = alerts(index_of(trials, DOMAINS), state="running", root=ROOT, free=LOW_DISK + 1, to_come=1e13)
    assert [alert.severity for alert in found] == ["error", "warning", "warning"]


def test_status_carries_them_with_what_it_knows(tmp_path):
    template = finish(make_sweep(tmp_path / "a"))
    sweep = copy_sweep(template, tmp_path)
    beat = json.loads(sweep.heartbeat.read_text(encoding="utf-8"))
    sweep.heartbeat.write_text(json.dumps({**beat, "time": "2026-01-01T00:00:00+00:00"}), encoding="utf-8")
    found = {alert["code"]: alert for alert in status(sweep)["alerts"]}
    assert {"stale", "lost"} <= set(found)
    assert found["stale"]["command"] == f"mrisynth resume {sweep.root}"
    assert found["lost"]["reason"] == "1 trial was lost (worker); the last, trial 4: The worker died three times."


def test_the_command_line_prints_each_with_what_to_do(tmp_path, capsys):
    from mrisynth.cli.results import status as command

    sweep = finish(make_sweep(tmp_path), "failed")
    command(sweep.root)
    said = capsys.readouterr()
    assert "error: The sweep was ended by an error. Its last events" in " ".join(said.out.split())
    assert f"resume {sweep.root}" in "".join(said.err.splitlines())
    assert "info: 1 trial was lost (worker)" in said.out
