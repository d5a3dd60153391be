"""What can be told about a cluster before Ray connects to it: Ray itself tries for long, and then says little.

To be imported inside `mrisynth.search.engine.ray_session`, which prepares the import of Ray.
"""

import json
import os
import platform
import socket
from typing import Any

import ray
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._private.services import find_node_ids
from ray._private.utils import check_version_info
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError, RayError

from mrisynth.errors import ClusterError
from mrisynth.search.machine import token_file

REACHED_WITHIN = 10.0
"""How long the head of a cluster may take to accept a connection, in seconds."""

_REMEDY = "show it the token of its head: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH=FILE or ~/.ray/auth_token"


def knock(address: str) -> None:
    """See whether a cluster is there and would take us.

    Args:
        address: "host:port"; of "ray://host:port" only the port is tried, and of "auto" and other forms nothing.

    Raises:
        ClusterError: the address has no port, or the cluster cannot be reached, does not take our token, runs other
            versions, or has no node here.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        if "://" in address or address == "auto":
            return
        raise ClusterError(f"{address} is no address of a Ray cluster; give its head's with the port: 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=REACHED_WITHIN).close()
    except OSError as error:
        raise ClusterError(f"the Ray cluster at {address} cannot be reached: {error.strerror or error}") from None
    if "://" in address:
        return
    _refuse_other_versions(address, _ask(address))
    if not find_node_ids():
        raise ClusterError(
            f"no node of the Ray cluster at {address} runs on this machine ({socket.gethostname()}); run the command "
            f"on one of its nodes, or make this machine one: ray start --address={address}"
        )


def _ask(address: str) -> dict[str, Any]:
    """What the head says of its cluster: {"ray_version", "python_version", ...}."""
    try:
        ensure_token_if_auth_enabled(None, create_token_if_missing=False)
        answer = GcsClient(address=address).internal_kv_get(b"CLUSTER_METADATA", b"cluster")
    except AuthenticationError:
        raise ClusterError(f"the Ray cluster at {address} does not take {_our_token()}; {_REMEDY}") from None
    except (RayError, RuntimeError, TimeoutError) as error:
        raise ClusterError(f"what listens at {address} does not answer as the head of a Ray cluster: {error}") from None
    return dict(json.loads(answer))


def _our_token() -> str:
    """What we show to a cluster, in words."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return "a client without a token"
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "the token in RAY_AUTH_TOKEN"
    path = token_file()
    return f"the token in {path}" if path.is_file() else f"a client without a token (there is none in {path})"


def _refuse_other_versions(address: str, cluster: dict[str, Any]) -> None:
    """Refuse a cluster whose Ray or Python is not ours: Ray runs only where they are equal."""
    try:
        check_version_info(cluster, "this process")
    except RuntimeError:
        there = f"Ray {cluster['ray_version']} on Python {cluster['python_version']}"
        here = f"Ray {ray.__version__} on Python {platform.python_version()}"
        remedy = "install the same versions on every machine"
        raise ClusterError(f"the Ray cluster at {address} runs {there}, and this is {here}; {remedy}") from None
