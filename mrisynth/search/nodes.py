"""What a user should know about each node of a cluster before a search runs there, and what makes a node unfit for it.

To be imported inside a `mrisynth.search.engine.ray_session`, which prepares the import of Ray.
"""

import platform
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mrisynth import __version__
from mrisynth.errors import ClusterError, NotFoundError
from mrisynth.files import write_bytes
from mrisynth.search.machine import LEAST_DISK, Item, Level
from mrisynth.search.node_report import LIBRARIES, find_cohort, installed, report

ANSWERS_WITHIN = 90.0
"""How long a node may take to say how it is, in seconds: a worker has to be started there."""

CLOCKS_DIFFER = 5.0
"""Seconds by which the clocks of two nodes may differ before we say so; a driver silent for 60 is taken for dead."""

LEAST_SHARED_MEMORY = 1e9
"""Bytes of shared memory under which Ray warns and slows down; containers get 64 MB unless told otherwise."""

MUST_AGREE = ("mrisynth", "torch", "ray")
"""What has to have the same version on every node; of others a difference is told."""

_SAME = "install the same version on every node"


@dataclass(slots=True)
class Node:
    """A node of a cluster.

    Attributes:
        name: its host name.
        address: its IP address.
        items: what there is to know about it.
    """

    name: str
    address: str
    items: list[Item] = field(default_factory=list)

    @property
    def problems(self) -> list[Item]:
        """What makes it unfit."""
        return [item for item in self.items if item.verdict == "error"]


def refuse_unfit_nodes(folder: Path, store: str | None) -> list[str]:
    """Refuse a cluster of which a node cannot do what a trial does.

    Args:
        folder: the sweep's folder.
        store: where the store is: a path, a URL, or None.

    Returns:
        What is not as it should be but does no harm yet, one sentence each.

    Raises:
        ClusterError: a node sees another results folder or store, or none, or has other versions.
    """
    nodes = examine_nodes(folder, store)
    sentences = [
        f"node {node.name} ({node.address}): {item.value}; {item.remedy}" for node in nodes for item in node.problems
    ]
    if sentences:
        more = f" (and {len(sentences) - 1} more: mrisynth doctor --address)" if len(sentences) > 1 else ""
        raise ClusterError(sentences[0] + more)
    return [
        f"node {node.name} ({node.address}), {item.name}: {item.value}; {item.remedy}"
        for node in nodes
        for item in node.items
        if item.verdict == "warning"
    ]


def examine_nodes(folder: Path, store: str | None) -> list[Node]:
    """Look at every node that is alive, all at once.

    Args:
        folder: the results folder, or a sweep's.
        store: where the store is; None: not looked at.

    Raises:
        NotFoundError: there is no such folder here, so that no node could be asked whether it sees the same.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}; make it, where every node sees it: mkdir -p {folder}")
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeManagerHostname"]))
    nonce = f".nodes-{secrets.token_hex(8)}"
    write_bytes(folder / nonce, nonce.encode())
    try:
        return _ask(alive, {"folder": str(folder), "nonce": nonce, "store": store})
    finally:
        (folder / nonce).unlink(missing_ok=True)


def _ask(alive: Sequence[dict[str, Any]], question: dict[str, Any]) -> list[Node]:
    """Put a question to the nodes, and judge what they answer."""
    cohort = find_cohort(question["store"]) if question["store"] else None
    asked = {_submit(node["NodeID"], question): index for index, node in enumerate(alive)}
    nodes = [Node(node["NodeManagerHostname"], node["NodeManagerAddress"]) for node in alive]
    deadline = time.monotonic() + ANSWERS_WITHIN
    while asked and time.monotonic() < deadline:
        ready, _ = ray.wait(list(asked), timeout=deadline - time.monotonic())
        arrived = time.time()
        for task in ready:
            index = asked.pop(task)
            nodes[index].items += _judge(task, alive[index], arrived, cohort)
    for task, index in asked.items():
        ray.cancel(task, force=True)
        text = f"it gave no answer within {ANSWERS_WITHIN:.0f} s"
        nodes[index].items.append(Item("answer", text, "error", "look at that node, or take it out of the cluster"))
    gone = {node["NodeID"] for node in ray.nodes() if not node["Alive"]}
    return [node for node, ray_node in zip(nodes, alive, strict=True) if ray_node["NodeID"] not in gone]


def _submit(node: str, question: dict[str, Any]) -> ray.ObjectRef:
    """Let a node look around; it costs no core, so that a busy cluster answers too."""
    here = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(report).remote(question)


def _judge(task: ray.ObjectRef, node: dict[str, Any], arrived: float, cohort: str | None) -> Iterator[Item]:
    """What a node's answer means."""
    try:
        answer = ray.get(task)
    except (RayTaskError, RayError) as error:
        reason = str(error).strip().splitlines()[-1]
        yield Item("mrisynth", f"it cannot run mrisynth {__version__} ({reason})", "error", _SAME)
        return
    yield from _versions(answer["versions"])
    resources = node["Resources"]
    yield Item("cores", f"{resources.get('CPU', 0):g}, {answer['memory'] / 1e9:.1f} GB of memory")
    gpus = ", ".join(answer["gpus"]) or "no NVIDIA driver"
    yield Item("GPUs", f"{resources.get('GPU', 0):g} for Ray ({gpus})")
    yield _shared_memory(answer["shared_memory"])
    yield _ports(node)
    yield from _storage(answer, cohort)
    yield _clock(answer["time"] - arrived)
    yield _token(answer["token"])


def _versions(there: dict[str, str]) -> Iterator[Item]:
    """The versions of a node beside this process's; what a build is for (+cpu, +cu126) may differ."""
    here = {"mrisynth": __version__, "python": platform.python_version(), **installed()}
    for name in ("mrisynth", "python", *LIBRARIES):
        ours, its = here.get(name, "none"), there.get(name, "none")
        if ours.partition("+")[0] == its.partition("+")[0]:
            continue
        verdict: Level = "error" if name in MUST_AGREE else "warning"
        yield Item(name, f"it has {name} {its}, and the driver on {socket.gethostname()} {ours}", verdict, _SAME)
    yield Item("versions", ", ".join(f"{name} {there[name]}" for name in there))


def _storage(answer: dict[str, Any], cohort: str | None) -> Iterator[Item]:
    if answer["results"] is not None:
        remedy = "the results folder must be a shared one that every node has at the same path"
        yield Item("results", answer["results"], "error", remedy)
    else:
        yield Item("results", "seen, written and renamed as by the driver")
    if answer["disk"] is not None and answer["disk"] < LEAST_DISK:
        yield Item("disk", f"{answer['disk'] / 1e9:.1f} GB free under the results folder", "warning", "make room")
    remedy = "the store must be a shared folder at the same path on every node, or a URL that all may read"
    if answer["store"] is not None:
        yield Item("store", f"it cannot read the store: {answer['store']}", "error", remedy)
    elif answer["cohort"] != cohort:
        yield Item("store", f"its store holds another cohort ({answer['cohort']}, not {cohort})", "error", remedy)
    elif cohort is not None:
        yield Item("store", f"holds the cohort {cohort}")


def _shared_memory(size: int | None) -> Item:
    if size is None or size >= LEAST_SHARED_MEMORY:
        return Item("shared memory", "unknown" if size is None else f"{size / 1e9:.1f} GB")
    remedy = "give a container more: --shm-size, or an emptyDir of medium Memory at /dev/shm"
    return Item("shared memory", f"{size / 1e9:.2f} GB", "warning", remedy)


def _ports(node: dict[str, Any]) -> Item:
    ports = {"raylet": "NodeManagerPort", "objects": "ObjectManagerPort", "metrics": "MetricsExportPort"}
    open_ports = {name: node[key] for name, key in ports.items() if node.get(key, 0) > 0}
    shown = ", ".join(f"{name} {port}" for name, port in open_ports.items())
    warned = "; the port of metrics answers anybody, without a token" if "metrics" in open_ports else ""
    return Item("ports", shown + warned)


def _clock(skew: float) -> Item:
    """How far a node's clock is from ours; its answer took some milliseconds to arrive, which counts as being slow."""
    value = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the driver's"
    if abs(skew) > CLOCKS_DIFFER:
        return Item("clock", value, "warning", "let NTP or chrony set it: times in records cannot be compared")
    return Item("clock", value)


def _token(mode: int | None) -> Item:
    if mode is None:
        return Item("Ray token", "in no file")
    if mode & 0o077:
        remedy = "chmod 600: whoever reads it may run programs on every node"
        return Item("Ray token", f"its file has mode {mode:04o}", "warning", remedy)
    return Item("Ray token", f"its file has mode {mode:04o}")
