"""Ray's exceptions in our words, and in the words of Tune's actor manager."""

import errno

import pytest
from ray._private import worker
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayTaskError

from mrisynth.search.failures import KilledForMemoryError, SessionLostError, check_session, explain, watch

NODE = "The actor died because its node has died. Node Id: 12ab, Ip: 10.0.0.2"


@pytest.mark.parametrize(
    ("exception", "reason"),
    [
        (None, "worker"),
        (ActorDiedError(), "worker"),
        (RayActorError(error_msg=NODE), "node"),
        (RayTaskError("step", "traceback", KeyError("x")), "worker"),
        (RayTaskError("step", "traceback", OSError(errno.ENOSPC, "No space left on device")), "storage"),
    ],
)
def test_a_failure_has_a_reason(exception, reason):
    assert explain(exception).reason == reason


def test_what_a_worker_raised_is_told():
    assert explain(RayTaskError("step", "traceback", KeyError("x"))).message == "KeyError: 'x'"


class Task:
    """What the actor manager knows of a task that it waits for."""

    def __init__(self, seen):
        self._tracked_actor = self
        self.actor_id = 1
        self._on_error = lambda actor, exception: seen.append(exception)


def test_a_kill_by_the_memory_monitor_is_an_actor_that_died():
    seen = []
    manager = RayActorManager.__new__(RayActorManager)
    manager._failed_actor_ids, manager._cleanup_actor = set(), lambda tracked_actor: None
    manager._live_actors_to_ray_actors_resources = {}
    killed = OutOfMemoryError("1 worker(s) were killed due to the node running low on memory")
    with pytest.raises(RuntimeError, match="unexpected"):  # what aborts a stock Tuner.fit
        manager._actor_task_failed(tracked_actor_task=Task(seen), exception=killed)
    with watch() as failures:
        task = Task(seen)
        task._on_error = lambda actor, exception: seen.append(explain(failures.current))
        manager._actor_task_failed(tracked_actor_task=task, exception=killed)
    assert {failure.reason for failure in seen} == {"out of memory"}
    assert "running low on memory" in seen[0].message
    assert failures.current is None


SAID = """2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2) was \
4.36GB used / 23.54GB limit (0.185023)
Considered workers: [
Selected to kill: (Task: job ID=01, task name=A.__init__, pid=16797, actual memory used=0.05GB, worker ID=c6)
(Actor(29ab): job ID=01, task name=A.__init__, pid=16796, actual memory used=0.06GB, worker ID=c5)
Selected to kill: (Actor(2d36): job ID=01, task name=A.__init__, pid=16795, actual memory used=2.47GB, worker ID=37)
]"""


@pytest.mark.parametrize(
    ("actor", "reason", "excused", "message"),
    [
        ("2d36", "out of memory", False, "used 2.47 GB on a node of which 4.36 of 23.54 GB were in use"),
        ("29ab", "node", True, "used 0.06 GB, and another 2.47 GB"),
        ("one that starts", "node", True, "used 0.05 GB"),
    ],
)
def test_who_took_little_memory_is_excused(actor, reason, excused, message):
    failure = explain(KilledForMemoryError(SAID, actor))
    assert (failure.reason, failure.excused) == (reason, excused)
    assert message in failure.message


def test_afterwards_ray_is_as_it_was():
    before = RayActorManager._actor_task_failed
    with watch():
        assert RayActorManager._actor_task_failed is not before
    assert RayActorManager._actor_task_failed is before


class Node:
    """The Ray that this process started, of which something died."""

    def __init__(self, *dead):
        self.dead = dead

    def dead_processes(self):
        return [(kind, None) for kind in self.dead]


@pytest.mark.parametrize("kind", ["raylet", "gcs_server"])
def test_ray_is_not_whole_without_its_vital_processes(monkeypatch, kind):
    monkeypatch.setattr(worker, "_global_node", Node(kind, "log_monitor"))
    with pytest.raises(SessionLostError, match=kind):
        check_session()


def test_ray_is_whole_without_its_log_monitor_and_where_others_started_it(monkeypatch):
    for node in (Node("log_monitor"), Node(), None):
        monkeypatch.setattr(worker, "_global_node", node)
        check_session()
