"""The engine: Ray Tune as an executor without a memory of its own.

Each launch is a new Tuner over the same study. What Tune writes about its trials goes into a folder that is thrown
away; its snapshots, loggers and signal handlers are off.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mrisynth.errors import ClusterError, UsageError
from mrisynth.results.store import SweepDirectory
from mrisynth.search.conductor import Conductor
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.packing import read_packing
from mrisynth.search.slots import Slots

SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Of Ray on this machine alone, only the kernel kills for memory: Ray's monitor counts what other programs take too.
    "RAY_memory_monitor_refresh_ms": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
}

_TOKEN = Path("~/.ray/auth_token")
_STAGING = ".tune-"
_NAMED = 8
"""Nodes of a cluster that are named at the start of a sweep; of the others their number is told."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one trial occupies, and how many run at once.

    Attributes:
        cpu: CPU cores a trial.
        gpu: GPUs a trial, a fraction to share one; "auto": what it needs of one, measured, if the cluster has any.
        max_concurrent: trials at once; None: what the cluster has room for.
        max_failures: how often a trial is taken up again after its worker died or raised.
    """

    cpu: float = 1.0
    gpu: float | str = "auto"
    max_concurrent: int | None = None
    max_failures: int = 2


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Ray, for as long as the block lasts; a session that runs in this process already is used and left running.

    Args:
        address: a running cluster ("host:port", "ray://host:port", "auto"); None: Ray on this machine alone.

    Raises:
        ClusterError: the cluster cannot be reached, or refuses us.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if address is not None and _has_token():
        # Before Ray is imported, which looks once; a cluster that Ray starts itself has its token without this.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def run_trials(
    conductor: Conductor,
    index: IndexWriter,
    *,
    capacity: Capacity,
    should_stop: Callable[[], bool],
    grace: float = 0.0,
) -> None:
    """Run the conductor's trials on Ray until it has no more, or until it shall stop.

    Args:
        conductor: decides everything.
        index: written now and then.
        capacity: what a trial occupies, and how many run at once.
        should_stop: asked a few times a second; once true, no trial begins any more, and those that run are left at
            their last checkpoints.
        grace: how long they may take before that to end their epoch, in seconds.

    Raises:
        UsageError: the cluster has no room for a single trial.
        Exception: Tune's loop broke; the study is whole, and the trials that ran can be adopted.
    """
    import ray
    from ray import tune

    from mrisynth.search.failures import watch
    from mrisynth.search.searcher import AskedStopper, Ending, RecordScheduler, StudySearcher
    from mrisynth.search.worker import TrialWorker

    conductor.retries = capacity.max_failures
    nodes = [node for node in ray.nodes() if node["Alive"]]
    conductor.slots, concurrent = _fit(capacity, nodes)
    if conductor.slots.gpus:
        conductor.slots.packing = read_packing(conductor.sweep)
    if len(nodes) > 1:
        conductor.progress(_room(nodes, capacity.cpu, concurrent))
    resources = partial(_resources, cpu=capacity.cpu, gpu=conductor.slots.gpu)
    ending = Ending(should_stop, grace, conductor.progress)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=conductor.sweep.root))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, staging, ignore_errors=True)
        failures = stack.enter_context(watch())
        tune.Tuner(
            tune.with_resources(TrialWorker, resources),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(conductor, ending),
                scheduler=RecordScheduler(conductor, index, ending=ending, failures=failures),
                num_samples=-1,
                max_concurrent_trials=concurrent,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name=f"launch-{time.time_ns()}",
                storage_path=str(staging.resolve()),
                failure_config=tune.FailureConfig(max_failures=capacity.max_failures),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                stop=AskedStopper(conductor, ending),
                verbose=0,
            ),
        ).fit()


def clear_staging(sweep: SweepDirectory) -> None:
    """Remove what Tune wrote for drivers that were killed."""
    for left in sweep.root.glob(f"{_STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)


def _has_token() -> bool:
    """Whether there is a token for Ray to show to a cluster, in one of the places where Ray looks."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or _TOKEN.expanduser().is_file()


def connect(address: str | None) -> None:
    """Connect this process to a cluster, or start Ray on this machine.

    Raises:
        ClusterError: the cluster cannot be reached, or refuses us.
    """
    import ray

    from mrisynth.search.cluster import knock

    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
            if _TOKEN.expanduser().is_file():
                _TOKEN.expanduser().chmod(0o600)
        else:
            knock(address)
            ray.init(address=address, runtime_env={"env_vars": SETTINGS}, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise ClusterError(f"{where} cannot be used: {str(error).strip() or type(error).__name__}") from error
    _silence()


def _silence() -> None:
    """Keep Ray's own messages off our stdout, where data go; what matters of them is among our events."""
    with suppress(ImportError, AttributeError):
        from ray._private.ray_logging import global_worker_stdstream_dispatcher

        global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")


def _resources(config: dict[str, Any], *, cpu: float, gpu: float) -> Any:
    """What a trial asks of Ray: what every trial gets, or the share of a GPU and the node that it was given itself."""
    from ray import tune

    assignment = json.loads(config["assignment"])
    share = gpu if assignment["gpu"] is None else assignment["gpu"]
    bundle = {"CPU": cpu, "GPU": share} if share else {"CPU": cpu}
    if not assignment["node"]:
        return tune.PlacementGroupFactory([bundle])
    # Ray takes another node where that one is full or gone; left to itself it puts forests beside GPUs, too.
    return tune.PlacementGroupFactory([bundle], "STRICT_PACK", _soft_target_node_id=assignment["node"])


def _room(nodes: Sequence[dict[str, Any]], cpu: float, concurrent: int) -> str:
    """How much of a cluster a sweep will use, in a sentence; a node without the cores for a trial is left out."""
    names = sorted(str(node["NodeManagerHostname"]) for node in nodes if node["Resources"].get("CPU", 0.0) >= cpu)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    trials = f"up to {concurrent} trial{'s' * (concurrent != 1)}"
    return f"{trials} at once, on {len(names)} node{'s' * (len(names) != 1)}: {', '.join(names[:_NAMED])}{more}"


def _fit(capacity: Capacity, nodes: Sequence[dict[str, Any]]) -> tuple[Slots, int]:
    """Where trials may begin on the nodes that are there now, as Ray lists them; and how many run at once."""
    resources = {node["NodeID"]: node["Resources"] for node in nodes}
    gpus = sum(has.get("GPU", 0.0) for has in resources.values())
    gpu = float(gpus > 0) if isinstance(capacity.gpu, str) else capacity.gpu
    cores = {node: _count(has.get("CPU", 0.0), capacity.cpu) for node, has in resources.items()}
    places = {node: min(cores[node], _count(has.get("GPU", 0.0), gpu)) for node, has in resources.items()}
    if not any(places.values()):
        raise UsageError(
            f"a trial asks for {capacity.cpu:g} CPU cores and {gpu:g} GPUs, and no node of the cluster has both; "
            "change `resources` in the space"
        )
    if not isinstance(capacity.gpu, str) or not gpus:
        return Slots(gpu=gpu), capacity.max_concurrent or sum(places.values())
    without_gpu = {node: count for node, count in cores.items() if count and not resources[node].get("GPU")}
    beside_gpus = sum(cores.values()) - sum(without_gpu.values())
    slots = Slots(gpu=gpu, gpus=gpus, beside_gpus=beside_gpus, without_gpu=without_gpu)
    return slots, capacity.max_concurrent or sum(cores.values())


def _count(there: float, each: float) -> int:
    """How often there is as much as each takes; beyond counting where it takes nothing."""
    return int(there / each + 1e-9) if each else sys.maxsize


def _name(trial: Any) -> str:
    return f"trial-{trial.config['number']}-{trial.trial_id}"
