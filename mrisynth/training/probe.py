"""What a configuration costs, measured by training it for a few seconds: the same code as in a trial, on real patches.

Runs in a process of its own, so that its peak of memory is the configuration's, and a death takes nobody along.
"""

import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from mrisynth.data import shards
from mrisynth.data import slices as slices_of
from mrisynth.data.shards import Shards
from mrisynth.data.slices import SubjectSlices
from mrisynth.data.store.prepared import PreparedCohort, open_cohort
from mrisynth.errors import MrisynthError
from mrisynth.results.pictures import write_pictures
from mrisynth.results.store import write_slices
from mrisynth.training import checkpoint
from mrisynth.training.config import TrialConfig
from mrisynth.training.devices import measure_memory, reset_memory
from mrisynth.training.evaluation import evaluate, shown
from mrisynth.training.loop import Patches, TrainingState, find_device, prepare_torch, to_device, train
from mrisynth.training.loop import start as begin

_WARM = 2
_EPOCHS = 3


@dataclass(frozen=True, slots=True)
class ProbeJob:
    """Configurations to be measured one after another.

    Attributes:
        configs: as `TrialConfig.dump` gives them, those that need less memory first.
        store: the prepared cohort; shards and slices that are missing there are cut into `scratch`.
        scratch: a folder that may be thrown away afterwards.
        device: "cpu" or "cuda".
        seconds: how long to train each.
        limit: after how many seconds to give up, all of them together.
    """

    configs: tuple[dict[str, Any], ...]
    store: Path
    scratch: Path
    device: str = "cpu"
    seconds: float = 2.0
    limit: float = 120.0


Seconds = dict[str, float]
"""What each part of a trial takes: "begin" (from nothing to the first step), "epoch" (losses measured), "evaluation"
(scores of all validation slices), "publish" (pictures and arrays), "checkpoint" (one, written)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one configuration cost.

    Attributes:
        wall: by the clock.
        cpu: in this process's processor time.
        start: how long this process took to begin, most of it for imports, by the clock and in processor time.
        share: of the training patches, how many were trained on; an epoch's time is extrapolated from them.
        checkpoint_bytes, image_bytes: what both leave on disk.
        patches: training patches.
        pixels: pixels of all validation slices.
        memory: peak of this process's resident memory until then, in bytes.
        gpu_memory: what it took of a GPU, in bytes; None on the CPU.
    """

    wall: Seconds
    cpu: Seconds
    start: tuple[float, float]
    share: float
    checkpoint_bytes: int
    image_bytes: int
    patches: int
    pixels: int
    memory: int
    gpu_memory: int | None


class _Watch:
    """Takes the time of one part after another."""

    def __init__(self) -> None:
        self.wall: Seconds = {}
        self.cpu: Seconds = {}
        self.start()

    def start(self) -> None:
        self._since = time.perf_counter(), time.process_time()

    def stop(self, part: str, *, times: float = 1.0) -> None:
        """End a part, and begin the next; `times` is how much more of it there is in a trial."""
        wall, cpu = self._since
        self.wall[part] = times * (time.perf_counter() - wall)
        self.cpu[part] = times * (time.process_time() - cpu)
        self.start()


def probe(job: ProbeJob) -> list[Measured]:
    """Measure configurations, as many as the limit of time allows.

    Raises:
        MrisynthError: the limit passed before the first was measured.
    """
    start = time.time() - psutil.Process().create_time(), time.process_time()
    found: list[Measured] = []
    try:
        with _limited(job.limit):
            cohort = _with_scratch(open_cohort(job.store), job.scratch)
            slices = slices_of.ensure(cohort)
            for config in job.configs:
                found.append(_measure(TrialConfig.parse(config), cohort, slices, job=job, start=start))
    except TimeoutError:
        if not found:
            raise MrisynthError(f"an epoch's beginning and an evaluation took longer than {job.limit:.0f} s") from None
    return found


def measure_epoch(
    config: TrialConfig, patches: Shards, *, device: torch.device, seconds: float
) -> tuple[TrainingState, float, float, float]:
    """Train for about so many seconds, or an epoch if that is less.

    Returns:
        The state; seconds an epoch by the clock and in processor time; the share of the patches trained on.
    """
    forest = config.family == "forest"
    config = config if forest else config.model_copy(update={"epochs": _EPOCHS})
    state = begin(config, device)
    validation = to_device(patches.validation.low, patches.validation.high, device)
    training = to_device(patches.train.low, patches.train.high, device)
    total, batch = len(training.low), config.optimizer.batch_size
    count = min(total, _WARM * batch)
    if not forest:
        _one_epoch(state, config, training, validation, count=count)  # the first steps take longer
    wall, _ = _one_epoch(state, config, training, validation, count=count)
    count = min(total, max(count, batch * int(seconds / max(wall, 1e-6) * count / batch)))
    state = begin(config, device) if forest else state  # its epochs are batches of trees, and may be as few as one
    wall, cpu = _one_epoch(state, config, training, validation, count=count)
    return state, wall * total / count, cpu * total / count, count / total


def _one_epoch(
    state: TrainingState, config: TrialConfig, training: Patches, validation: Patches, *, count: int
) -> tuple[float, float]:
    """Train on so many patches and measure losses on the same share of the others; seconds by the clock and the CPU."""
    share = min(1.0, count / len(training.low))
    some = Patches(*(side[:count] for side in training))
    others = Patches(*(side[: max(1, round(share * len(side)))] for side in validation))
    began, spent = time.perf_counter(), time.process_time()
    next(train(state, config, training=some, validation=others))
    if state.device.type == "cuda":
        torch.cuda.synchronize(state.device)
    return time.perf_counter() - began, time.process_time() - spent


def _measure(
    config: TrialConfig,
    cohort: PreparedCohort,
    slices: tuple[SubjectSlices, ...],
    *,
    job: ProbeJob,
    start: tuple[float, float],
) -> Measured:
    device = find_device(job.device)
    patches = shards.ensure(cohort, config.patches)
    reset_memory(device)
    prepare_torch(config, device)
    watch = _Watch()
    begin(config, device)
    to_device(patches.train.low, patches.train.high, device)
    watch.stop("begin")
    state, epoch, cpu, share = measure_epoch(config, patches, device=device, seconds=job.seconds)
    watch.wall["epoch"], watch.cpu["epoch"] = epoch, cpu
    grown = config.epochs if config.family == "forest" else 1  # one batch of a forest's trees was grown
    watch.start()
    scored = evaluate(state.generator, slices, config=config, high_standard=patches.high, device=device)
    watch.stop("evaluation", times=grown)
    images, kept = job.scratch / f"images-{id(state)}", job.scratch / f"checkpoint-{id(state)}"
    for subject in slices:
        generated = scored.generated[subject.subject]
        write_slices(images, subject.subject, generated)
        write_pictures(images, generated, shown(subject), title="a probe")
    watch.stop("publish")
    checkpoint.save(kept / checkpoint.FILE_NAME, state, config=config, data_key=cohort.data_key)
    watch.stop("checkpoint")
    memory = measure_memory(device)
    return Measured(
        wall=watch.wall,
        cpu=watch.cpu,
        start=start,
        share=share,
        checkpoint_bytes=_size(kept) * grown,
        image_bytes=_size(images),
        patches=len(patches.train),
        pixels=sum(subject.low.size for subject in slices),
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1),
        gpu_memory=memory.used if memory else None,
    )


def _with_scratch(cohort: PreparedCohort, scratch: Path) -> PreparedCohort:
    """The cohort with its shards and slices, and those that are missing cut elsewhere: a probe writes into no store."""
    for kind in ("shards", "slices"):
        (scratch / kind).mkdir(parents=True, exist_ok=True)
        folder = cohort.store / kind
        for standing in folder.iterdir() if folder.is_dir() else ():
            link = scratch / kind / standing.name
            if standing.is_dir() and not standing.name.startswith(".") and not link.exists():
                link.symlink_to(standing.resolve())
    return replace(cohort, store=scratch)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this process's main thread after so many seconds."""

    def give_up(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
