"""Filters in words: what they choose, and what they say of a mistake."""

import pyarrow as pa
import pytest

from mrisynth.errors import InvalidInputError
from mrisynth.results.query import LONGEST, columns, matching

TRIALS = pa.table(
    {
        "trial": [0, 1, 2, 3],
        "outcome": ["completed", "completed", "pruned", "queued"],
        "generator": ["unet", "fcn", "unet", None],
        "config": ["{}"] * 4,
        "started": pa.array([None] * 4, pa.timestamp("ms", tz="UTC")),
        "value.psnr": [31.0, 29.0, 20.0, None],
        "value.ssim": [0.5, 0.9, 0.2, None],
        "param.generator": ["unet", "fcn", "unet", None],
        "param.losses.l1": [1.0, 2.0, None, None],
        "param.fcn.filters": [None, "[16, 8]", None, None],
    }
)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", [0, 1, 2, 3]),
        ("psnr > 30", [0]),
        ('psnr > 30 and generator == "unet"', [0]),
        ("psnr > 30 or losses.l1 >= 2", [0, 1]),
        ("20 <= psnr < 30", [1, 2]),
        ("30 < psnr", [0]),
        ("-1 < psnr", [0, 1, 2]),
        ("psnr > -1e3 and not outcome == 'pruned'", [0, 1]),
        ("generator in ['fcn', 'dcgan']", [1]),
        ("generator not in ('fcn',)", [0, 2]),
        ("generator != 'fcn'", [0, 2]),
        ("trial in [3, 7]", [3]),
        ("losses.l1 < ssim", []),
        ("losses.l1 > ssim", [0, 1]),
        ("fcn.filters == '[16, 8]'", [1]),
        ("  psnr > 30 or\n (psnr < 25)", [0, 2]),
        ("trial in []", []),
    ],
)
def test_a_filter_chooses_the_trials_for_which_it_holds(text, chosen):
    assert matching(TRIALS, text).nonzero()[0].tolist() == chosen


def test_a_value_that_is_missing_passes_neither_a_comparison_nor_its_opposite():
    assert not matching(TRIALS, "psnr > 0")[3]
    assert not matching(TRIALS, "psnr <= 0")[3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("psnr >", "character 6: this is not a comparison"),
        ("psmr > 30", "character 1: there is no 'psmr' among the trials; did you mean 'psnr'?"),
        ("ssim > 0 and psmr > 30", "character 14: there is no 'psmr'"),
        ("'ü' == generator and psmr > 1", "character 22: there is no 'psmr'"),
        ("psnr > 0 and\n psmr > 1", "character 15: there is no 'psmr'"),
        ("config == '{}'", "character 1: there is no 'config'"),
        ("psnr", "character 1: a comparison is expected"),
        ("psnr == 'high'", "character 9: 'psnr' is a number"),
        ("generator == 3", "character 14: 'generator' is a text"),
        ("generator in [3]", "character 15: 'generator' is a text"),
        ("generator in 'unet'", "character 14: a list is expected"),
        ("psnr > [1]", "character 8: a number, or a text in quotes"),
        ("psnr > True", "character 8: a number"),
        ("psnr is 3", "character 1: compare with =="),
        ("started > 3", "character 1: 'started' is a time"),
        ("__import__('os').system('true') == 1", "character 1: a metric, a setting or a column is expected"),
        ("(lambda: 1)() == 1", "character 1: a metric"),
        ("[x for x in [1]] == psnr", "character 1: a metric"),
        ("psnr > 9" + "9" * 400, "character 8: this number is too large"),
        ("psnr > 1) or (psnr < 2", "character 9"),
        ("\x00", "character 1"),
        ("(" * 400 + "psnr > 1" + ")" * 400, "character"),
        ("p" * (LONGEST + 1), f"may have {LONGEST}"),
    ],
)
def test_a_mistake_is_named_with_its_place(text, said):
    with pytest.raises(InvalidInputError) as caught:
        matching(TRIALS, text)
    assert said in str(caught.value)


def test_what_may_be_named_are_columns_metrics_and_settings():
    assert columns(TRIALS)["psnr"] == "value.psnr"
    assert columns(TRIALS)["losses.l1"] == "param.losses.l1"
    assert columns(TRIALS)["generator"] == "generator"
    assert "config" not in columns(TRIALS)
