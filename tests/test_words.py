"""What people are told: durations, budgets, rates, and what they meant."""

import pytest

from mrisynth.words import hours_in_words, nearest, tell_rate, tell_spent


@pytest.mark.parametrize(
    ("name", "spent", "limit", "told"),
    [
        ("trials", 4, 50, "4 of 50 trials"),
        ("trials", 64, None, "64 trials (no limit)"),
        ("trials", 1500, 2_000_000, "1,500 of 2,000,000 trials"),
        ("hours", 0.00424, None, "15.3 core-seconds (no limit)"),
        ("hours", 3.25, 12.0, "3.2 of 12 core-hours"),
        ("gpu_hours", 0.25, 0.5, "15 of 30 GPU-minutes"),
        ("wall", 0.0116, 40 / 3600, "41.8 of 40 seconds of wall time"),
    ],
)
def test_what_is_spent_is_told_in_the_unit_of_its_limit(name, spent, limit, told):
    assert tell_spent(name, spent, limit) == told


def test_a_limit_of_time_has_a_unit_of_its_size():
    told = [hours_in_words(hours, "core-") for hours in (2, 1.5, 25 / 3600)]
    assert told == ["2 core-hours", "90 core-minutes", "25 core-seconds"]


def test_a_rate_has_no_exponent():
    told = [tell_rate(rate) for rate in (0.351, 12.34, 2050.4)]
    assert told == ["0.351 trials an hour", "12.3 trials an hour", "2,050 trials an hour"]


def test_what_was_meant_is_found_whatever_the_case():
    known, words = ["unet", "dcgan", "select"], ("UNet", "dcgn", "SELECT", 3, "losses")
    assert [nearest(word, known) for word in words] == ["unet", "dcgan", "select", None, None]
