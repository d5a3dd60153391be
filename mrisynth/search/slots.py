"""Where trials may begin: what each takes of the cluster's cores and GPUs, and whether that is free.

Only where GPUs are packed is there anything to decide: networks go to nodes with a GPU, forests to the others first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from mrisynth.search.judge import LiveTrial
from mrisynth.search.packing import WHOLE, Packing

AHEAD = 4
"""How many trials may wait for a place while others are looked for that would find one: each was suggested sooner
than it had to be, by a study that knew less."""

_DUST = 1e-9


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a trial.

    Attributes:
        gpu: the share of a GPU; None: what every trial gets.
        node: the node without a GPU that it shall go to, as Ray names it; "": any that has what it needs.
    """

    gpu: float | None
    node: str = ""


@dataclass(slots=True)
class Slots:
    """The places of one cluster, and who has them.

    Attributes:
        gpu: the share of a GPU that a trial gets of whose kind nothing is known; 0 without one.
        gpus: how many GPUs there are, where `packing` decides how trials share them.
        packing: what each kind of trial takes of a GPU; None where every trial gets `gpu`.
        beside_gpus: for how many trials at once the nodes with a GPU have cores.
        without_gpu: node -> the same, of each node that has none.
        taken: trial -> the place that it has.
        first: the network that waits for the longest time; no other one takes a place before it, lest small ones
            keep a large one waiting for ever.
    """

    gpu: float = 0.0
    gpus: float = 0.0
    packing: Packing | None = None
    beside_gpus: float = math.inf
    without_gpu: Mapping[str, int] = field(default_factory=dict)
    taken: dict[int, Slot] = field(default_factory=dict)
    first: int | None = None

    def take(self, number: int, live: LiveTrial) -> Slot | None:
        """Take a place for a trial; None while there is none."""
        slot = self._find(number, live)
        if slot is not None:
            self.taken[number] = slot
            self.first = None if self.first == number else self.first
        elif self.first is None and live.config.family != "forest":
            self.first = number
        return slot

    def free(self, number: int) -> None:
        """Give a trial's place back, if it has one."""
        self.taken.pop(number, None)
        self.first = None if self.first == number else self.first

    def share(self, number: int) -> float:
        """What a trial that has a place has of a GPU."""
        gpu = self.taken[number].gpu
        return self.gpu if gpu is None else gpu

    def may_fit(self, *, waiting: int, forests: bool) -> bool:
        """Whether there is a place for a trial of which nothing is known yet.

        Args:
            waiting: how many trials wait for one already.
            forests: whether it may be a forest, for which a core is enough.
        """
        if self.packing is None or not self.taken:
            return True
        network = self.first is None and self._has_room(self.packing.smallest())
        core = self._cores_beside_gpus() >= 1 or self._emptiest() is not None
        return waiting < AHEAD and (network or (forests and core))

    def note_memory(self, live: LiveTrial, *, used: int, total: int) -> bool:
        """Keep what a trial took of its GPU at its peak; what it shares tells nothing of it alone.

        Returns:
            Whether it is more than was known of its kind.
        """
        if self.packing is None or live.share < WHOLE:
            return False
        return self.packing.note(live.config.dump(), used, total)

    def note_failure(self, live: LiveTrial) -> None:
        """Keep that what a trial has of a GPU was too little for it."""
        if self.packing is not None:
            self.packing.note_failure(live.config.dump(), live.share)

    def _find(self, number: int, live: LiveTrial) -> Slot | None:
        if self.packing is None:
            return Slot(live.needs)
        if live.config.family == "forest":
            node = self._emptiest()
            room = node is not None or self._cores_beside_gpus() >= 1
            slot = Slot(0.0, node or "")
        else:
            share = live.needs or self.packing.share(live.config.dump()) or self.gpu
            room = self.first in (None, number) and self._has_room(share)
            slot = Slot(share)
        return slot if room or not self.taken else None  # where nothing runs, Ray has to find it

    def _has_room(self, share: float) -> bool:
        """Whether there is that much of a GPU, and a core beside one."""
        free = self.gpus - sum(slot.gpu or 0.0 for slot in self.taken.values())
        return free >= share - _DUST and self._cores_beside_gpus() >= 1

    def _cores_beside_gpus(self) -> float:
        return self.beside_gpus - sum(not slot.node for slot in self.taken.values())

    def _emptiest(self) -> str | None:
        """The node without a GPU that has room for the most trials; None where none has any."""
        held = [slot.node for slot in self.taken.values()]
        room = {node: places - held.count(node) for node, places in self.without_gpu.items()}
        best = max(room, key=room.__getitem__, default=None)
        return best if best is not None and room[best] >= 1 else None
