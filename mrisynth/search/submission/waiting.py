"""Waiting for a cluster to be complete: a sweep takes the room that it finds when it starts."""

import time

from mrisynth.errors import ClusterError
from mrisynth.search.engine import ray_session

_BETWEEN = 2.0


def wait_for_nodes(address: str, nodes: int, *, timeout: float) -> None:
    """Return once so many nodes have joined the cluster; to be called on a machine that is one of them.

    Args:
        address: "host:port", or "auto".
        nodes: how many, the head among them.
        timeout: how long to wait, in seconds.

    Raises:
        ClusterError: they did not come in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            with ray_session(address):
                _until_joined(nodes, deadline)
                return
        except ClusterError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_BETWEEN)


def _until_joined(nodes: int, deadline: float) -> None:
    import ray

    while (joined := sum(node["Alive"] for node in ray.nodes())) < nodes:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{joined} of {nodes} nodes joined the cluster in time; see the log of those that did not"
            )
        time.sleep(_BETWEEN)
