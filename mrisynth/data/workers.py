"""The same work on many scans, in parallel processes: as many as there are processors and memory for."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import psutil
import SimpleITK as sitk

from mrisynth.errors import MrisynthError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], *, jobs: int | None = None, memory: int = 2**29
) -> list[Result]:
    """`function` of every item, in the items' order; in this process where one job is enough.

    Args:
        function: can be pickled (a module's function, or a partial of one); so can items and results.
        items: one for each call.
        jobs: processes at most; by default as many as there are processors, and memory for.
        memory: what one call needs at its peak, in bytes.

    Raises:
        MrisynthError: a process died, most likely because memory ran out.
    """
    count = min(jobs or _fitting(memory), len(items))
    if count <= 1:
        return [function(item) for item in items]
    # Spawned, not forked: ITK and OpenMP threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(count, context, initializer=_use_one_thread) as pool:
            return list(pool.map(function, items))
    except BrokenProcessPool:
        raise MrisynthError(f"one of {count} processes died, most likely for want of memory; use fewer jobs") from None


def _fitting(memory: int) -> int:
    """How many calls the processors and the free memory allow at once."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, psutil.virtual_memory().available // memory))


def _use_one_thread() -> None:
    """Processes share the processors already: threads within them would only contend."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
