from pathlib import Path

import numpy as np
import pytest
import torch
from prepared_fixtures import make_store
from torch import nn
from training_fixtures import CPU, cnn, fresh, gan

from mrisynth.data.slices import SubjectSlices, ensure
from mrisynth.data.stitching import plan_stitch
from mrisynth.data.store.prepared import Standard
from mrisynth.training.config import TrialConfig
from mrisynth.training.evaluation import baselines, evaluate, generate
from mrisynth.training.metrics import METRICS, Scored

LOW, HIGH = Standard(0.4, 0.2), Standard(0.5, 0.1)


class Affine(nn.Module):
    """Twice the input plus one, in the standardised scale; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, ...]] = []

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.batches.append(tuple(low.shape))
        return 2 * low + 1


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def subject(name: str, *, seed: int = 0) -> SubjectSlices:
    low, high, matched = (images(3, 40, 36, seed=seed + step) for step in range(3))
    mask = np.ones(low.shape, bool)
    mask[:, :5] = False
    indices = np.arange(3)
    return SubjectSlices(name, indices, low, high, mask, Standard(0.4 + seed / 100, 0.2), matched, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(("height", "width"), [(40, 36), (32, 32), (20, 50), (9, 7)])
@pytest.mark.parametrize("blend", ["average", "hann"])
def test_generating_undoes_standardisation_and_patches(height: int, width: int, blend: str) -> None:
    config = cnn(stitching={"stride": 12, "crop": 2, "blend": blend})
    low = images(2, height, width)
    generated = generate(Affine(), low, low_standard=LOW, high_standard=HIGH, config=config, device=CPU)
    expected = (2 * (low - 0.4) / 0.2 + 1) * 0.1 + 0.5
    np.testing.assert_allclose(generated, expected, atol=2e-6)
    assert generated.dtype == np.float32


def test_generating_is_done_in_batches_of_the_trials_patches() -> None:
    network = Affine()
    low = images(2, 300, 300)
    generate(network, low, low_standard=LOW, high_standard=HIGH, config=cnn(), device=CPU)
    assert all(shape[1:] == (1, 32, 32) for shape in network.batches)
    assert max(shape[0] for shape in network.batches) == 64


def test_generating_uses_no_randomness_and_changes_nothing() -> None:
    config = gan()
    generator = fresh(config).generator.train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    low = images(2, 40, 36)
    first, second = (
        generate(generator, low, low_standard=LOW, high_standard=HIGH, config=config, device=CPU) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_scores_are_taken_subject_by_subject_and_then_averaged() -> None:
    slices = (subject("ant"), subject("bee", seed=10))
    evaluation = evaluate(Affine(), slices, config=cnn(), high_standard=HIGH, device=CPU)
    assert list(evaluation.subjects) == ["ant", "bee"]
    for each in slices:
        generated = evaluation.generated[each.subject]
        standardised = (each.low - each.low_standard.mean) / each.low_standard.std
        np.testing.assert_allclose(generated, (2 * standardised + 1) * 0.1 + 0.5, atol=2e-6)
        error = np.mean((generated[each.mask] - each.high[each.mask]) ** 2)
        assert evaluation.subjects[each.subject]["mse"] == pytest.approx(error, rel=1e-4)
        assert evaluation.subjects[each.subject]["psnr"] == pytest.approx(-10 * np.log10(error), rel=1e-4)
    assert evaluation.values.keys() == METRICS.keys()
    mean = (evaluation.subjects["ant"]["psnr"] + evaluation.subjects["bee"]["psnr"]) / 2
    assert evaluation.values["psnr"] == pytest.approx(mean)


def test_baselines_are_the_low_scan_and_its_matched_histogram() -> None:
    slices = (subject("ant"), subject("bee", seed=10))
    found = baselines(slices)
    assert list(found) == ["identity", "matched"]
    for each in slices:
        mae = np.mean(np.abs(each.low - each.high)[each.mask])
        assert found["identity"].subjects[each.subject]["mae"] == pytest.approx(mae, rel=1e-5)
        mae = np.mean(np.abs(each.matched - each.high)[each.mask])
        assert found["matched"].subjects[each.subject]["mae"] == pytest.approx(mae, rel=1e-5)


def test_the_slices_of_a_store_are_scored_as_they_are_mapped(tmp_path: Path) -> None:
    slices = ensure(make_store(tmp_path, shape=(12, 40, 36)), count=2)
    config = gan()
    evaluation = evaluate(fresh(config).generator, slices, config=config, high_standard=HIGH, device=CPU)
    assert evaluation.generated["cat"].shape == (2, 40, 36)
    assert all(np.isfinite(list(evaluation.subjects["dog"].values())))


def test_a_forest_makes_whole_slices_and_has_no_seams() -> None:
    network = Affine()
    config = TrialConfig.parse({"generator": "forest", "patches": {"size": 16}})
    low = subject("ant")
    evaluation = evaluate(network, [low], config=config, high_standard=HIGH, device=CPU)
    assert set(network.batches) == {(1, 1, 40, 36)}
    standardised = (low.low - low.low_standard.mean) / low.low_standard.std
    np.testing.assert_allclose(evaluation.generated["ant"], (2 * standardised + 1) * 0.1 + 0.5, atol=2e-6)
    assert evaluation.values["seam"] == 1


class Offset(nn.Module):
    """Another intensity for every other patch of a batch."""

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        return low + 5.0 * (torch.arange(len(low)) % 2)[:, None, None, None]


def test_seams_are_looked_for_where_the_trials_patches_meet() -> None:
    low = subject("ant")
    sharp = {"stride": 4, "crop": 0, "blend": "crop"}
    seams = {}
    for blend in ("crop", "hann"):
        config = cnn(stitching={**sharp, "blend": blend})
        seams[blend] = evaluate(Offset(), [low], config=config, high_standard=HIGH, device=CPU).values["seam"]
    assert seams["crop"] > 1.1 > seams["hann"]
    config = cnn(stitching=sharp)
    generated = generate(
        Offset(), low.low, low_standard=low.low_standard, high_standard=HIGH, config=config, device=CPU
    )
    rows, columns = plan_stitch(40, 36, size=32, **sharp).seams
    scored = METRICS["seam"].function(Scored(generated, low.high, low.mask, rows, columns))
    assert seams["crop"] == pytest.approx(scored)


def test_baselines_are_held_against_the_lines_of_the_default_stitching() -> None:
    # A step where patches of 64, 20 apart and cropped by 4, would meet: 24 voxels from the border.
    high = 0.01 * images(1, 128, 128)
    low = high + 0.01 * images(1, 128, 128, seed=1)
    low[:, 24:] += np.float32(0.5)
    found = baselines([SubjectSlices("a", np.arange(1), low, high, high >= 0, LOW, high, (1.0, 1.0, 1.0))])
    assert found["identity"].values["seam"] > 5
    assert found["matched"].values["seam"] == 1
