"""The driver: starts, resumes and extends sweeps, which is one and the same operation on the study.

Whatever killed the driver before, it first finishes what was interrupted, then runs trials until the budget is spent.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import optuna

from mrisynth.data.store.mirror import locate
from mrisynth.data.store.prepared import PreparedCohort, open_cohort
from mrisynth.errors import InvalidInputError, MrisynthError, NoCompletedTrialError
from mrisynth.results.index import Indexer
from mrisynth.results.store import SweepDirectory, append_event, open_sweep, read_yaml, write_yaml
from mrisynth.search.conductor import Conductor
from mrisynth.search.creation import create_sweep, data_differences
from mrisynth.search.engine import Capacity, ray_session, run_trials
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.lease import Lease, hold
from mrisynth.search.outcome import Kind
from mrisynth.search.plan import Plan
from mrisynth.search.reconcile import reconcile
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.settings import Budget
from mrisynth.search.space import Space, parse_space, with_overrides
from mrisynth.search.study import open_study, queue_retries
from mrisynth.search.weights import check_weights
from mrisynth.training.config import TrialConfig, json_schema
from mrisynth.training.metrics import METRICS

Progress = Callable[[str], None]

LAUNCHES_WITHOUT_PROGRESS = 3
"""How often Ray Tune may break, with no trial ending in between, before the sweep fails."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Where and how a sweep runs this time; nothing of it changes what is searched.

    Attributes:
        address: a running Ray cluster; None: Ray on this machine alone.
        max_concurrent: trials at once; None: what the cluster has room for.
        max_failures: how often a trial is taken up again after its worker died or raised.
    """

    address: str | None = None
    max_concurrent: int | None = None
    max_failures: int = 2


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """How a drive ended.

    Attributes:
        sweep: the sweep's folder.
        state: "done", or "stopped" where a signal or a request ended it.
        signal: the signal that stopped it, or None.
        trials: outcome -> how many trials ended so, in all drives together.
    """

    sweep: Path
    state: Literal["done", "stopped"]
    signal: int | None
    trials: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Search:
    """All that a drive works with."""

    sweep: SweepDirectory
    plan: Plan
    sampler: SeededSampler
    capacity: Capacity
    address: str | None
    index: IndexWriter
    progress: Progress


def start_sweep(
    space: Space,
    *,
    store: Path,
    results: Path,
    name: str,
    seed: int = 0,
    launch: Launch | None = None,
    progress: Progress = lambda _: None,
) -> SweepOutcome:
    """Start a new sweep and drive it until its budget is spent.

    Args:
        space: what to search, with what was set on top (the budget too).
        store: the prepared cohort.
        results: the folder of all sweeps.
        name: the sweep's name: a new folder in `results`.
        seed: what the sampler draws by.
        launch: where and how it runs.
        progress: called with one sentence whenever something happened.

    Raises:
        UsageError: the name is taken; resume it instead.
        InvalidInputError: weights that a trial needs are missing.
        NoCompletedTrialError: it ended and no trial completed.
        MrisynthError: it cannot go on; `resume_sweep` takes it up again.
    """
    cohort = open_cohort(store)
    check_weights(space)
    sweep = create_sweep(space, cohort, results=results, name=name, seed=seed)
    return _drive(sweep, space, cohort, launch=launch or Launch(), progress=progress)


def resume_sweep(
    path: Path,
    *,
    store: Path | None = None,
    launch: Launch | None = None,
    retry: Iterable[Kind] = (),
    progress: Progress = lambda _: None,
) -> SweepOutcome:
    """Finish what a sweep began, whatever ended it; a sweep that is done stays as it is.

    Args:
        path: RESULTS/NAME.
        store: the prepared cohort, if it has moved.
        launch: where and how it runs.
        retry: outcomes of which every trial is tried again, as a new trial that does not count in the budget.
        progress: called with one sentence whenever something happened.

    Raises:
        NotFoundError: there is no such sweep.
        InvalidInputError: the data have changed since it began, or weights that a trial needs are missing.
        NoCompletedTrialError: it ended and no trial completed.
        MrisynthError: another driver holds it, or it cannot go on.
    """
    sweep = open_sweep(path)
    asked = read_yaml(sweep.sweep_yaml)
    space = with_overrides(parse_space(sweep.space_yaml.read_text(encoding="utf-8"), asked["space"]), asked["set"])
    space = replace(space, budget=Budget(**asked["budget"]))
    check_weights(space, None if retry else sweep)
    cohort = open_cohort(store or locate(asked["store"]))
    if differences := data_differences(sweep, cohort):
        raise InvalidInputError(
            f"the data of {sweep.root} have changed: {'; '.join(differences)}; "
            "its trials could not be compared any more, so start a new sweep"
        )
    return _drive(sweep, space, cohort, launch=launch or Launch(), retry=retry, progress=progress)


def extend_sweep(path: Path, *, trials: int | None = None, hours: float | None = None, **where: Any) -> SweepOutcome:
    """Give a sweep a larger budget, and resume it.

    Args:
        path: RESULTS/NAME.
        trials: trials in all; None: as before.
        hours: worker-hours in all; None: as before.
        where: see `resume_sweep`.

    Raises:
        InvalidInputError: the budget is not legal.
    """
    sweep = open_sweep(path)
    asked = read_yaml(sweep.sweep_yaml)
    new = {key: value for key, value in (("trials", trials), ("hours", hours)) if value is not None}
    try:
        budget = Budget(**{**asked["budget"], **new})
    except ValueError as error:
        raise InvalidInputError(f"this budget is not legal: {new}") from error
    write_yaml(sweep.sweep_yaml, {**asked, "budget": budget.model_dump()})
    return resume_sweep(path, **where)


def plan_of(space: Space, store: Path) -> Plan:
    """What a space asks of the conductor."""
    named = {name: space.trials[name] for name in space.published}
    return Plan(
        objectives=space.objectives,
        suggest=lambda trial: TrialConfig.parse(space.suggest(trial)),
        store=store,
        budget=space.budget,
        searches=bool(space.search),
        named=named,
        points={name: space.encode(config).params or {} for name, config in named.items()},
        rungs=space.pruner.rungs if space.pruner else (),
        keep=space.pruner.keep if space.pruner else None,
    )


def drive(search: Search, lease: Lease, *, retry: Iterable[Kind] = ()) -> SweepOutcome:
    """Reconcile, then run trials until the budget is spent or somebody asks for an end.

    If Ray Tune's own loop breaks, it is started again on the same study.

    Raises:
        NoCompletedTrialError: it ended and no trial completed.
        MrisynthError: it makes no sense to go on.
    """
    append_event(search.sweep, "driver-started")
    conductor = _take_over(search)
    queue_retries(conductor.study, tuple(retry))
    breaks = 0
    while conductor.has_work() and not lease.should_stop():
        ended = _ended(conductor)
        try:
            _launch(search, conductor, lease)
        except MrisynthError:
            raise
        except Exception as error:
            append_event(search.sweep, "engine-broke", message=str(error)[-2000:])
            breaks = 1 if _ended(conductor) > ended else breaks + 1
            if breaks > LAUNCHES_WITHOUT_PROGRESS:
                raise
            search.progress("Ray Tune broke; starting it again where it was")
        if conductor.failure is not None:
            raise conductor.failure
        if not lease.should_stop():
            conductor = _take_over(search)
    return _finish(search, conductor, lease)


def _drive(
    sweep: SweepDirectory,
    space: Space,
    cohort: PreparedCohort,
    *,
    launch: Launch,
    retry: Iterable[Kind] = (),
    progress: Progress,
) -> SweepOutcome:
    asked = read_yaml(sweep.sweep_yaml)
    metrics = {name: metric.describe() for name, metric in METRICS.items()}
    indexer = Indexer(sweep, metrics=metrics, config_schema=json_schema(), searched=list(space.search))
    search = Search(
        sweep=sweep,
        plan=plan_of(space, cohort.store),
        sampler=SeededSampler(space.sampler, asked["seed"]),
        capacity=Capacity(space.resources.cpu, space.resources.gpu, launch.max_concurrent, launch.max_failures),
        address=launch.address,
        index=IndexWriter(sweep, indexer),
        progress=progress,
    )
    _say_misfits(space, progress)
    with hold(sweep) as lease:
        try:
            return drive(search, lease, retry=retry)
        finally:
            search.index.write()
            append_event(sweep, "driver-stopped", state=lease.state)


def _take_over(search: Search) -> Conductor:
    """A conductor over the study as it is on disk, with everything interrupted finished."""
    study = open_study(search.sweep.journal, objectives=search.plan.objectives, sampler=search.sampler)
    conductor = Conductor(search.sweep, study, search.plan, changed=search.index.mark, progress=search.progress)
    conductor.queue_named()
    reconcile(conductor)
    return conductor


def _launch(search: Search, conductor: Conductor, lease: Lease) -> None:
    with ExitStack() as stack:
        stack.enter_context(ray_session(search.address))
        lease.catch_signals()
        run_trials(conductor, search.index, capacity=search.capacity, should_stop=lease.should_stop)


def _finish(search: Search, conductor: Conductor, lease: Lease) -> SweepOutcome:
    """Say how it ended."""
    trials = count_outcomes(conductor.study)
    if lease.should_stop():
        lease.state = "stopped"
        return SweepOutcome(search.sweep.root, "stopped", lease.signal, trials)
    if not trials.get("completed"):
        ends = ", ".join(f"{count} {kind}" for kind, count in trials.items()) or "there was none to run"
        raise NoCompletedTrialError(f"no trial of {search.sweep.root} completed: {ends}")
    lease.state = "done"
    return SweepOutcome(search.sweep.root, "done", None, trials)


def count_outcomes(study: optuna.Study) -> dict[str, int]:
    """Outcome -> how many trials ended so."""
    counts: dict[str, int] = {}
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished():
            kind = str(trial.user_attrs["outcome"]).split(":")[0]
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def _ended(conductor: Conductor) -> int:
    return sum(count_outcomes(conductor.study).values())


def _say_misfits(space: Space, progress: Progress) -> None:
    """Say which named trials the study cannot learn from, and why."""
    for name in space.published:
        misfits = space.encode(space.trials[name]).misfits
        if misfits and space.search:
            progress(f"{name} runs as published, but is no point of this space: {'; '.join(misfits)}")
