"""The driver: starts, resumes and extends sweeps, which is one and the same operation on the study.

Whatever killed the driver before, it first finishes what was interrupted, then runs trials until the budget is spent.
"""

import os
import socket
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from mrisynth.data.store.mirror import locate
from mrisynth.data.store.prepared import PreparedCohort, open_cohort
from mrisynth.errors import InvalidInputError, MrisynthError, NoCompletedTrialError, NotFoundError, UsageError
from mrisynth.results.constraints import SIZES
from mrisynth.results.forecast import keep_forecast, note_end, write_forecast
from mrisynth.results.index import Indexer
from mrisynth.results.store import SweepDirectory, append_event, open_sweep, read_yaml, write_yaml
from mrisynth.search.account import Account
from mrisynth.search.changes import refuse_changes
from mrisynth.search.conductor import Conductor
from mrisynth.search.creation import create_sweep, data_differences
from mrisynth.search.engine import Capacity, clear_staging, ray_session, run_trials
from mrisynth.search.grid import grid_in_order
from mrisynth.search.guard import guard
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.launch import NOTHING, Again, Launch, NewSweep, Progress, Search, SweepOutcome
from mrisynth.search.lease import Lease, LeaseLostError, hold
from mrisynth.search.plan import Plan
from mrisynth.search.reconcile import reconcile
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.settings import Budget
from mrisynth.search.space import Space, parse_space, with_overrides
from mrisynth.search.storage.claim import claim, study_name
from mrisynth.search.storage.database import JOURNAL, is_shared, parse_storage
from mrisynth.search.storage.door import open_storage
from mrisynth.search.storage.outage import LASTS, Patience, StorageLostError, persist, wait_for_room
from mrisynth.search.study import continued_trials, open_study, outcome_kind, queue_retries
from mrisynth.search.weights import check_weights
from mrisynth.training.config import TrialConfig, json_schema
from mrisynth.training.metrics import METRICS

LAUNCHES_WITHOUT_PROGRESS = 3
"""How often Ray Tune may break, with no trial ending in between, before the sweep fails."""


def start_sweep(new: NewSweep, *, launch: Launch | None = None, progress: Progress = lambda _: None) -> SweepOutcome:
    """Start a new sweep and drive it until its budget is spent.

    Args:
        new: what it begins with.
        launch: where and how it runs.
        progress: called with one sentence whenever something happened.

    Raises:
        UsageError: the name is taken (resume it instead), or the storage is unknown.
        InvalidInputError: weights that a trial needs are missing.
        NoCompletedTrialError: it ended and no trial completed.
        MrisynthError: it cannot go on; `resume_sweep` takes it up again.
    """
    storage = parse_storage(new.storage)
    if is_shared(storage):
        open_storage(new.results, storage)
    cohort = open_cohort(new.store)
    check_weights(new.space)
    sweep = create_sweep(new.space, cohort, results=new.results, name=new.name, seed=new.seed, storage=storage)
    with hold(sweep) as lease:
        if new.forecast is not None:
            write_forecast(sweep, new.forecast)
        return _drive(lease, new.space, cohort, launch=launch or Launch(), progress=progress)


def resume_sweep(
    path: Path,
    *,
    store: Path | None = None,
    storage: str | None = None,
    launch: Launch | None = None,
    again: Again | None = None,
    progress: Progress = lambda _: None,
) -> SweepOutcome:
    """Finish what a sweep began, whatever ended it; a sweep that is done stays as it is.

    Args:
        path: RESULTS/NAME.
        store: the prepared cohort, if it has moved.
        storage: the URL of the study's database, if it has moved.
        launch: where and how it runs.
        again: what shall be done beyond what the sweep began with.
        progress: called with one sentence whenever something happened.

    Raises:
        NotFoundError: there is no such sweep.
        InvalidInputError: the data or the space have changed since it began, weights that a trial needs are missing, or
            what shall be done again cannot be.
        NoCompletedTrialError: it ended and no trial completed.
        MrisynthError: another driver holds it, or it cannot go on.
    """
    sweep, again = open_sweep(path), again or NOTHING
    with hold(sweep) as lease:
        asked = read_yaml(sweep.sweep_yaml)
        if "toy" in asked:
            raise UsageError(f"{path} is what a drill left; run another one: mrisynth doctor --resume-drill")
        refuse_changes(sweep, asked)
        cohort = _find_cohort(sweep, store or locate(asked["store"]))
        asked["budget"] = _larger(asked["budget"], again)
        space = parse_space(sweep.space_yaml.read_text(encoding="utf-8"), asked["space"])
        space = replace(with_overrides(space, asked.get("set", {})), budget=Budget(**asked["budget"]))
        check_weights(space, None if again.kinds or again.trials else sweep)
        asked["storage"] = _moved(asked.get("storage", JOURNAL), storage)
        if again.budget or storage:
            write_yaml(sweep.sweep_yaml, asked)
        return _drive(lease, space, cohort, launch=launch or Launch(), again=again, progress=progress)


def _find_cohort(sweep: SweepDirectory, store: Path) -> PreparedCohort:
    """The data that the sweep began with."""
    try:
        cohort = open_cohort(store)
    except NotFoundError as error:
        raise NotFoundError(
            f"{error}; if the prepared cohort of {sweep.root} has moved, name it: --data STORE"
        ) from None
    if differences := data_differences(sweep, cohort):
        raise InvalidInputError(
            f"the data of {sweep.root} have changed: {'; '.join(differences)}; "
            "its trials could not be compared any more, so start a new sweep"
        )
    return cohort


def _moved(storage: str, to: str | None) -> str:
    """Where the study is now.

    Raises:
        UsageError: it is in the sweep's own folder, and cannot have moved elsewhere.
    """
    if to is not None and not is_shared(storage):
        raise UsageError(f"the study of this sweep is in its own folder ({storage}); leave --storage out")
    return parse_storage(to or storage)


def _larger(budget: dict[str, Any], again: Again) -> dict[str, Any]:
    """The budget with what `again` adds to it.

    Raises:
        InvalidInputError: it would be smaller.
    """
    for key, value in again.budget.items():
        if budget.get(key) is None:
            raise InvalidInputError(f"this sweep has no limit of {key} that could be raised")
        if value < budget[key]:
            raise InvalidInputError(f"the budget is {budget[key]:g} {key} already; {value:g} would be less")
    return {**budget, **again.budget}


def plan_of(space: Space, store: Path, *, seed: int) -> Plan:
    """What a space asks of the conductor; the seed orders a grid."""
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
        quota=space.pruner.quota if space.pruner else 0,
        grid=grid_in_order(space.parameters, seed) if space.sampler == "grid" else None,
        cpu=space.resources.cpu,
        bounds=tuple(bound for bound in space.bounds if bound.name not in SIZES),
        forests=space.has_forests,
    )


def drive(search: Search, lease: Lease, *, again: Again = NOTHING) -> SweepOutcome:
    """Reconcile, then run trials until the budget is spent or somebody asks for an end.

    If Ray Tune's own loop breaks, it is started again on the same study, as soon as disk and storage can be used.

    Raises:
        NoCompletedTrialError: it ended and no trial completed.
        StorageLostError: disk or storage could not be used for minutes.
        MrisynthError: it makes no sense to go on.
    """
    lease.state = "failed"
    try:
        return _run(search, lease, again)
    except StorageLostError:
        lease.check()
        if not lease.should_stop():
            raise
        lease.state = "stopped"
        return SweepOutcome(search.sweep.root, "stopped", lease.signal)


def _run(search: Search, lease: Lease, again: Again) -> SweepOutcome:
    patience = _patience(search, lease)
    append_event(search.sweep, "driver-started", pid=os.getpid(), host=socket.gethostname())
    conductor = _take_over(search, lease)
    _queue_again(conductor, again)
    breaks = 0
    while conductor.has_work() and not lease.should_stop():
        ended = _ended(conductor)
        try:
            _launch(search, conductor, lease)
        except MrisynthError:
            raise
        except Exception as error:
            lease.check()
            wait_for_room(search.sweep.root, patience=patience)
            append_event(search.sweep, "engine-broke", message=str(error)[-2000:])
            breaks = 1 if _ended(conductor) > ended else breaks + 1
            if breaks > LAUNCHES_WITHOUT_PROGRESS:
                raise
            search.progress("Ray Tune broke; starting it again where it was")
        if conductor.failure is not None:
            raise conductor.failure
        if not lease.should_stop():
            conductor = _take_over_again(search, lease)
    return _finish(search, conductor, lease)


def _drive(
    lease: Lease,
    space: Space,
    cohort: PreparedCohort,
    *,
    launch: Launch,
    again: Again = NOTHING,
    progress: Progress,
) -> SweepOutcome:
    sweep = lease.sweep
    asked = read_yaml(sweep.sweep_yaml)
    metrics = {name: metric.describe() for name, metric in METRICS.items()}
    domains = {path: dimension.to_dict() for path, dimension in space.search.items()}
    indexer = Indexer(
        sweep,
        metrics=metrics,
        config_schema=json_schema(),
        searched=list(domains),
        domains=domains,
        pruner=space.pruner.model_dump() if space.pruner else {},
    )
    search = Search(
        sweep=sweep,
        plan=plan_of(space, cohort.store, seed=asked["seed"]),
        sampler=SeededSampler(space.sampler, asked["seed"]),
        capacity=Capacity(space.resources.cpu, space.resources.gpu, launch.max_concurrent, launch.max_failures),
        address=launch.address,
        index=IndexWriter(sweep, indexer, check=lease.check, written=partial(keep_forecast, sweep)),
        progress=progress,
        grace=launch.grace,
        storage=asked.get("storage", JOURNAL),
    )
    _say_misfits(space, progress)
    return drive_and_index(search, lease, again=again)


def drive_and_index(search: Search, lease: Lease, *, again: Again = NOTHING) -> SweepOutcome:
    """Drive, and leave an index of what there is, however it ended."""
    try:
        return drive(search, lease, again=again)
    finally:
        with suppress(LeaseLostError):
            where = f"the disk of {search.sweep.root}"
            persist(lambda _: search.index.write(), where=where, patience=_patience(search, lease))
            append_event(search.sweep, "driver-stopped", state=lease.state)


def _queue_again(conductor: Conductor, again: Again) -> None:
    """Queue what shall be tried again, and say what that is."""
    if again.kinds or again.trials:
        chosen = queue_retries(conductor.study, again.kinds, again.trials)
        what = f"trying again: trial{'s' * (len(chosen) != 1)} {', '.join(map(str, chosen))}"
        nothing = f"no trial is {' or '.join(again.kinds)} that was not tried again before"
        conductor.progress(what if chosen else nothing)


def _take_over(search: Search, lease: Lease) -> Conductor:
    """A conductor over the study as it is on disk, with everything interrupted finished."""
    clear_staging(search.sweep)
    study = open_study(
        search.sweep.journal,
        objectives=search.plan.objectives,
        sampler=search.sampler,
        storage=search.storage,
        name=study_name(search.sweep, search.storage),
        before_write=lease.check,
        patience=_patience(search, lease),
    )
    claim(study, search.sweep, search.storage)
    conductor = Conductor(
        search.sweep,
        study,
        search.plan,
        changed=search.index.mark,
        progress=search.progress,
        check=lease.check,
        account=Account(search.plan.budget, search.plan.cpu, lease.ran, search.grace),
    )
    conductor.queue_named()
    reconcile(conductor)
    conductor.queue_cut()
    return conductor


def _take_over_again(search: Search, lease: Lease) -> Conductor:
    """The same, as soon as disk and storage can be used."""
    where = f"the disk of {search.sweep.root}"
    return persist(lambda _: _take_over(search, lease), where=where, patience=_patience(search, lease))


def _patience(search: Search, lease: Lease) -> Patience:
    """An outage of disk or storage is waited for, unless somebody asks for an end meanwhile."""
    return Patience(LASTS, say=search.progress, interrupted=lease.should_stop)


def _launch(search: Search, conductor: Conductor, lease: Lease) -> None:
    with ExitStack() as stack:
        stack.enter_context(ray_session(search.address))
        lease.catch_signals()
        lease.nodes = conductor.nodes
        stack.enter_context(guard(search, lease))
        run_trials(conductor, search.index, capacity=search.capacity, should_stop=lease.should_stop, grace=search.grace)


def _finish(search: Search, conductor: Conductor, lease: Lease) -> SweepOutcome:
    """Say how it ended."""
    lease.check()
    trials = count_outcomes(conductor.study)
    if lease.should_stop():
        lease.state = "stopped"
        return SweepOutcome(search.sweep.root, "stopped", lease.signal, trials)
    if not trials.get("completed"):
        ends = ", ".join(f"{count} {kind}" for kind, count in trials.items()) or "there was none to run"
        if conductor.account and conductor.account.closed is not None:
            ends += f"; its budget was spent before that, so extend it: mrisynth extend {search.sweep.root}"
        raise NoCompletedTrialError(f"no trial of {search.sweep.root} completed: {ends}")
    lease.state = "done"
    note_end(search.sweep, ran=lease.ran())
    return SweepOutcome(search.sweep.root, "done", None, trials)


def count_outcomes(study: optuna.Study) -> dict[str, int]:
    """Outcome -> how many trials ended so; one that was pruned and another went on with ended as that did."""
    trials = study.get_trials(deepcopy=False)
    continued = continued_trials(trials)
    kinds = [kind for trial in trials if (kind := outcome_kind(trial)) and trial.number not in continued]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def _ended(conductor: Conductor) -> int:
    return sum(count_outcomes(conductor.study).values())


def _say_misfits(space: Space, progress: Progress) -> None:
    """Say which named trials the study cannot learn from, and why."""
    for name in space.published:
        misfits = space.encode(space.trials[name]).misfits
        if misfits and space.search:
            progress(f"{name} runs as published, but is no point of this space: {'; '.join(misfits)}")
