"""Deciding about subjects: accepting, excluding, and taking it back."""

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mrisynth.data.quality.decisions import Decision, Verdict, read_decisions, write_decisions
from mrisynth.data.store import mirror
from mrisynth.data.store.prepared import PreparedSubject, open_cohort
from mrisynth.data.store.records import lock
from mrisynth.errors import InvalidInputError, NotFoundError, UsageError


def decide(
    store: Path,
    *,
    accept: Sequence[str] = (),
    exclude: Sequence[str] = (),
    undo: Sequence[str] = (),
    reason: str = "",
) -> str:
    """Write down what a person decided; a later decision on a subject replaces the earlier one.

    Returns:
        The data key of the cohort as it is now opened.

    Raises:
        UsageError: an exclusion has no reason, or a subject is named for two decisions.
        NotFoundError: the store has no such subject, or there is nothing to undo.
        InvalidInputError: nothing would be left to train or to validate on.
    """
    named = [*accept, *exclude, *undo]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise UsageError(f"{', '.join(twice)} is named for two decisions; decide one thing about a subject")
    if exclude and not reason.strip():
        raise UsageError("say why with --reason TEXT: an exclusion without a reason cannot be defended later")
    open_cohort(store, with_excluded=True)  # before a lock is made in what may be no store
    with lock(store, "cohort"):
        subjects = {subject.name: subject for subject in open_cohort(store, with_excluded=True).subjects}
        decisions = read_decisions(store)
        _check_known([*accept, *exclude], subjects, store)
        if missing := [name for name in undo if name not in decisions]:
            raise NotFoundError(f"nothing was decided about {', '.join(missing)} in {store}, so nothing can be undone")
        decisions = {name: decision for name, decision in decisions.items() if name not in undo}
        decisions |= {name: _decision("accepted", reason, subjects[name]) for name in accept}
        decisions |= {name: _decision("excluded", reason, subjects[name]) for name in exclude}
        if exclude:
            _check_splits(subjects, decisions)
        write_decisions(store, decisions)
        mirror.upload_list(store, "decisions.json")
    return open_cohort(store).data_key


def _decision(verdict: Verdict, reason: str, subject: PreparedSubject) -> Decision:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Decision(verdict, " ".join(reason.split()), _who(), when, subject.key)


def _who() -> str:
    """The name of the account; containers often have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _check_known(names: Sequence[str], subjects: dict[str, PreparedSubject], store: Path) -> None:
    if unknown := [name for name in names if name not in subjects]:
        raise NotFoundError(f"{store} has no subject {', '.join(unknown)}; it has {', '.join(list(subjects)[:12])}")


def _check_splits(subjects: dict[str, PreparedSubject], decisions: dict[str, Decision]) -> None:
    """Refuse to exclude the last subject of a split that training needs."""
    kept = {s.split for s in subjects.values() if s.name not in decisions or decisions[s.name].verdict != "excluded"}
    for split in ("train", "validation"):
        if split not in kept:
            raise InvalidInputError(
                f"this would leave no {split} subject; give other splits in pairs.csv and prepare again"
            )
