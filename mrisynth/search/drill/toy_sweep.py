"""A toy sweep: its folder, and what a driver of it works with."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from mrisynth.files import publish, write_json
from mrisynth.results.index import Indexer
from mrisynth.results.store import SCHEMA_VERSION, SweepDirectory, read_yaml, write_yaml
from mrisynth.search.drill.toy import EPOCHS, SEARCHED, TRAIN, ToyConfig, suggest_toy
from mrisynth.search.engine import Capacity
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.launch import Progress, Search
from mrisynth.search.lease import Lease
from mrisynth.search.plan import Plan
from mrisynth.search.pruning import Direction
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.settings import Budget
from mrisynth.search.storage.claim import study_name
from mrisynth.search.storage.database import JOURNAL, parse_storage
from mrisynth.search.study import open_study

RUNGS, KEEP = (0.25,), 0.5

_OWN = ("pruning", "epochs", "wait", "concurrent", "address")
"""What other sweeps do not have; it stands in `sweep.yaml` by itself."""

MAX_FAILURES = 20
"""No trial is lost because its workers are killed again and again: the drill does that on purpose."""


@dataclass(frozen=True, slots=True)
class ToySettings:
    """What a toy sweep is.

    Attributes:
        storage: what holds its study; see `storage.database.parse_storage`.
        objectives: metric -> direction.
        pruning: whether half of the trials end on a rung after their first epoch.
        trials: its budget.
        epochs: how long a trial trains.
        wait: how long an epoch lasts, in seconds.
        concurrent: trials at once.
        address: a running Ray cluster; None: Ray on this machine alone.
        seed: what the sampler draws by.
    """

    storage: str = JOURNAL
    objectives: dict[str, Direction] = field(default_factory=lambda: {"psnr": "maximize"})
    pruning: bool = True
    trials: int = 12
    epochs: int = EPOCHS
    wait: float = 0.25
    concurrent: int = 2
    address: str | None = None
    seed: int = 0


def make_toy_sweep(results: Path, name: str, settings: ToySettings) -> SweepDirectory:
    """Make the folder of a toy sweep, with nothing in it but what it asks for."""
    storage = parse_storage(settings.storage)
    asked = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "description": "a drill: nothing is trained",
        "seed": settings.seed,
        "budget": {"trials": settings.trials},
        "objectives": dict(settings.objectives),
        "storage": storage,
        "toy": {name: getattr(settings, name) for name in _OWN},
    }
    sweep = SweepDirectory(results / name)
    with publish(sweep.root) as folder:
        write_json(folder / sweep.lineage.name, {"schema_version": 1, "id": secrets.token_hex(8)})
        write_yaml(folder / sweep.sweep_yaml.name, asked)
    return sweep


def read_toy_settings(sweep: SweepDirectory) -> ToySettings:
    """What a toy sweep is."""
    asked = read_yaml(sweep.sweep_yaml)
    shared = {name: asked[name] for name in ("objectives", "seed", "storage")}
    return ToySettings(trials=asked["budget"]["trials"], **shared, **asked["toy"])


def enlarge_budget(sweep: SweepDirectory, trials: int) -> int:
    """Give a toy sweep that many trials more; how many it has in all now."""
    asked = read_yaml(sweep.sweep_yaml)
    asked["budget"]["trials"] += trials
    write_yaml(sweep.sweep_yaml, asked)
    return int(asked["budget"]["trials"])


def toy_plan(store: Path, settings: ToySettings) -> Plan:
    """What a toy sweep asks of the conductor."""

    def suggest(trial: optuna.Trial) -> ToyConfig:
        return ToyConfig({**suggest_toy(trial).values, "epochs": settings.epochs, "wait": settings.wait})

    return Plan(
        objectives=settings.objectives,
        suggest=suggest,
        store=store,
        budget=Budget(trials=settings.trials),
        rungs=RUNGS if settings.pruning else (),
        keep=KEEP if settings.pruning else None,
        train=TRAIN,
    )


def toy_search(sweep: SweepDirectory, lease: Lease, *, progress: Progress = lambda _: None) -> Search:
    """What a driver of a toy sweep works with."""
    settings = read_toy_settings(sweep)
    indexer = Indexer(sweep, metrics={}, config_schema={}, searched=SEARCHED)
    return Search(
        sweep=sweep,
        plan=toy_plan(sweep.root, settings),
        sampler=SeededSampler("tpe", settings.seed),
        capacity=Capacity(gpu=0.0, max_concurrent=settings.concurrent, max_failures=MAX_FAILURES),
        address=settings.address,
        index=IndexWriter(sweep, indexer, check=lease.check),
        progress=progress,
        storage=settings.storage,
    )


def open_toy_study(sweep: SweepDirectory) -> optuna.Study:
    """The study of a toy sweep."""
    settings = read_toy_settings(sweep)
    return open_study(
        sweep.journal,
        objectives=settings.objectives,
        sampler=SeededSampler("tpe", settings.seed),
        storage=settings.storage,
        name=study_name(sweep, settings.storage),
    )


def forget_study(sweep: SweepDirectory) -> None:
    """Remove the study from its storage, where that is not in the sweep's folder."""
    study: Any = open_toy_study(sweep)
    optuna.delete_study(study_name=study.study_name, storage=study._storage)
