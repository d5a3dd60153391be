"""What Ray says when a worker fails, in our words; a kill by its memory monitor made an ordinary failure; its own end.

Tune's actor manager knows two kinds of failures: the actor died, or its task raised. What the memory monitor kills is
neither to it; it takes that for a bug of its own and aborts the whole run. Here it becomes an actor that died.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError

from mrisynth.search.attempts import Failure, describe_error

# What the raylet writes into the message of a dead actor whose node went with it.
_NODE = ("node has died", "actor's node was te")
_VITAL = ("gcs_server", "raylet")
_WATCHED = ("_actor_task_failed", "_actor_start_failed")
# The workers that the memory monitor considered, in the message of each that it killed; those that start are tasks.
_CONSIDERED = re.compile(r"\((?:Actor\(([0-9a-f]+)\)|Task): .*?actual memory used=([\d.]+)GB")
_FULL = re.compile(r"was ([\d.]+)GB used / ([\d.]+)GB limit")


class KilledForMemoryError(ActorDiedError):  # type: ignore[misc]
    """An actor that Ray's memory monitor killed.

    Attributes:
        said: what Ray said of it.
        actor: the actor's id, in hexadecimal digits; empty where it is not known.
    """

    def __init__(self, said: str, actor: str = "") -> None:
        super().__init__(None)
        self.said, self.actor = said, actor

    def __str__(self) -> str:
        return self.said


class SessionLostError(RuntimeError):
    """The Ray that this process started is not whole any more."""


def check_session() -> None:
    """See to it that the Ray that this process started lives; Tune waits for the resources of a dead one for ever.

    Raises:
        SessionLostError: its raylet or its control store has died; nobody starts them again.
    """
    from ray._private import worker

    node = worker._global_node
    dead = [kind for kind, _ in node.dead_processes() if kind in _VITAL] if node is not None else []
    if dead:
        raise SessionLostError(f"{' and '.join(dead)} of the Ray that ran here died")


@dataclass(slots=True)
class Failures:
    """The failure that Tune is dealing with right now.

    Attributes:
        current: the exception, as Ray gave it; None in between.
    """

    current: Exception | None = None


def explain(exception: Exception | None) -> Failure:
    """What an exception of Ray's means for the trial."""
    text = " ".join(str(exception or "").split())
    if isinstance(exception, KilledForMemoryError):
        return _explain_memory(exception)
    if any(word in text for word in _NODE):
        return Failure("node", "the node on which it ran died, or was cut off")
    if isinstance(exception, RayTaskError):
        return describe_error(exception.cause)
    return Failure()


def _explain_memory(killed: KilledForMemoryError) -> Failure:
    """Whose fault it is that the monitor ended a worker: it ends the youngest ones first, whatever they take."""
    used = {actor: float(gigabytes) for actor, gigabytes in _CONSIDERED.findall(killed.said)}
    own, node = used.get(killed.actor, used.get("")), _FULL.search(killed.said)
    if own is None or node is None:
        said = " ".join(killed.said.split())
        return Failure("out of memory", f"Ray's memory monitor ended its worker: {said[:300]}")
    most = max(used.values())
    where = f"on a node of which {node[1]} of {node[2]} GB were in use"
    if own < most / 2:
        message = f"Ray's memory monitor ended its worker, though it used {own:g} GB, and another {most:g} GB, {where}"
        return Failure("node", message, excused=True)
    return Failure("out of memory", f"Ray's memory monitor ended its worker, which used {own:g} GB {where}")


def _actor_id(manager: RayActorManager, concerned: Any) -> str:
    """The id of the actor that failed, or whose task did; empty where the manager has forgotten it."""
    tracked = getattr(concerned, "_tracked_actor", concerned)
    actor, _ = manager._live_actors_to_ray_actors_resources.get(tracked, (None, None))
    return str(actor._actor_id.hex()) if actor is not None else ""


@contextmanager
def watch() -> Iterator[Failures]:
    """See what Tune's actor manager is told, for as long as the block lasts."""
    failures = Failures()
    originals = {name: getattr(RayActorManager, name) for name in _WATCHED}

    def watched(original: Callable[..., None]) -> Callable[..., None]:
        def call(self: Any, *concerned: Any, exception: Exception, **named: Any) -> None:
            failures.current = exception
            if isinstance(exception, OutOfMemoryError):
                failed = (*concerned, *named.values())[0]  # the actor or its task, however Tune passes it
                failures.current = KilledForMemoryError(str(exception), _actor_id(self, failed))
            try:
                original(self, *concerned, exception=failures.current, **named)
            finally:
                failures.current = None

        return call

    for name, original in originals.items():
        setattr(RayActorManager, name, watched(original))
    try:
        yield failures
    finally:
        for name, original in originals.items():
            setattr(RayActorManager, name, original)
