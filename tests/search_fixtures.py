"""A space so small that a search over it takes no time; and an executor without Ray."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from stub_trial import train_stub

from mrisynth.files import read_json, write_json
from mrisynth.results.index import Indexer
from mrisynth.results.store import (
    SweepDirectory,
    TrialDirectory,
    read_events,
    read_records,
    read_yaml,
    write_heartbeat,
    write_yaml,
)
from mrisynth.search.attempts import check_attempt, valid_attempt
from mrisynth.search.conductor import Conductor
from mrisynth.search.drill.toy import ToyConfig, suggest_toy
from mrisynth.search.drill.toy_sweep import ToySettings, make_toy_sweep, toy_plan
from mrisynth.search.engine import Capacity
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.launch import Search
from mrisynth.search.plan import Plan
from mrisynth.search.reconcile import reconcile
from mrisynth.search.sampler import SeededSampler
from mrisynth.search.settings import Budget, SamplerName
from mrisynth.search.storage.claim import study_name
from mrisynth.search.study import open_study

SPACE = """
description: two growths of one small network
budget: {trials: 3}
resources: {gpu: 0}
fixed:
  generator: dcsrn
  dcsrn.units: 1
  adversary: none
  losses.l1: 1
  patches: {size: 16, per_subject: 8}
  stitching: {stride: 8, crop: 2}
  optimizer.batch_size: 8
  epochs: 2
search:
  dcsrn.growth: {int: [1, 4]}
  optimizer.generator_lr: {float: [1e-4, 1e-2], log: true}
"""
"""A real space of networks so small that they train in seconds."""

STUB = "stub_trial:train_stub"
StubConfig, suggest_stub = ToyConfig, suggest_toy


class StubOfFamily(StubConfig):
    """A stub of the family that it says: a forest, or a network."""

    @property
    def family(self) -> str:
        return str(self.values["family"])


def make_plan(tmp: Path, **changes: Any) -> Plan:
    """Six trials of the stub space."""
    values = {"objectives": {"psnr": "maximize"}, "suggest": suggest_stub, "store": tmp, "budget": Budget(trials=6)}
    return Plan(**{**values, "train": STUB, **changes})


def make_search(sweep: SweepDirectory, plan: Plan, *, concurrent: int = 1, seed: int = 1, **more: Any) -> Search:
    """What a driver works with."""
    indexer = Indexer(sweep, metrics={}, config_schema={}, searched=["x", "kind", "bend"])
    return Search(
        sweep=sweep,
        plan=plan,
        sampler=SeededSampler("tpe", seed),
        capacity=Capacity(max_concurrent=concurrent),
        address=None,
        index=IndexWriter(sweep, indexer),
        **{"progress": lambda _: None, **more},
    )


def make_sweep(tmp: Path, name: str = "sweep") -> SweepDirectory:
    """A sweep's folder with nothing in it but what it asks for."""
    sweep = SweepDirectory(tmp / name)
    sweep.root.mkdir(parents=True)
    write_yaml(sweep.sweep_yaml, {"schema_version": 1, "name": name, "objectives": {"psnr": "maximize"}})
    write_json(sweep.lineage, {"schema_version": 1, "id": f"id-of-{name}"})
    return sweep


def open_conductor(
    sweep: SweepDirectory, plan: Plan, *, seed: int = 1, sampler: SamplerName = "tpe", **storage: Any
) -> Conductor:
    """A conductor over the sweep's study, after reconciling: what a driver does first."""
    study = open_study(sweep.journal, objectives=plan.objectives, sampler=SeededSampler(sampler, seed), **storage)
    conductor = Conductor(sweep, study, plan)
    conductor.queue_named()
    reconcile(conductor)
    return conductor


def make_toy(tmp: Path, *, stop_after: int | None = None, **settings: Any) -> SweepDirectory:
    """A toy sweep that ran undisturbed, without Ray, to its end or until so many trials had ended."""
    asked = ToySettings(wait=0.0, **settings)
    sweep = make_toy_sweep(tmp, "toy", asked)
    plan = toy_plan(tmp, replace(asked, trials=stop_after or asked.trials))
    Executor(open_conductor(sweep, plan, storage=asked.storage, name=study_name(sweep, asked.storage))).run()
    IndexWriter(sweep, Indexer(sweep)).write()
    write_heartbeat(sweep, state="done")
    return sweep


@dataclass
class Executor:
    """Runs a conductor's trials in this process, `slots` at a time, one epoch each in turn."""

    conductor: Conductor
    slots: int = 1
    train: Callable[..., Iterator[dict[str, Any]]] = train_stub
    running: dict[int, Iterator[dict[str, Any]]] = field(default_factory=dict)

    def run(self) -> None:
        while self.fill():
            for number in list(self.running):
                self.step(number)

    def fill(self) -> bool:
        """Take trials until the slots are full or there is none; whether anything runs."""
        while len(self.running) < self.slots:
            assignment = self.conductor.next_trial()
            if isinstance(assignment, str):
                break
            directory = TrialDirectory(Path(assignment.directory))
            self.running[assignment.number] = self.train(
                assignment.config,
                store=Path(assignment.store),
                directory=directory.root,
                rungs=assignment.rungs,
                confirm=partial(check_attempt, directory, valid_attempt(directory)),
            )
        return bool(self.running)

    def step(self, number: int) -> None:
        if self.conductor.hear(number, next(self.running[number])):
            del self.running[number]


def suggestions(sweep: SweepDirectory) -> dict[int, dict[str, Any]]:
    """Trial -> the parameters that were suggested, as its folder has them."""
    return {directory.number: read_yaml(directory.config) for directory in sweep.trial_directories()}


def outcomes(sweep: SweepDirectory) -> dict[int, str]:
    """Trial -> outcome, as its folder has it."""
    return {
        directory.number: read_json(directory.outcome)["outcome"]
        for directory in sweep.trial_directories()
        if directory.outcome.is_file()
    }


def epochs_trained(sweep: SweepDirectory) -> dict[int, list[int]]:
    """Trial -> the epochs in its history."""
    return {d.number: [record["epoch"] for record in read_records(d.history)] for d in sweep.trial_directories()}


def kinds(sweep: SweepDirectory) -> list[str]:
    """The kinds of the sweep's events."""
    return [event["kind"] for event in read_events(sweep)]
