"""What a drill kills, and when."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Victim = Literal["driver", "worker", "ray", "memory"]


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill.

    Attributes:
        victim: the driver; a worker; a process of the Ray that the driver started; or a worker by Ray's memory monitor.
        words: what is said of it.
        trap: the moment of a driver that kills itself (see `traps`); "" where it is killed from outside.
        fresh: whether a driver is started for it.
        process: the process of Ray, "raylet" or "gcs_server".
        delay: epochs from the first one that is heard of to a kill from outside.
    """

    victim: Victim
    words: str
    trap: str = ""
    fresh: bool = False
    process: str = ""
    delay: float = 0.0


KINDS: dict[str, Kill] = {
    "ask": Kill("driver", "the driver, between ask and suggest", "ask:2"),
    "outcome": Kill("driver", "the driver, between a trial's outcome and telling the study", "outcome:1"),
    "index": Kill("driver", "the driver, in the middle of an index", "half-index:2"),
    "epoch": Kill("driver", "the driver, in the middle of an epoch", "mid-epoch:3"),
    "resuming": Kill("driver", "the driver, while it resumed", "driver-started:1", fresh=True),
    "reconciled": Kill("driver", "the driver, right after it had reconciled", "reconciled:1", fresh=True),
    "random": Kill("driver", "the driver, at a random moment"),
    "worker": Kill("worker", "a worker"),
    "raylet": Kill("ray", "Ray's raylet", process="raylet"),
    "gcs": Kill("ray", "Ray's control store", process="gcs_server"),
    "memory": Kill("memory", "a worker, by Ray's memory monitor", fresh=True),
}
"""Every kind of kill."""

_LATEST = 6.0
"""The longest delay of a kill at a random moment, in epochs."""

_OURS = ("raylet", "gcs", "memory")
"""What can be done only to a Ray that was started for the drill."""


def draw_kills(count: int, seed: int, *, cluster: bool = False) -> list[Kill]:
    """So many kills, every kind once before any comes twice.

    Args:
        count: how many.
        seed: for their order and their random moments.
        cluster: whether the drill runs on a cluster that others use too, whose processes are not touched.
    """
    chance = random.Random(seed)
    kinds = [kind for kind in KINDS if not (cluster and kind in _OURS)]
    drawn: list[Kill] = []
    while len(drawn) < count:
        drawn += kills_of(chance.sample(kinds, len(kinds)), seed=chance.random())
    return drawn[:count]


def kills_of(kinds: list[str], *, seed: float = 0) -> list[Kill]:
    """The kills of these kinds, with random moments where they have one."""
    return list(_dated(kinds, random.Random(seed)))


def _dated(kinds: list[str], chance: random.Random) -> Iterator[Kill]:
    for kind in kinds:
        kill = KINDS[kind]
        delay = 0.0 if kill.trap else chance.uniform(0.0, _LATEST)
        yield Kill(kill.victim, kill.words, kill.trap, kill.fresh, kill.process, delay)
