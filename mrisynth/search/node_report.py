"""What a node of a cluster says of itself: runs there, as a small task, and imports little."""

import json
import os
import platform
import shutil
import socket
import stat
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mrisynth import __version__
from mrisynth.errors import MrisynthError, NotFoundError
from mrisynth.files import read_json, write_bytes
from mrisynth.search.attempts import VISIBLE_WITHIN
from mrisynth.search.machine import token_file

LIBRARIES = ("ray", "torch", "optuna", "pyarrow", "numpy", "SimpleITK")
"""Libraries whose versions are compared among nodes."""

_RENAMES = 10
_SHARED_MEMORY = Path("/dev/shm")
_GPUS = Path("/proc/driver/nvidia/gpus")


def report(question: dict[str, Any]) -> dict[str, Any]:
    """Look around on this node.

    Args:
        question: {"folder", "nonce", "store"}: the results folder; the name and content of a file that the driver put
            there; and where the store is (a path, a URL, or None). Everything that crosses is JSON: the node may have
            another version of us.

    Returns:
        Host, versions, GPUs, memory, shared memory and free disk in bytes; what is wrong with the results folder and
        the store (None: nothing), the key of its cohort, the mode of the token's file; and, read last, the clock.
    """
    folder = Path(question["folder"])
    return {
        "host": socket.gethostname(),
        "versions": {"mrisynth": __version__, "python": platform.python_version(), **installed()},
        "gpus": _gpus(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "shared_memory": shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None,
        "disk": shutil.disk_usage(folder).free if folder.is_dir() else None,
        "results": _sentence(lambda: _try_folder(folder, question["nonce"])),
        **_store(question["store"]),
        "token": _token_mode(),
        "time": time.time(),
    }


def _sentence(attempt: Callable[[], str | None]) -> str | None:
    """What is wrong, whatever is raised."""
    try:
        return attempt()
    except MrisynthError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _try_folder(folder: Path, nonce: str) -> str | None:
    """What is wrong with the results folder: it must be the driver's, and renaming atomic."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    note = folder / nonce
    deadline = time.monotonic() + VISIBLE_WITHIN
    while not note.is_file():  # network file systems show a new file a moment later
        if time.monotonic() > deadline:
            return f"{folder} is another folder than the driver's: what it wrote there is not seen"
        time.sleep(0.2)
    if note.read_text(encoding="utf-8") != nonce:
        return f"what the driver wrote into {folder} is read differently"
    return _try_rename(folder / f"{nonce}-{socket.gethostname()}-{os.getpid()}")


def _try_rename(target: Path) -> str | None:
    """Replace a file some times; it must be there, and whole, after each."""
    try:
        for attempt in range(_RENAMES):
            content = str(attempt).encode() * 1000
            write_bytes(target, content)
            if target.read_bytes() != content:
                return f"a file that is replaced in {target.parent} is not whole at once: renaming is not atomic there"
    finally:
        target.unlink(missing_ok=True)
    return None


def _store(location: str | None) -> dict[str, Any]:
    """Which cohort a store holds, and why it cannot be read."""
    found: dict[str, Any] = {"store": None, "cohort": None}
    if location is not None:
        found["store"] = _sentence(lambda: found.update(cohort=find_cohort(location)))
    return found


def find_cohort(location: str) -> str | None:
    """The key of the cohort in a store, the same wherever the same store is read; None where it holds none.

    Raises:
        MrisynthError: it cannot be reached.
        OSError: the same of a folder.
    """
    from mrisynth.data.store.mirror import locate, remote_of

    store = locate(location)
    if (remote := remote_of(store)) is not None:
        return str(json.loads(remote.read("cohort.json"))["data_key"])
    if not store.is_dir():
        raise NotFoundError(f"there is no folder {store}")
    cohort = store / "cohort.json"
    return str(read_json(cohort)["data_key"]) if cohort.exists() else None


def installed() -> dict[str, str]:
    """The versions of the libraries that are there."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _gpus() -> list[str]:
    """The models of NVIDIA's devices, as their driver names them; torch, which could ask, is slow to import."""
    names = []
    for information in sorted(_GPUS.glob("*/information")):
        lines = information.read_text(encoding="utf-8").splitlines()
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return names


def _token_mode() -> int | None:
    """The mode of the file with Ray's token; None where there is no such file."""
    try:
        return stat.S_IMODE(token_file().stat().st_mode)
    except OSError:
        return None
