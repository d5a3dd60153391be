"""Keeps the index fresh without letting it cost more than the search."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mrisynth.results.index import Index, Indexer, write_index
from mrisynth.results.store import SweepDirectory, append_event
from mrisynth.search.storage.outage import is_disk_error

AT_MOST_EVERY = 2.0
"""Seconds between two writes of an index."""
SHARE = 20
"""An index that took t seconds is not written again for this many times t."""


@dataclass(slots=True)
class IndexWriter:
    """Writes the index of one sweep, some time after something changed.

    Attributes:
        sweep: the sweep.
        indexer: builds the index.
        check: called before it is written; raises where the sweep is not ours any more.
        written: called with each index that was written.
    """

    sweep: SweepDirectory
    indexer: Indexer
    check: Callable[[], None] = lambda: None
    written: Callable[[Index], None] = lambda _: None
    _changed: bool = True
    _next: float = 0.0

    def mark(self) -> None:
        """Say that something has changed."""
        self._changed = True

    def write_if_due(self) -> None:
        """Write the index if something changed and the last one is old enough; on a full disk, another time."""
        if not self._changed or time.monotonic() < self._next:
            return
        try:
            self.write()
        except OSError as error:
            if not is_disk_error(error):
                raise
            self._changed, self._next = True, time.monotonic() + AT_MOST_EVERY

    def write(self) -> None:
        """Write the index now."""
        self.check()
        began = time.monotonic()
        append_event(self.sweep, "index-begin")
        self._changed = False
        index = self.indexer.build()
        write_index(self.sweep, index)
        append_event(self.sweep, "index-written")
        self.written(index)
        ended = time.monotonic()
        self._next = ended + max(AT_MOST_EVERY, SHARE * (ended - began))
