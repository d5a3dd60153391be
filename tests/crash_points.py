"""Every state that a folder passes through on disk while something works in it: what a `kill -9` could leave.

Python announces every call that changes the file system before it makes it. At each of them the folder is looked at;
each state that was not seen before is one that a process killed right then would leave behind.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
_WRITING = os.O_WRONLY | os.O_RDWR

State = dict[str, bytes | None]
"""Path within the folder -> content; None for a folder."""


@dataclass
class Recorder:
    """Keeps every state of a folder, each once, in their order."""

    root: Path
    states: list[State] = field(default_factory=list)
    _known: dict[str, tuple[tuple[int, int, int], bytes]] = field(default_factory=dict)

    def look(self) -> None:
        """Keep the present state, if it is a new one."""
        state = dict(self._read(self.root))
        if not self.states or state != self.states[-1]:
            self.states.append(state)

    def torn(self) -> Iterator[State]:
        """For every append between two states, the state in which half of it was written."""
        for before, after in zip(self.states, self.states[1:], strict=False):
            for name, content in after.items():
                known = before.get(name)
                if content and known is not None and content != known and content.startswith(known):
                    yield {**before, name: content[: (len(known) + len(content)) // 2]}

    def _read(self, folder: Path) -> Iterator[tuple[str, bytes | None]]:
        for entry in os.scandir(folder):
            name = str(Path(entry.path).relative_to(self.root))
            if entry.is_dir():
                yield name, None
                yield from self._read(Path(entry.path))
            else:
                yield name, self._content(name, entry)

    def _content(self, name: str, entry: Any) -> bytes:
        status = Path(entry.path).stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if name not in self._known or self._known[name][0] != stamp:
            self._known[name] = (stamp, Path(entry.path).read_bytes())
        return self._known[name][1]


_listeners: list[Callable[[str, tuple[Any, ...]], None]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    for listener in _listeners:
        listener(event, arguments)


sys.addaudithook(_hear)  # for good: a hook cannot be taken away again


@contextmanager
def recorded(root: Path) -> Iterator[Recorder]:
    """Record the states of a folder for as long as the block lasts."""
    recorder, looking = Recorder(root), []

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if looking or not _is_change(event, arguments) or not str(arguments[0]).startswith(str(root)):
            return
        looking.append(event)
        try:
            recorder.look()
        finally:
            looking.clear()

    _listeners.append(listen)
    try:
        yield recorder
    finally:
        _listeners.remove(listen)
    recorder.look()


def restore(state: State, root: Path) -> None:
    """Make the folder `root` as it was."""
    root.mkdir()
    for name, content in sorted(state.items()):
        if content is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(content)


def _is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        return bool(arguments[2] & _WRITING)
    return event in _CHANGES
