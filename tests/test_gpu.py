"""What must hold on a CUDA device; needs neither Ray nor data. Where the command line's libraries are missing, too:

PYTHONPATH=. python -m pytest --noconftest -q tests/test_gpu.py
"""

import pytest
import torch

from mrisynth.search.packing import Packing
from mrisynth.training import checkpoint
from mrisynth.training.config import TrialConfig
from mrisynth.training.devices import measure_memory, reset_memory
from mrisynth.training.diagnosis import as_rejection
from mrisynth.training.loop import Patches, prepare_torch, start, train
from mrisynth.training.timing import time_epoch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no gpu here")]

CUDA = torch.device("cuda")
GAN = {
    "generator": "unet",
    "unet": {"filters": 8, "levels": 4},
    "adversary": "patchgan",
    "patchgan": {"filters": 8, "layers": 2},
    "losses": {"adversarial": 0.1, "l1": 1.0},
    "patches": {"size": 32},
    "optimizer": {"batch_size": 16},
    "epochs": 2,
}


def patches(count=64, size=32, device="cuda"):
    made = torch.Generator().manual_seed(0)
    return Patches(*(torch.randn(count, 1, size, size, generator=made).to(device) for _ in range(2)))


def trained(config, device, epochs):
    """A state after so many epochs from the start."""
    prepare_torch(config, device)
    state = start(config, device)
    course = train(state, config, training=patches(device=device), validation=patches(16, device=device))
    losses = [next(course) for _ in range(epochs)]
    return state, losses


def same(first, second):
    pairs = zip(first.generator.state_dict().values(), second.generator.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_same_seed_gives_the_same_bits():
    config = TrialConfig.parse(GAN)
    assert same(trained(config, CUDA, 2)[0], trained(config, CUDA, 2)[0])


def test_continued_from_a_checkpoint_it_has_the_bits_of_an_undisturbed_run(tmp_path):
    config = TrialConfig.parse(GAN)
    whole, _ = trained(config, CUDA, 2)
    part, _ = trained(config, CUDA, 1)
    checkpoint.save(tmp_path / checkpoint.FILE_NAME, part, config=config, data_key="random")
    prepare_torch(config, CUDA)
    fresh = start(config, CUDA)
    checkpoint.load(tmp_path / checkpoint.FILE_NAME, fresh, config=config, data_key="random")
    assert fresh.exact
    list(train(fresh, config, training=patches(), validation=patches(16)))
    assert same(whole, fresh)


def test_a_checkpoint_of_the_gpu_goes_on_on_the_cpu_and_says_that_it_is_not_exact(tmp_path):
    config = TrialConfig.parse(GAN)
    part, _ = trained(config, CUDA, 1)
    checkpoint.save(tmp_path / checkpoint.FILE_NAME, part, config=config, data_key="random")
    cpu = torch.device("cpu")
    prepare_torch(config, cpu)
    fresh = start(config, cpu)
    checkpoint.load(tmp_path / checkpoint.FILE_NAME, fresh, config=config, data_key="random")
    assert not fresh.exact
    list(train(fresh, config, training=patches(device="cpu"), validation=patches(16, device="cpu")))
    assert fresh.epoch == 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_gpu_learns_what_the_cpu_learns(precision):
    cnn = {key: value for key, value in GAN.items() if key not in ("adversary", "patchgan", "losses")}
    config = TrialConfig.parse({**cnn, "precision": precision})
    _, here = trained(config, CUDA, 2)
    _, there = trained(config, torch.device("cpu"), 2)
    tolerance = 0.02 if precision == "fp32" else 0.1
    # Another device draws another order of the patches: the losses agree, their bits do not.
    assert here[-1].train["l1"] == pytest.approx(there[-1].train["l1"], rel=tolerance)


def test_memory_is_measured_with_what_cuda_itself_takes():
    config = TrialConfig.parse(GAN)
    reset_memory(CUDA)
    time_epoch(config, patches(), patches(16), seconds=0.1)
    measured = measure_memory(CUDA)
    assert measured is not None
    assert torch.cuda.max_memory_reserved() <= measured.used < measured.total
    assert measured.used > 100e6


def test_a_kind_that_was_measured_gets_a_slice_that_holds_it(tmp_path):
    config = TrialConfig.parse(GAN)
    prepare_torch(config, CUDA)
    reset_memory(CUDA)
    time_epoch(config, patches(), patches(16), seconds=0.1)
    used, total = measure_memory(CUDA)
    packing = Packing(tmp_path / "gpu_memory.json")
    packing.note(config.dump(), used, total)
    assert used / total <= packing.share(config.dump()) <= 1


def test_out_of_memory_is_a_rejection_and_leaves_the_process_usable():
    config = TrialConfig.parse(
        {**GAN, "unet": {"filters": 64, "levels": 4}, "optimizer": {"batch_size": 4096}, "epochs": 1}
    )
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1e9 / total))
    try:
        with pytest.raises(Exception) as error:  # noqa: PT011 - which one it is, is what is asked
            trained_on_many(config)
        assert as_rejection(error.value).reason == "out of memory"
        del error
        torch.cuda.empty_cache()
        state, _ = trained(TrialConfig.parse(GAN), CUDA, 1)
        assert state.epoch == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def trained_on_many(config):
    prepare_torch(config, CUDA)
    many = patches(4096)
    list(train(start(config, CUDA), config, training=many, validation=patches(16)))
