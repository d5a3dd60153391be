"""What a user should know about this machine before a search runs on it.

Works in an installation that lacks what a search needs, and says what that is.
"""

import fcntl
import os
import platform
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from mrisynth import __version__

Level = Literal["ok", "warning", "error"]

LEAST_MEMORY = 2e9
"""Bytes of free memory under which a search is tight: Ray itself takes half a GB, and each trial loads torch."""

LEAST_DISK = 5e9
"""Bytes of free disk under which a results folder may soon be full."""

_NEEDED = ("ray", "optuna", "torch")
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing about this machine.

    Attributes:
        name: what it is.
        value: how it is here.
        verdict: whether that is all right; "error" where a search cannot work, or is not safe.
        remedy: what to do about it; "" where it is all right.
    """

    name: str
    value: str
    verdict: Level = "ok"
    remedy: str = ""


def examine(results: Path | None = None) -> list[Item]:
    """Look at this machine.

    Args:
        results: the folder of all sweeps, whose disk is looked at too.
    """
    items = [Item("python", platform.python_version()), Item("mrisynth", __version__)]
    items += [_library(name) for name in _NEEDED]
    items += [_cores(), _memory(), _devices(), _token(), _postgresql(), _greedy()]
    return items + (list(_disk(results)) if results is not None else [])


def token_file() -> Path:
    """Where Ray looks for the token that it shows to a cluster; it need not be there."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def _library(name: str) -> Item:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Item(name, "not installed", "error", "pip install 'mrisynth[search]'")
    wanted = _wanted(name)
    if wanted and not _satisfies(installed, wanted):
        return Item(name, installed, "error", f"mrisynth needs {name}{wanted}: pip install '{name}{wanted}'")
    return Item(name, installed)


def _wanted(name: str) -> str:
    """The versions of a library that we ask for, like ">=2.59"."""
    try:
        asked = requires("mrisynth") or []
    except PackageNotFoundError:  # a bare clone on the path
        return ""
    lines = (line.split(";")[0].strip() for line in asked)
    return next((line.partition(">=")[1] + line.partition(">=")[2] for line in lines if _names(line, name)), "")


def _names(line: str, name: str) -> bool:
    return line.startswith((f"{name}>=", f"{name}["))


def _satisfies(installed: str, wanted: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(wanted).contains(installed, prereleases=True)


def _cores() -> Item:
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return Item("CPU cores", f"{usable} of {os.cpu_count()}, load {os.getloadavg()[0]:.1f}")


def _memory() -> Item:
    try:
        import psutil
    except ImportError:
        return Item("memory", "unknown", "warning", "pip install 'mrisynth[search]'")
    memory = psutil.virtual_memory()
    value = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.available < LEAST_MEMORY:
        return Item("memory", value, "warning", "end other programs, or run one trial at a time: --max-concurrent 1")
    return Item("memory", value)


def _devices() -> Item:
    try:
        from mrisynth.training.devices import describe_devices
    except ImportError:
        return Item("CUDA devices", "unknown without torch", "warning", "pip install 'mrisynth[search]'")
    devices = describe_devices()
    if not devices and _DRIVER.exists():
        remedy = "install a torch that fits the driver (pytorch.org), or see whether CUDA_VISIBLE_DEVICES hides them"
        return Item("CUDA devices", "there is a driver, but torch finds none", "warning", remedy)
    return Item("CUDA devices", ", ".join(devices) or "none: trials run on the CPU")


def _token() -> Item:
    """The file that lets whoever can read it run programs on our Ray."""
    path = token_file()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Item("Ray token", f"none in {path}; Ray makes one when it first starts")
    if mode & 0o077:
        return Item("Ray token", f"{path} has mode {mode:04o}: others can read it", "error", f"chmod 600 {path}")
    return Item("Ray token", f"{path}, mode {mode:04o}")


def _postgresql() -> Item:
    try:
        return Item("psycopg", version("psycopg"))
    except PackageNotFoundError:
        return Item("psycopg", "not installed; only for --storage postgresql://: pip install 'mrisynth[postgresql]'")


def _greedy() -> Item:
    """The registration program that a user may install."""
    try:
        from mrisynth.data.preparation.greedy import find_greedy
        from mrisynth.errors import InvalidInputError

        return Item("greedy", " ".join(find_greedy()[:1]))
    except (ImportError, InvalidInputError):
        return Item("greedy", "not installed; only for registration.method greedy: pip install picsl_greedy")


def _disk(results: Path) -> Iterator[Item]:
    """The disk of a results folder, which need not be there yet."""
    folder = next(parent for parent in (results.resolve(), *results.resolve().parents) if parent.is_dir())
    usage = shutil.disk_usage(folder)
    value = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free under {folder}"
    if usage.free < LEAST_DISK:
        yield Item("disk", value, "warning", "make room, or name another folder: --results")
    else:
        yield Item("disk", value)
    yield _locks(folder)


def _locks(folder: Path) -> Item:
    """Whether files can be written and locked there: what keeps a second driver away."""
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        remedy = "name a folder that you can write to, on a file system with locks (mount NFS without nolock)"
        return Item("locks", f"files in {folder} cannot be written and locked: {error.strerror}", "error", remedy)
    return Item("locks", f"files in {folder} can be written and locked")
