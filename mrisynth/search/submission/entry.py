"""The one command that every way of submitting runs: sweep, or resume if the sweep exists.

Schedulers start a job again from scratch, so the command must mean the same the second time.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from mrisynth.errors import UsageError


@dataclass(frozen=True, slots=True)
class Entry:
    """What shall be searched, over which data, and where the results go: all as the cluster's nodes see it.

    Attributes:
        space: a shipped space's name, or the path of a YAML file.
        data: a prepared cohort: a folder, or s3://BUCKET/FOLDER.
        results: the folder that holds sweeps.
        name: the sweep's name.
        options: further options of `mrisynth sweep`, as (option, value).
    """

    space: str
    data: str
    results: str
    name: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> str:
        """The sweep's folder."""
        return f"{self.results.rstrip('/')}/{self.name}"

    def words(self) -> list[str]:
        """The arguments of `mrisynth sweep`, but for the cluster's address."""
        given = [word for option, value in self.options for word in (option, value)]
        return [self.space, "--data", self.data, "--results", self.results, "--name", self.name, *given]


ONCE_OR_AGAIN = "--or-resume"
"""The option of `mrisynth sweep` that makes it safe to start again."""


def checked(entry: Entry) -> Entry:
    """The entry, once it is sure that nothing in it can be taken for something else where it is written down.

    Raises:
        UsageError: a text that begins like an option or has a line break or another control character, a folder that
            is not absolute, or a name that cannot be a folder's.
    """
    texts = {"SPACE": entry.space, "--data": entry.data, "--results": entry.results, "--name": entry.name}
    for name, text in [*texts.items(), *entry.options]:
        plain(name, text)
    for name, text in texts.items():
        if text.startswith("-"):
            raise UsageError(f"{name} is {text!r}: it would be taken for an option")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", entry.name):
        raise UsageError(f"the name {entry.name!r} is not usable; take letters, digits, '.', '_' and '-'")
    for name in ("--data", "--results"):
        if not (texts[name].startswith("/") or (name == "--data" and "://" in texts[name])):
            raise UsageError(f"{name} is {texts[name]!r}; give the whole path, as every node sees it")
    return entry


def command(entry: Entry, *, program: str = "mrisynth") -> str:
    """What the shell of a cluster's head runs: with the same effect however often it is started.

    Args:
        entry: what shall be run.
        program: how the head calls mrisynth.
    """
    return shlex.join([program, "sweep", *entry.words(), "--address", "auto", ONCE_OR_AGAIN])


def plain(name: str, text: str) -> str:
    """A text for one line.

    Raises:
        UsageError: it is empty, or holds a line break or another control character.
    """
    if not text or not text.isprintable():
        raise UsageError(f"{name} is {text!r}: it must not be empty and must fit on one line")
    return text


def fitting(name: str, text: str, pattern: str) -> str:
    """A text that is written where nothing can be quoted.

    Raises:
        UsageError: the pattern does not match all of it.
    """
    if not re.fullmatch(pattern, text):
        raise UsageError(f"{name} is {text!r}; it must look like {pattern}")
    return text


def space_path(space: str) -> str:
    """A space as the nodes find it: a shipped one by its name, a file that lies here by its whole path."""
    return str(Path(space).resolve()) if is_file(space) else space


def is_file(space: str) -> bool:
    """Whether a space is a file, not the name of a shipped one."""
    return Path(space).suffix in (".yaml", ".yml")
