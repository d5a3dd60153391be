import pytest
import torch

from mrisynth.training.diagnosis import as_rejection, find_warnings


def test_a_memory_that_is_full_for_real_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    rejection = as_rejection(caught.value)
    assert rejection is not None
    assert rejection.reason == "out of memory"


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the manual")]
)
def test_memory_that_ran_out_is_the_trials_fault(error):
    rejection = as_rejection(error)
    assert rejection.reason == "out of memory"
    assert "\n" not in rejection.message


def test_other_errors_are_not_the_trials_fault():
    assert as_rejection(OSError("the disk is gone")) is None


def epochs(discriminator, adversarial):
    losses = zip(discriminator, adversarial, strict=True)
    return [
        {"epoch": number, "train": {"l1": 1.0, "discriminator": low, "adversarial": high}}
        for number, (low, high) in enumerate(losses, 1)
    ]


def test_a_discriminator_that_has_won_is_a_warning():
    (warning,) = find_warnings(epochs([0.6, 0.04, 0.01, 0.002], [0.7, 3.0, 4.5, 6.0]))
    assert warning.startswith("epoch 4: the discriminator tells nearly every patch apart (its loss is 0.002)")
    assert warning.endswith("climbed from 3 to 6")


@pytest.mark.parametrize(
    ("discriminator", "adversarial"),
    [
        ([0.04, 0.01, 0.06], [3.0, 4.5, 6.0]),
        ([0.04, 0.01, 0.002], [3.0, 4.5, 4.4]),
        ([0.01, 0.002], [4.5, 6.0]),
    ],
    ids=["it does not always win", "the generator recovers", "too short"],
)
def test_a_fair_game_is_none(discriminator, adversarial):
    assert find_warnings(epochs(discriminator, adversarial)) == []


def test_a_trial_without_an_adversary_has_no_warnings():
    assert find_warnings([{"epoch": number, "train": {"l1": 1.0}} for number in range(1, 5)]) == []
