"""The drill: a toy sweep on the user's own storage whose processes are killed, and the verdict on what is left."""

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mrisynth.errors import MrisynthError
from mrisynth.results.store import SweepDirectory
from mrisynth.search.drill.checks import begun_twice, find_damage
from mrisynth.search.drill.kills import Kill
from mrisynth.search.drill.strikes import SkippedError, strike
from mrisynth.search.drill.supervision import Drives, FailedError, SpentError
from mrisynth.search.drill.toy_sweep import (
    ToySettings,
    enlarge_budget,
    forget_study,
    make_toy_sweep,
    open_toy_study,
    read_toy_settings,
)
from mrisynth.search.driver import count_outcomes
from mrisynth.search.launch import Progress

TRIES = 3
"""How often something is tried that did not come about."""

MORE = 8
"""How many trials a sweep gets on top that was over before it could be killed."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill that was carried out.

    Attributes:
        what: who was killed, and when in the course of things.
        detail: which process, and what followed.
        seconds: when, since the drill began.
    """

    what: str
    detail: str
    seconds: float


@dataclass(slots=True)
class Verdict:
    """What a drill found.

    Attributes:
        sweep: the toy sweep's folder.
        damage: what is not as it must be, one sentence each; none where nothing was lost or doubled.
        strikes: the kills.
        skipped: the kills that cannot be tried here, and why.
        trials: outcome -> how many trials ended so.
        budget: how many there should be.
        again: how many epochs were interrupted and therefore begun again.
        drives: how often a driver was started.
        seconds: how long it took.
    """

    sweep: Path
    damage: list[str] = field(default_factory=list)
    strikes: list[Strike] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    trials: dict[str, int] = field(default_factory=dict)
    budget: int = 0
    again: int = 0
    drives: int = 0
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing was lost or doubled."""
        return not self.damage


def run_drill(
    results: Path, *, settings: ToySettings, kills: Sequence[Kill], say: Progress = lambda _: None
) -> Verdict:
    """Run a toy sweep in a results folder, kill its processes, and look at what is left.

    Args:
        results: the folder of all sweeps; made if it is not there.
        settings: what the toy sweep is, and where its study and its workers are.
        kills: what is killed, one after the other; the budget grows where they need more of a search.
        say: called with one sentence after each kill.

    Raises:
        UsageError: the storage is unknown.
        StorageLostError: the storage cannot be used.
    """
    sweep = make_toy_sweep(results, f"resume-drill-{datetime.now():%Y%m%d-%H%M%S}", settings)
    try:
        open_toy_study(sweep)
    except MrisynthError:  # told at once, before anything is killed
        shutil.rmtree(sweep.root)
        raise
    drives, verdict = Drives(sweep), Verdict(sweep.root)
    try:
        for kill in kills:
            _try(kill, drives, verdict, say)
        verdict.damage += _finish(drives)
    finally:
        drives.abandon()
    verdict.seconds, verdict.drives = drives.seconds, drives.count
    verdict.damage += find_damage(sweep)
    verdict.trials |= count_outcomes(open_toy_study(sweep))
    verdict.budget, verdict.again = read_toy_settings(sweep).trials, begun_twice(sweep)
    return verdict


def remove_drill(folder: Path) -> None:
    """Remove what a drill left: its folder, and its study where that is in a database."""
    forget_study(SweepDirectory(folder))
    shutil.rmtree(folder)


def _try(kill: Kill, drives: Drives, verdict: Verdict, say: Progress) -> None:
    """Carry out a kill, and note what came of it."""
    try:
        detail = _insist(drives, kill)
    except SkippedError as reason:
        verdict.skipped.append(f"{kill.words}: {reason}")
        say(f"not tried: {kill.words} ({reason})")
    except (FailedError, MrisynthError) as failure:
        verdict.damage.append(f"{kill.words}: {failure}")
        say(f"{drives.seconds:4.0f} s  {kill.words}: {failure}")
    else:
        verdict.strikes.append(Strike(kill.words, detail, drives.seconds))
        say(f"{drives.seconds:4.0f} s  killed {kill.words} ({detail})")


def _insist(drives: Drives, kill: Kill) -> str:
    """Carry out a kill, with a larger budget where the search was over before.

    Raises:
        FailedError: something else happened, or it was over every time.
    """
    for _ in range(TRIES):
        with suppress(SpentError):
            return strike(drives, kill)
        enlarge_budget(drives.sweep, MORE)
    raise FailedError(f"the search was over before it could be killed, {TRIES} times")


def _finish(drives: Drives) -> list[str]:
    """Let the search come to its end: what went wrong on the way."""
    wrong: list[str] = []
    for _ in range(TRIES):
        try:
            drives.ensure()
            drives.wait_for(lambda: True if drives.driver.poll() == 0 else None)
        except (FailedError, MrisynthError) as failure:
            wrong.append(str(failure))
            time.sleep(1)
        else:
            break
    return wrong
