"""Long jobs as tasks of a Ray cluster, with the same events as from processes of one machine (`mrisynth.data.jobs`).

To be imported inside a `mrisynth.search.engine.ray_session`, which prepares the import of Ray.
"""

import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    AuthenticationError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)

from mrisynth import __version__
from mrisynth.data.jobs import Ended, Job, Needs, Outcome, Started, attempt
from mrisynth.data.workers import use_one_thread
from mrisynth.errors import ClusterError

TRIES = 4
"""How often a job is given to a worker before its deaths count as its end."""

LOOK_EVERY = 5.0
"""How often the cluster is looked after while nothing happens, in seconds."""

GRACE = 300.0
"""How long a cluster may have no node that is large enough, before we give up: it may be replacing one. In seconds."""


def run_tasks(
    function: Callable[[Job], Any], jobs: Sequence[Job], *, limit: int | None = None, needs: Sequence[Needs]
) -> Generator[Started | Ended, None, None]:
    """Run a function on every job, each as a task on one core of the cluster, and tell as each starts and ends.

    A job whose worker or node dies is given to another, `TRIES` times in all. It is we who do that and not Ray, which
    would not tell. When the caller closes the iterator, is interrupted or is killed, the tasks end with it.

    Args:
        function: importable by name on every node; called with one job.
        jobs: picklable; paths in them are absolute.
        limit: most tasks at a time; None: as many as cores and memory of the cluster allow.
        needs: what each job asks of the node that runs it.

    Raises:
        ClusterError: no node is large enough, or a node cannot run our code.
    """
    largest = max((need.memory for need in needs), default=0)
    _refuse_misfit(largest)
    waiting = deque(range(len(jobs)))
    tries: Counter[int] = Counter()
    running: dict[ray.ObjectRef, int] = {}
    fitted = time.monotonic()
    try:
        while waiting or running:
            room = _count_room(largest)
            fitted = time.monotonic() if room else fitted
            if time.monotonic() - fitted > GRACE:
                _refuse_misfit(largest)
            while waiting and len(running) < max(1, min(limit or room, room)):
                index = waiting.popleft()
                tries[index] += 1
                running[_submit(function, jobs[index], needs[index])] = index
                yield Started(index)
            ready, _ = ray.wait(list(running), timeout=LOOK_EVERY)
            for task in ready:
                event = _end(task, running.pop(task))
                if event.died and tries[event.index] < TRIES:
                    waiting.append(event.index)
                else:
                    yield event
    finally:
        for task in running:
            with suppress(RayError):  # the cluster may be what is gone
                ray.cancel(task, force=True)


def _submit(function: Callable[[Job], Any], job: Job, needs: Needs) -> ray.ObjectRef:
    """Give a job to the cluster."""
    # A process for each job, as on one machine: it gives back all memory.
    # Not a generator that tells when it begins: its worker would have to call us, which fails with a token that only
    # we have (of another cluster), and silently.
    task = ray.remote(num_cpus=1, memory=needs.memory, max_retries=0, max_calls=1)(_perform)
    return task.remote(function, job, needs.paths, __version__)


def _perform(function: Callable[[Job], Any], job: Job, paths: Sequence[Path], version: str) -> Outcome:
    """The body of a task."""
    use_one_thread()
    return _explain_node(paths, version) or attempt(function, job)


def _explain_node(paths: Sequence[Path], version: str) -> Outcome | None:
    """Why this node can do no job; None if it can."""
    node = socket.gethostname()
    if version != __version__:
        return None, f"{node} has mrisynth {__version__}, not {version}; install the same version on every node", True
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        remedy = "scans and store must lie in a shared folder that every node has at the same path"
        return None, f"{missing} does not exist on the node {node}; {remedy}", True
    return None


def _end(task: ray.ObjectRef, index: int) -> Ended:
    """What became of a task that has ended.

    Raises:
        ClusterError: its node cannot run our code.
    """
    try:
        result, sentence, machine = ray.get(task)
    except (RayTaskError, RuntimeEnvSetupError, AuthenticationError) as error:
        # Whatever the function itself raises comes back as an outcome.
        reason = str(error).strip().splitlines()[-1]
        message = f"a node of the cluster cannot run mrisynth {__version__} ({reason})"
        raise ClusterError(f"{message}; install the same version on every node") from error
    except RayError as error:
        return Ended(index, error=f"{_explain_death(error)}, {TRIES} times; look at that node's memory", died=True)
    return Ended(index, result, sentence, machine=machine)


def _explain_death(error: RayError) -> str:
    """Why a task ended before its job did, in words."""
    if isinstance(error, OutOfMemoryError):
        return "Ray ended its worker because the node was short of memory"
    return "its node died" if isinstance(error, NodeDiedError) else "its worker died"


def _count_room(memory: int) -> int:
    """How many tasks of so many bytes, on a core each, the nodes that are there can hold."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(min(node.get("CPU", 0), node.get("memory", 0) // max(memory, 1))) for node in nodes)


def _refuse_misfit(memory: int) -> None:
    """Refuse jobs that fit on no node: Ray would wait for such a node for ever."""
    if not _count_room(memory):
        raise ClusterError(
            f"a job asks for a CPU core and {memory / 1e9:.1f} GB of memory, and no node of the cluster has both; "
            "add a larger node, or run without --address"
        )
