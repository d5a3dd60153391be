"""Watches from a thread whether what a driver cannot do without still answers: the head of the cluster, its own node.

Where it does not, whatever asks Ray something waits inside Ray, Tune's loop and Ctrl-C with it: for a minute, after
which Ray ends the process without a word of ours, or for ever. So somebody else has to look, and to have the last word.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

LOOK_EVERY = 1.0
"""Seconds between two looks, and how long an answer may take."""

RAY_GIVES_UP = 60.0
"""Seconds after which Ray ends a process that its head refuses, unless the next says else."""

RAY_GIVES_UP_SETTING = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""How Ray calls that setting, among the variables of the environment."""

REFUSED, SILENT = 0.2, 0.75
"""The share of that time that a head may refuse us (its machine lives, it does not), or not answer at all."""

_REFUSES, _SILENT = "has refused every connection", "has not answered"


@dataclass(frozen=True, slots=True)
class Watched:
    """What shall answer.

    Attributes:
        name: what it is called in sentences.
        address: where it listens: "host:port", or the path of a socket.
        refused: for how long it may refuse connections, in seconds. A head that is made to come back as the same
            cluster (with Redis behind it) is back by then; any other never.
        silent: for how long nothing may come back: its machine may be down, or the network in between.
    """

    name: str
    address: str
    refused: float
    silent: float


def the_head(address: str) -> Watched:
    """The head of a cluster, which may be away nearly as long as Ray itself waits for it."""
    limit = float(os.environ.get(RAY_GIVES_UP_SETTING) or RAY_GIVES_UP)
    return Watched(f"the head of the Ray cluster at {address}", address, REFUSED * limit, SILENT * limit)


def own_node(socket_path: str) -> Watched:
    """Ray's process on this machine (its raylet), which nobody starts again."""
    return Watched("Ray's process on this machine (its raylet)", socket_path, 2 * LOOK_EVERY, RAY_GIVES_UP)


@contextmanager
def watch(
    watched: Sequence[Watched],
    *,
    say: Callable[[str], None],
    give_up: Callable[[str], None],
    look_every: float = LOOK_EVERY,
) -> Iterator[None]:
    """Watch for as long as the block lasts.

    Args:
        watched: what shall answer.
        say: called with a sentence when one stops answering, and when it answers again.
        give_up: called once with a sentence, from the thread, when one was away for too long.
        look_every: seconds between two looks.
    """
    over = threading.Event()
    since: dict[str, float] = {}

    def look(one: Watched) -> str | None:
        """Why to give up because of one of them."""
        how = _knock(one.address, look_every)
        if how is None:
            if since.pop(one.name, None) is not None:
                say(f"{one.name} answers again")
            return None
        if one.name not in since:
            say(f"{one.name} {how}; waiting whether it comes back")
        away = time.monotonic() - since.setdefault(one.name, time.monotonic())
        limit = one.refused if how == _REFUSES else one.silent
        return f"{one.name} {how} for {away:.0f} s" if away >= limit else None

    def go_on_looking() -> None:
        while not over.wait(look_every):
            why = next(filter(None, map(look, watched)), None)
            if why is not None:
                give_up(why)
                return

    thread = threading.Thread(target=go_on_looking, name="vigil", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _knock(address: str, within: float) -> str | None:
    """What is wrong with what listens at an address; None where it accepts a connection."""
    host, _, port = address.rpartition(":")
    try:
        if address.startswith("/"):
            with socket.socket(socket.AF_UNIX) as local:
                local.settimeout(within)
                local.connect(address)
        else:
            socket.create_connection((host, int(port)), timeout=within).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return _REFUSES
    except OSError:
        return _SILENT
    return None
