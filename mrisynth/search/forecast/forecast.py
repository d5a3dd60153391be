"""A forecast of a sweep, before it starts: a few seconds of real training for each architecture, then arithmetic."""

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
import psutil

from mrisynth.data.jobs import Ended, run_jobs
from mrisynth.errors import InvalidInputError
from mrisynth.results.store import timestamp
from mrisynth.search.feasibility import Infeasible
from mrisynth.search.forecast.costs import Branch, Clock, branch_of
from mrisynth.search.forecast.simulation import Rules, Run, simulate
from mrisynth.search.grid import count_points
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.space import Space, sample_configs
from mrisynth.training.config import TrialConfig
from mrisynth.training.devices import describe_devices
from mrisynth.training.probe import ProbeJob
from mrisynth.training.work import Work, count_work

DRAWS = 100
"""Configurations that are drawn to see what the space holds; a larger budget repeats them."""

UNLEARNED = {"tpe": 10, "random": DRAWS}
"""How many trials a sampler draws at random before it learns from the others: the same whatever comes out."""

RUNS = 40
"""Sweeps that are run through in thought."""

UNSURE = 0.12
"""What a probe may be wrong by, as a standard deviation of its logarithm: the machine is never quite the same."""

RAY_STARTS = (7.0, 11.0)
"""What Ray and its first workers take to start and stop, in seconds by the clock of an idle machine (two cores), and in
processor time of all its processes. On a busy machine it takes as much longer as a probe takes to begin."""

RAY_BYTES = 0.5e9
"""Memory of Ray's own processes."""

_MOST = 1000
"""Trials that are run through one by one; what is beyond them costs as much again."""


@dataclass(frozen=True, slots=True)
class Range:
    """What is to be expected, and between what it will be 8 times in 10."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a sweep will take.

    Attributes:
        seconds: from its start to its end, by the clock.
        cpu_seconds: of all its processes together.
        disk: what its folder will hold, in bytes.
        memory: all trials that run at a time, and Ray, in bytes.
        trials, pruned: how many, and how many of them rungs stop.
        unpruned: seconds without rungs, to see what they save.
        slots: trials at a time.
        branches: each architecture with its share of the trials and what was measured.
        failed: branch -> why it could not be measured; its trials are taken to cost what the others do.
        made: when.
    """

    seconds: Range
    cpu_seconds: Range
    disk: Range
    memory: float
    trials: int
    pruned: int
    unpruned: float
    slots: int
    branches: list[dict[str, Any]]
    failed: dict[str, str]
    made: str

    def dump(self) -> dict[str, Any]:
        """As `forecast.json` holds it."""
        return {"schema_version": 1, "by": "probes", **asdict(self)}


def forecast(
    space: Space, *, store: Path, max_concurrent: int | None = None, seed: int = 0, progress: Callable[[str], None]
) -> Forecast:
    """Forecast a sweep of a space on this machine; nothing is left behind.

    Args:
        space: what is searched, with its budget.
        store: the prepared cohort.
        max_concurrent: trials at a time; None: what this machine has room for.
        seed: what the trials are drawn by.
        progress: called with one sentence as each branch is measured.

    Raises:
        InvalidInputError: no branch could be measured.
    """
    certain, drawn = first_trials(space, seed), _drawn(space, seed)
    worked = [(config, work) for config in (*certain, *drawn) if (work := _work(config))]
    gpu = _share(space)
    slots = max_concurrent or count_slots(space)
    branches, failed = _measure(worked, store, device="cuda" if gpu else "cpu", slots=slots, progress=progress)
    if not branches:
        raise InvalidInputError(f"nothing of this space could be tried: {'; '.join(failed.values())}")
    known = [(config, work) for config, work in worked if branch_of(config) in branches]
    first = sum(branch_of(config) in branches and _work(config) is not None for config in certain)
    whole = len(space.published)
    # How the other samplers learn, if they do, the simulation does not know.
    unlearned = whole + UNLEARNED["tpe"] if space.sampler == "tpe" else None
    bare = Rules(space.budget, slots, cores=space.resources.cpu, gpu=gpu, whole=whole, unlearned=unlearned)
    rules = replace(bare, **space.pruner.model_dump()) if space.pruner else bare
    count = _count(space, len(known))
    sweep = partial(_simulate, known, branches, first=first, count=count, seed=seed)
    runs = {"wall": sweep(rules, clock="wall"), "cpu": sweep(rules, clock="cpu")}
    unpruned = fmean(run.seconds for run in sweep(bare, clock="wall"))
    measured = [each for branch in branches.values() for each in branch.measured]
    start = tuple(float(np.median([each.start[clock] for each in measured])) for clock in (0, 1))
    startup = start[0] + RAY_STARTS[0] * max(
        1.0, float(np.median([each.start[0] / each.start[1] for each in measured]))
    )
    generator = np.random.default_rng(seed)
    wrong = np.exp(UNSURE * generator.standard_normal(RUNS))
    # A limit of time holds whatever a trial costs.
    fixed = space.budget.wall is not None or space.budget.hours is not None or space.budget.gpu_hours is not None
    wrong = np.ones(RUNS) if fixed and space.budget.trials is None else wrong
    return Forecast(
        seconds=_range(startup + wrong * [run.seconds for run in runs["wall"]]),
        cpu_seconds=_range(RAY_STARTS[1] + start[1] * slots + wrong * [run.worker_seconds for run in runs["cpu"]]),
        disk=_range(np.array([run.disk for run in runs["wall"]])),
        memory=RAY_BYTES + slots * max(branch.memory() for branch in branches.values()),
        trials=round(fmean(run.trials for run in runs["wall"])),
        pruned=round(fmean(run.pruned for run in runs["wall"])),
        unpruned=startup + unpruned,
        slots=slots,
        branches=[_told(branch, known) for branch in branches.values()],
        failed=failed,
        made=timestamp(),
    )


def count_slots(space: Space) -> int:
    """How many trials run at a time on this machine."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    gpu = _share(space)
    room = len(describe_devices()) // gpu if gpu else math.inf
    return max(1, int(min(cores // space.resources.cpu, room)))


def explain_room(found: Forecast, results: Path) -> tuple[str | None, str | None]:
    """Why a sweep will not fit on the disk of its results or into memory.

    Returns:
        What forbids it, and what is only worth a warning; None each where nothing does.
    """
    folder = next(parent for parent in (results.resolve(), *results.resolve().parents) if parent.is_dir())
    free, memory = shutil.disk_usage(folder).free, psutil.virtual_memory().available
    needs = f"the sweep will leave about {found.disk.median / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free at {folder}"
    if found.disk.median > free:
        return f"{needs}; make room, name another folder (--results), or take fewer trials (--max-trials)", None
    if found.disk.high > free:
        return None, needs
    if found.memory > memory:
        asked = f"{found.slots} trials at a time need about {found.memory / 1e9:.1f} GB of memory"
        return None, f"{asked}, and {memory / 1e9:.1f} GB are free; take fewer at a time: --max-concurrent"
    return None, None


def first_trials(space: Space, seed: int) -> list[TrialConfig]:
    """The trials of which a sweep is certain: the named ones, and what its sampler draws before it has learned."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    named = [space.trials[name] for name in space.published]
    study = optuna.create_study(sampler=SeededSampler(space.sampler, seed), directions=[*space.objectives.values()])
    for name in space.published:
        study.enqueue_trial(space.encode(space.trials[name]).params or {}, user_attrs={"name": name})
    found = []
    count = len(named) + UNLEARNED.get(space.sampler, 0)
    for _ in range(min(count, space.budget.trials or count) if space.search else 0):
        trial = study.ask()
        try:
            config = space.suggest(trial)
        except Infeasible:
            continue
        if "name" not in trial.user_attrs:
            found.append(TrialConfig.parse(config))
    return named + found


def _drawn(space: Space, seed: int) -> list[TrialConfig]:
    """As many drawn configurations as are needed to know the space, in no order that the sweep would have."""
    return sample_configs(space, DRAWS, seed=seed) if space.search else []


def _work(config: TrialConfig) -> Work | None:
    """The work of a configuration; None where its networks cannot be built for its patches."""
    try:
        return count_work(config)
    except (ValueError, RuntimeError):
        return None


def _share(space: Space) -> float:
    """The share of a GPU that a trial gets here."""
    gpu = space.resources.gpu
    return gpu if isinstance(gpu, float | int) else float(bool(describe_devices()))


def _count(space: Space, drawn: int) -> int:
    """How many trials there will be at most; with a budget of time alone, more than it allows."""
    if not space.search:
        return len(space.published)
    if space.sampler == "grid":
        return min(len(space.published) + count_points(space.parameters), space.budget.trials or _MOST)
    return space.budget.trials or max(_MOST, drawn)


def _measure(
    worked: Sequence[tuple[TrialConfig, Work]], store: Path, *, device: str, slots: int, progress: Callable[[str], None]
) -> tuple[dict[str, Branch], dict[str, str]]:
    """Each branch with up to three of its configurations measured; as many branches at a time as trials will run."""
    groups: dict[str, list[tuple[TrialConfig, Work]]] = {}
    for config, work in worked:
        groups.setdefault(branch_of(config), []).append((config, work))
    chosen = {name: _spread(group) for name, group in groups.items()}
    names, found, failed = list(chosen), dict[str, Branch](), dict[str, str]()
    with tempfile.TemporaryDirectory(prefix="mrisynth-probe-") as scratch:
        jobs = [
            ProbeJob(tuple(config.dump() for config, _ in chosen[name]), store.resolve(), Path(scratch), device)
            for name in names
        ]
        for event in run_jobs(_probe, jobs, limit=1 if device == "cuda" else slots):
            if isinstance(event, Ended):
                name = names[event.index]
                if event.error:
                    failed[name] = f"{name}: {event.error}"
                    progress(f"{name} could not be tried: {event.error}")
                    continue
                found[name] = Branch(name, chosen[name], tuple(event.result))
                progress(f"tried {name} ({len(found) + len(failed)} of {len(names)})")
    return {name: found[name] for name in names if name in found}, failed


def _probe(job: ProbeJob) -> Any:
    from mrisynth.training.probe import probe

    return probe(job)


def _spread(group: list[tuple[TrialConfig, Work]]) -> tuple[tuple[TrialConfig, Work], ...]:
    """The least, the middle and the most work of a branch, in that order, each once."""
    ordered = sorted(group, key=lambda each: each[1].training)
    places = dict.fromkeys((0, len(ordered) // 2, len(ordered) - 1))
    return tuple(ordered[place] for place in places)


def _simulate(
    known: Sequence[tuple[TrialConfig, Work]],
    branches: dict[str, Branch],
    rules: Rules,
    *,
    clock: Clock,
    first: int,
    count: int,
    seed: int,
) -> list[Run]:
    """Sweeps in thought; behind the trials that are certain each has its own draw of the others."""
    courses = [branches[branch_of(config)].course(config, work, clock=clock) for config, work in known]
    certain, drawn = courses[:first][:count], courses[first:] or courses
    simulated = min(count, _MOST)
    runs = []
    for number in range(RUNS):
        generator = np.random.default_rng([seed, number])
        order = generator.integers(len(drawn), size=simulated - len(certain))
        run = simulate([*certain, *(drawn[place] for place in order)], rules, generator)
        runs.append(_times(run, count / simulated) if run.trials == simulated else run)
    return runs


def _times(run: Run, factor: float) -> Run:
    """A sweep of so many times as many trials."""
    whole = {name: round(factor * getattr(run, name)) for name in ("trials", "pruned")}
    return Run(factor * run.seconds, factor * run.worker_seconds, factor * run.disk, **whole)


def _told(branch: Branch, known: Sequence[tuple[TrialConfig, Work]]) -> dict[str, Any]:
    """A branch as the forecast tells of it; figures of the largest configuration that was measured."""
    share = sum(branch_of(config) == branch.name for config, _ in known) / len(known)
    largest = branch.measured[-1]
    return {
        "name": branch.name,
        "share": share,
        "probes": len(branch.measured),
        "epoch": [each.wall["epoch"] for each in branch.measured],
        "evaluation": largest.wall["evaluation"] + largest.wall["publish"],
        "memory": largest.memory,
        "gpu_memory": largest.gpu_memory,
        "checkpoint_bytes": largest.checkpoint_bytes,
        "image_bytes": largest.image_bytes,
        "config": branch.configs[len(branch.measured) - 1][0].dump(),
    }


def _range(values: Any) -> Range:
    low, median, high = np.quantile(np.asarray(values, float), (0.1, 0.5, 0.9))
    return Range(float(median), float(low), float(high))
