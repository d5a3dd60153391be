"""What a drive asks of the cluster before its trials begin, and what becomes of it when its head dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from mrisynth.data.store.mirror import location_of
from mrisynth.errors import ClusterError
from mrisynth.results.store import append_event
from mrisynth.search.engine import clear_staging
from mrisynth.search.launch import Search
from mrisynth.search.lease import Lease

if TYPE_CHECKING:
    from mrisynth.search.vigil import Watched


@contextmanager
def guard(search: Search, lease: Lease) -> Iterator[None]:
    """Look at the nodes, then watch what must not die for as long as the block lasts; inside of a `ray_session`.

    Raises:
        ClusterError: a node cannot do what a trial does.
    """
    from mrisynth.search.nodes import refuse_unfit_nodes
    from mrisynth.search.vigil import watch

    if search.address is not None:
        for sentence in refuse_unfit_nodes(search.sweep.root, location_of(search.plan.store)):
            search.progress(f"warning: {sentence}")
    with watch(_vital(search.address), say=search.progress, give_up=partial(_give_up, search, lease)):
        yield


def _vital(address: str | None) -> list["Watched"]:
    """What this process cannot go on without."""
    from ray._private import worker

    from mrisynth.search.vigil import own_node, the_head

    node = worker._global_node
    if node is None:  # a client of Ray's, which sees neither
        return []
    # The death of a raylet that we started ourselves is seen by `failures.check_session`, and can be mended.
    return [the_head(node.gcs_address), *([] if address is None else [own_node(node.raylet_socket_name)])]


def _give_up(search: Search, lease: Lease, why: str) -> None:
    """End this process, whose main thread waits in Ray for something that is dead.

    What it would have written at its end is written here.
    """
    where = "" if search.address is None else f" --address {search.address}"
    again = "start it again, or another one" if search.address else "Ray's processes are started anew"
    with suppress(Exception):
        search.progress(
            f"error: {why}: it was stopped, or its machine or the network is down; nothing is lost: {again}; go on "
            f"with: mrisynth resume {search.sweep.root}{where}"
        )
        lease.state = "failed"
        append_event(search.sweep, "head-lost", message=why)
        search.index.write()
        append_event(search.sweep, "driver-stopped", state=lease.state)
        clear_staging(search.sweep)
        lease.end()
    os._exit(ClusterError.exit_code)
