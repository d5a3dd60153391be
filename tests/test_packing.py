"""GPUs shared by what trials need, with a device that is simulated."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from search_fixtures import StubConfig, make_plan, make_sweep, open_conductor, outcomes, suggest_stub

from mrisynth.files import read_json
from mrisynth.search.packing import MARGIN, MOST, Packing, memory_key, read_packing
from mrisynth.search.settings import Budget
from mrisynth.search.slots import Slots
from mrisynth.search.study import find_share

GB = 10**9
SMALL = {"generator": "unet", "unet": {"filters": 8}, "patches": {"size": 32}, "optimizer": {"batch_size": 16}}
LARGE = {**SMALL, "unet": {"filters": 16}}


@pytest.fixture
def packing(tmp_path):
    return Packing(tmp_path / "gpu_memory.json")


def test_nothing_is_known_before_it_was_measured(packing):
    assert packing.share(SMALL) is None
    assert packing.smallest() == 1.0


def test_as_many_fit_as_the_memory_allows(packing):
    packing.note(SMALL, 10 * GB, 80 * GB)
    assert packing.share(SMALL) == 0.1666  # 80 / (10 * 1.15) is 6.96
    assert 6 * packing.share(SMALL) <= 1 < 80 / (10 * MARGIN) * packing.share(SMALL) * 2
    packing.note(LARGE, 1, 80 * GB)
    assert packing.share(LARGE) == 1 / MOST
    packing.note(LARGE, 79 * GB, 80 * GB)
    assert packing.share(LARGE) == 1.0


def test_only_what_decides_memory_tells_kinds_apart():
    other = {**SMALL, "optimizer": {"batch_size": 16, "generator_lr": 0.1}, "epochs": 7, "seed": 3, "losses": {"l1": 1}}
    assert memory_key({**SMALL, "losses": {"l1": 2}}) == memory_key(other)
    for changed in ({"precision": "bf16"}, {"patches": {"size": 64}}, {"losses": {"perceptual": 1}}, LARGE):
        assert memory_key({**SMALL, **changed}) != memory_key(SMALL)


def test_what_is_smaller_in_every_respect_needs_no_more(packing):
    packing.note(LARGE, 10 * GB, 80 * GB)
    assert packing.share(SMALL) == packing.share(LARGE)
    assert packing.share({**LARGE, "optimizer": {"batch_size": 32}}) is None
    assert packing.share({**SMALL, "adversary": "patchgan"}) is None


def test_what_failed_on_a_share_gets_a_whole_one_and_never_that_share_again(packing):
    packing.note(SMALL, 10 * GB, 80 * GB)
    packing.note_failure(SMALL, 1 / 6)
    assert packing.share(SMALL) is None
    packing.note(SMALL, 11 * GB, 80 * GB)
    assert packing.share(SMALL) == 1.0 or packing.share(SMALL) > 1 / 6
    assert read_packing_of(packing) == packing.known


def read_packing_of(packing: Packing) -> dict[str, Any]:
    return read_json(packing.path)["known"]


@dataclass
class Device:
    """GPUs of 80 GB on which stub trials run, an epoch each in turn; one of kind "a" takes 10 GB, others 30."""

    conductor: Any
    gpus: float
    most: int = 0
    running: dict[int, Iterator[int]] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)

    def run(self) -> None:
        while self.fill():
            for number in list(self.running):
                self.step(number)

    def fill(self) -> bool:
        while not isinstance(assignment := self.conductor.next_trial(), str):
            self.waiting.append(assignment.number)
        # As Ray does: a trial for which there is no room waits; the conductor hands out no more than one such.
        while self.waiting and self.taken() + self.conductor.live[self.waiting[0]].share <= self.gpus:
            self.running[self.waiting.pop(0)] = iter(range(1, 5))
        assert len(self.waiting) <= 1
        self.most = max(self.most, len(self.running))
        return bool(self.running)

    def taken(self) -> float:
        return sum(self.conductor.live[number].share for number in self.running)

    def step(self, number: int) -> None:
        epoch = next(self.running[number])
        values = self.conductor.live[number].config.dump()
        scores = {"psnr": 1.0} if epoch == 4 else None
        if scores:
            self.conductor.note_memory(number, (10 if values["generator"] == "a" else 30) * GB, 80 * GB)
        record = {"epoch": epoch, "final": epoch == 4, "scores": scores, "seconds": 1.0, "pid": 1, "host": "here"}
        if self.conductor.hear(number, record):
            del self.running[number]


def suggest(trial):
    values = suggest_stub(trial).values
    return StubConfig({**values, "generator": "a" if trial.number % 2 else "b"})


def pack(tmp_path, sweep, *, trials, gpus=1.0):
    conductor = open_conductor(sweep, make_plan(tmp_path, suggest=suggest, budget=Budget(trials=trials)))
    conductor.slots = Slots(gpu=1.0, gpus=gpus, packing=read_packing(sweep))
    return Device(conductor, gpus)


def test_trials_have_a_gpu_each_until_they_are_known_and_share_it_then(tmp_path):
    sweep = make_sweep(tmp_path)
    device = pack(tmp_path, sweep, trials=9)
    device.run()
    assert set(outcomes(sweep).values()) == {"completed"}
    assert device.most > 1
    shares = [read_json(sweep.trial(number).origin)["gpu"] for number in range(9)]
    assert shares[:2] == [1.0, 1.0]
    assert set(shares[2:]) <= {0.5, 0.1666}


def test_it_is_measured_once_a_sweep(tmp_path):
    sweep = make_sweep(tmp_path)
    pack(tmp_path, sweep, trials=2).run()
    later = pack(tmp_path, sweep, trials=6)
    later.run()
    assert all(read_json(sweep.trial(number).origin)["gpu"] < 1 for number in range(2, 6))


def test_a_slice_that_is_too_small_is_exchanged_for_a_whole_gpu(tmp_path):
    sweep = make_sweep(tmp_path)
    pack(tmp_path, sweep, trials=2).run()
    device = pack(tmp_path, sweep, trials=4)
    device.fill()
    number = max(device.running)
    before = device.conductor.live[number].share
    assert before < 1
    assert device.conductor.hear(number, {"rejected": "out of memory", "message": "CUDA out of memory"})
    assert find_share(device.conductor.study, number) == 1.0
    assert device.conductor.slots.packing.share(device.conductor.live[number].config.dump()) is None
