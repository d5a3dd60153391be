"""An assignment: what a worker is told about the trial that it shall train, as plain values."""

from dataclasses import dataclass
from typing import Any

from mrisynth import __version__

TRAIN = "mrisynth.search.worker:train_trial"
"""The function that trains a trial."""

METER = "mrisynth.training.devices:measure_memory"
"""The function that measures what a trial took of its GPU at its peak."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial for a worker.

    Attributes:
        number: the trial's number.
        config: its configuration, as in `config.yaml`.
        store: the prepared cohort: a path that every node sees, or a URL.
        directory: the trial's folder.
        rungs: the epochs after which it is scored before its end.
        train: who trains it, as "package.module:function".
        gpu: the share of a GPU that it needs; None: what every trial gets.
        node: the node that it shall go to if that has room, as Ray names it; "": any.
        meter: who measures what it takes of a GPU, as "package.module:function".
        version: the driver's version of mrisynth, which a worker's must be.
    """

    number: int
    config: dict[str, Any]
    store: str
    directory: str
    rungs: tuple[int, ...]
    train: str = TRAIN
    gpu: float | None = None
    node: str = ""
    meter: str = METER
    version: str = __version__
