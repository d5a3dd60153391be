"""Long jobs side by side: one process each, a few at a time; one that fails, or whose process dies, takes nobody along.

A process for each job tells whose job it was that died, and gives back all memory, at the cost of about a second. Short
work on many items, where that cost would show, goes through `mrisynth.data.workers`. `mrisynth.search.tasks` runs the
same jobs on a Ray cluster.
"""

import multiprocessing
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mrisynth.data.store.records import explain_disk_error
from mrisynth.data.workers import count_fitting, settle_worker
from mrisynth.errors import MrisynthError

Job = TypeVar("Job")
Outcome = tuple[Any, str | None, bool]
"""What became of a job: `result`, `error` and `machine` of `Ended`."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job asks of the machine that runs it.

    Attributes:
        memory: its peak, in bytes.
        paths: files and folders that it opens.
    """

    memory: int
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """A job has been given to a process; told again when it is given to another, after the death of the first.

    Attributes:
        index: which of the jobs.
    """

    index: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A job has ended.

    Attributes:
        index: which of the jobs.
        result: what the function returned; None where it failed.
        error: one sentence on why it failed; None where it did not.
        died: the process itself was killed or crashed.
        machine: the disk or the memory failed it, and not what the job holds.
    """

    index: int
    result: Any = None
    error: str | None = None
    died: bool = False
    machine: bool = False


class Runner(Protocol):
    """Runs jobs somewhere and tells as each starts and ends, as `run_jobs` does."""

    def __call__(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], *, limit: int | None, needs: Sequence[Needs]
    ) -> Generator[Started | Ended, None, None]:
        """See `run_jobs`."""


@dataclass(frozen=True, slots=True)
class _Worker:
    index: int
    process: SpawnProcess
    results: Connection


def run_jobs(
    function: Callable[[Job], Any], jobs: Sequence[Job], *, limit: int | None = None, needs: Sequence[Needs] = ()
) -> Generator[Started | Ended, None, None]:
    """Run a function on every job, each in a process of its own, and tell as each starts and ends.

    The job of a process that dies (most often killed for memory) runs once more after all others, alone. When the
    caller closes the iterator, is interrupted or is killed, the processes end with it.

    Args:
        function: importable by name; called with one job.
        jobs: picklable.
        limit: most processes at a time, at least 1; None: as many as processors and memory allow.
        needs: what each job asks of this machine.
    """
    limit = limit or count_fitting(max((need.memory for need in needs), default=1))
    died: list[int] = []
    for event in _run(function, jobs, range(len(jobs)), limit=limit):
        if isinstance(event, Ended) and event.died:
            died.append(event.index)
        else:
            yield event
    yield from _run(function, jobs, died, limit=1)


def _run(
    function: Callable[[Job], Any], jobs: Sequence[Job], indices: Iterable[int], *, limit: int
) -> Iterator[Started | Ended]:
    """Run some of the jobs once."""
    waiting = deque(indices)
    running: dict[Connection, _Worker] = {}
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                worker = _start(function, jobs[waiting[0]], waiting.popleft())
                running[worker.results] = worker
                yield Started(worker.index)
            # Ready is a result, or the end of a process that left none; a process with a large result ends after it.
            for results in wait(list(running)):
                assert isinstance(results, Connection), "only connections are waited for"
                yield _end(running.pop(results))
    finally:
        for worker in running.values():
            worker.process.kill()
            worker.process.join()


def _start(function: Callable[[Job], Any], job: Job, index: int) -> _Worker:
    """A process that runs one job."""
    # Spawned, not forked: threads of ITK and OpenMP do not survive a fork.
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(function, job, send), daemon=True)
    with _interrupts_blocked():
        process.start()
    send.close()
    return _Worker(index, process, receive)


def _end(worker: _Worker) -> Ended:
    """What a process that has ended, or ends now, left behind."""
    with worker.results:
        try:
            result, error, machine = worker.results.recv()
        except EOFError:
            worker.process.join()
            reason = _explain_exit(worker.process.exitcode)
            return Ended(worker.index, error=f"{reason}; free memory or use fewer jobs", died=True)
    worker.process.join()
    return Ended(worker.index, result, error, machine=machine)


def _explain_exit(code: int | None) -> str:
    """An exit code in words."""
    if code is not None and code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with code {code} and without a result"


def _work(function: Callable[[Any], Any], job: Any, send: Connection) -> None:
    """The body of a worker."""
    settle_worker()
    send.send(attempt(function, job))


def attempt(function: Callable[[Job], Any], job: Job) -> Outcome:
    """Do one job in this process, and put whatever goes wrong into a sentence."""
    try:
        return function(job), None, False
    except MrisynthError as error:
        return None, str(error), False
    except MemoryError:
        return None, "the memory did not suffice; free memory or use fewer jobs", True
    except Exception as error:
        sentence = explain_disk_error(error) if isinstance(error, OSError) else None
        if sentence is None:
            # A bug, or a complaint of ITK: all of it to stderr, one line to the record.
            traceback.print_exc(file=sys.stderr)
        return None, sentence or f"{type(error).__name__}: {' '.join(str(error).split())}", sentence is not None


@dataclass(frozen=True, slots=True)
class Workers:
    """Who does the jobs.

    Attributes:
        limit: most jobs at a time, at least 1; None: as many as processors and memory allow.
        run: where: in processes of this machine, or on a cluster.
    """

    limit: int | None = None
    run: Runner = run_jobs


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Ctrl-C reaches the whole group of processes: workers inherit that it is blocked, and the parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
