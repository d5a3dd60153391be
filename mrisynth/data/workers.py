"""The same short work on many scans, in a few processes that are used again: as many as processors and memory allow.

For work of a second or so, where starting a process for each item would cost as much as the work, and where one death
may fail the whole. Long jobs, of which a death must take nobody along, run in `mrisynth.data.jobs`.
"""

import math
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import psutil
import SimpleITK as sitk

from mrisynth.errors import MrisynthError

_BASE_BYTES = 330 * 2**20
_BYTES_A_VOXEL = 72

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
    count = min(jobs or count_fitting(memory), len(items))
    if count <= 1:
        return [function(item) for item in items]
    # Spawned, not forked: ITK and OpenMP threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(count, context, initializer=settle_worker) as pool:
            return list(pool.map(function, items))
    except BrokenProcessPool:
        raise MrisynthError(f"one of {count} processes died, most likely for want of memory; use fewer jobs") from None


def count_fitting(memory: int) -> int:
    """How many calls the processors and the free memory allow at once, at least 1.

    Args:
        memory: what one call needs at its peak, in bytes.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, psutil.virtual_memory().available // memory))


def estimate_memory(scans: Iterable[Path], *, beside: int = 0) -> int:
    """An upper bound of the peak memory in bytes of preparing a subject, from its scans' headers.

    330 MiB and 72 bytes for each voxel of both scans. Measured on phantoms by `benchmarks/preparation_stages.py`, the
    default registration, in MiB, for high scans of so many voxels: 64^3: 289, bound 350; 128^3: 376, bound 492;
    160x192x128: 496, bound 634; 350x350x250: 2145, bound 2696. So the bound is at least 1.21 times what was measured.

    Args:
        scans: both scans; a folder counts as files of 16-bit samples.
        beside: what a program that runs meanwhile takes, in bytes for each voxel of both scans.
    """
    voxels = 0
    for path in scans:
        if path.is_dir():
            voxels += sum(part.stat().st_size for part in path.rglob("*") if part.is_file()) // 2
        else:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            voxels += math.prod(reader.GetSize()[:3])
    return _BASE_BYTES + (_BYTES_A_VOXEL + beside) * voxels


def settle_worker() -> None:
    """What every process that works for another begins with: one thread for SimpleITK, no life beyond the parent's."""
    use_one_thread()
    threading.Thread(target=_die_with_parent, daemon=True).start()


def use_one_thread() -> None:
    """Let SimpleITK work in one thread: processes share the processors already, and threads would only contend."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _die_with_parent() -> None:
    """End this process once its parent has gone, even if that was killed and could not say so."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
