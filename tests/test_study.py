import json

import optuna
import pytest
from optuna.trial import TrialState
from search_fixtures import suggest_stub

from mrisynth.errors import InvalidInputError
from mrisynth.search.outcome import Outcome
from mrisynth.search.pruning import Standing
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.study import (
    find_trial,
    find_verdict,
    open_study,
    queue_named,
    record_rung,
    seconds_spent,
    standings,
    take_trial,
    tell,
)

PSNR = {"psnr": "maximize"}
BOTH = {"psnr": "maximize", "mae": "minimize"}


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "study" / "journal.log"


def reopen(journal, objectives=PSNR):
    return open_study(journal, objectives=objectives, sampler=SeededSampler("tpe", 0))


def asked(study):
    trial = study.ask()
    suggest_stub(trial)
    return trial.number


def test_a_study_is_found_again(journal):
    number = asked(reopen(journal))
    tell(reopen(journal), number, Outcome("completed", "", values={"psnr": 21.0}), seconds=90)
    study = reopen(journal)
    assert [trial.value for trial in study.trials] == [21.0]
    assert seconds_spent(study) == 90


def test_other_objectives_are_refused(journal):
    reopen(journal)
    with pytest.raises(InvalidInputError, match="objectives are"):
        reopen(journal, {"ssim": "maximize"})


def test_a_database_holds_a_study_too(tmp_path, journal):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = open_study(journal, objectives=PSNR, sampler=SeededSampler("tpe", 0), storage=url, name="mine")
    number = asked(study)
    tell(study, number, Outcome("pruned", ""))
    again = open_study(journal, objectives=PSNR, sampler=SeededSampler("tpe", 0), storage=url, name="mine")
    assert find_trial(again, number).state == TrialState.PRUNED
    assert not journal.exists()


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_cut_and_the_study_goes_on(journal, cut):
    study = reopen(journal)
    asked(study)
    whole = journal.read_bytes()
    number = asked(study)
    journal.write_bytes(whole + journal.read_bytes()[len(whole) :][:cut])
    again = reopen(journal)
    assert journal.read_bytes() == whole
    assert asked(again) == number
    assert all(json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines())
    assert len(reopen(journal).trials) == 2


@pytest.mark.parametrize(
    ("outcome", "state", "value"),
    [
        (Outcome("completed", "", values={"psnr": 20.0}), TrialState.COMPLETE, 20.0),
        (Outcome("pruned", "", rung=1, values={"psnr": 9.0}), TrialState.PRUNED, None),
        (Outcome("rejected", "", "diverged"), TrialState.PRUNED, None),
        (Outcome("lost", ""), TrialState.FAIL, None),
    ],
)
def test_outcomes_are_told_as_tpe_needs_them(journal, outcome, state, value):
    study = reopen(journal)
    number = asked(study)
    tell(study, number, outcome)
    assert (find_trial(study, number).state, find_trial(study, number).value) == (state, value)


def test_only_what_cannot_be_trained_is_infeasible(journal):
    study = reopen(journal)
    rejected, pruned = asked(study), asked(study)
    tell(study, rejected, Outcome("rejected", "", "diverged"))
    tell(study, pruned, Outcome("pruned", ""))
    assert [max(trial.constraints.values(), default=0.0) > 0 for trial in study.trials] == [True, False]


def test_a_trial_is_told_once(journal):
    study = reopen(journal)
    number = asked(study)
    tell(study, number, Outcome("completed", "", values={"psnr": 20.0}))
    tell(study, number, Outcome("completed", "", values={"psnr": 5.0}))
    assert find_trial(study, number).value == 20.0


def test_several_objectives_are_told_in_their_order(journal):
    study = reopen(journal, BOTH)
    number = asked(study)
    record_rung(study, number, Standing("cnn", 0, (8.0,)), epoch=2, pruned=False)
    tell(study, number, Outcome("completed", "", values={"mae": 0.1, "psnr": 20.0}))
    assert find_trial(study, number).values == [20.0, 0.1]


def test_several_objectives_can_be_pruned_and_asked_on(journal):
    study = reopen(journal, BOTH)
    for _ in range(14):
        number = asked(study)
        record_rung(study, number, Standing("cnn", 0, (8.0,)), epoch=2, pruned=True)
        tell(study, number, Outcome("pruned", "", rung=2))
    assert find_trial(study, asked(study)).params


def test_rungs_are_kept_with_their_verdicts(journal):
    study = reopen(journal)
    first, second = asked(study), asked(study)
    record_rung(study, first, Standing("cnn", 0, (8.0,)), epoch=2, pruned=False)
    record_rung(study, second, Standing("gan", 1, (7.0,)), epoch=6, pruned=True)
    again = reopen(journal)
    assert list(standings(again, 1, but=first)) == [Standing("gan", 1, (7.0,))]
    assert [find_verdict(again, first, 0), find_verdict(again, second, 1), find_verdict(again, first, 1)] == [
        False,
        True,
        None,
    ]
    assert find_trial(again, first).intermediate_values == {2: 8.0}


def test_named_trials_are_queued_once_and_first(journal):
    queue_named(reopen(journal), {"a": {"x": 0.5, "kind": "plain"}})
    study = reopen(journal)
    queue_named(study, {"a": {"x": 0.5, "kind": "plain"}, "b": {"x": 0.1, "kind": "plain"}})
    assert [trial.user_attrs["name"] for trial in study.trials] == ["a", "b"]
    trial = study.ask()
    assert suggest_stub(trial).values["x"] == 0.5


def test_a_waiting_trial_runs_when_it_is_taken(journal):
    study = reopen(journal)
    queue_named(study, {"a": {"x": 0.5}})
    take_trial(study, 0)
    assert find_trial(study, 0).state == TrialState.RUNNING
    assert isinstance(take_trial(study, 0), optuna.Trial)


def test_a_standing_that_an_older_version_stored_is_read(journal):
    study = reopen(journal, BOTH)
    old, new = asked(study), asked(study)
    optuna.Trial(study, old).set_user_attr("rung:0", {"epoch": 2, "value": 8.0, "family": "cnn", "pruned": False})
    record_rung(study, new, Standing("cnn", 0, (9.0, 0.5)), epoch=2, pruned=False)
    assert list(standings(study, 0, but=-1)) == [Standing("cnn", 0, (8.0,)), Standing("cnn", 0, (9.0, 0.5))]
    assert find_verdict(study, old, 0) is False
