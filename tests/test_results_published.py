"""The published scores against the paper's tables, and against the trials that are named after them."""

from math import log10

import pytest

from mrisynth.results.published import NAMES, PUBLISHED, SETTINGS
from mrisynth.results.store import read_yaml
from mrisynth.shipped import search_spaces

# As printed in Tables 2 and 3, row by row.
PSNR = [57.01, 56.47, 65.51, 62.83, 64.1, 65.31, 67.44, 67.06, 65.67, 65.90, 66.17, 67.55, 66.27, 65.87, 63.18, 61.07]
MSE = [0.147, 0.151, 0.0236, 0.0406, 0.0316, 0.022, 0.0178, 0.0194, 0.0225, 0.0229, 0.0213, 0.0174, 0.0223, 0.0249]
SSIM = [0.116, 0.0679, 0.358, 0.254, 0.211, 0.255, 0.578, 0.588, 0.358, 0.5, 0.498, 0.593, 0.508, 0.544, 0.237, 0.443]


def test_the_scores_are_those_of_the_papers_tables() -> None:
    rows = list(PUBLISHED.values())
    assert [row.psnr for row in rows] == PSNR
    assert [row.mse for row in rows] == [*MSE, 0.0333, 0.0517]
    assert [row.ssim for row in rows] == SSIM
    assert [row.table for row in rows] == [2] * 5 + [3] * 11


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_mean_of_psnr_is_never_below_the_psnr_of_the_mean_error(name: str) -> None:
    row = PUBLISHED[name]  # Jensen's inequality: a slip of the pen in one of both numbers would break it
    assert 0 <= row.psnr - 20 * log10(255 / row.mse**0.5) < 2


def test_the_published_trials_bear_these_names_and_settings() -> None:
    trials = read_yaml(search_spaces() / "published.yaml")["trials"]
    assert list(trials) == list(NAMES)
    for name, trial in trials.items():
        family = "gan" if trial.get("adversary", "none") != "none" else "cnn"
        if name != "forest":
            assert PUBLISHED[name].table == {"cnn": 2, "gan": 3}[family]
            assert trial["epochs"] == SETTINGS[family]["epochs"], name
            assert trial["patches"] == {"size": 64, "per_subject": 300, "tissue": 0}, name
