import numpy as np
import pytest

from mrisynth.data.preparation.splines import Bending, Knots, gather, move_to, spread

SHAPE = (20, 31, 24)


@pytest.fixture
def knots():
    return Knots.cover(SHAPE, 7.0)


def places(shape=SHAPE):
    return [np.arange(length, dtype=float) for length in shape]


def test_equal_weights_shift_the_whole_scan(knots) -> None:
    field = spread(np.full((3, *knots.counts), 2.5), knots.bases(places()))
    assert field.shape == (3, *SHAPE)
    np.testing.assert_allclose(field, 2.5)


def test_gather_is_the_transpose_of_spread(knots) -> None:
    rng = np.random.default_rng(0)
    weights, field = rng.normal(size=(3, *knots.counts)), rng.normal(size=(3, *SHAPE))
    bases = knots.bases(places())
    assert np.sum(spread(weights, bases) * field) == pytest.approx(np.sum(weights * gather(field, bases)))


def test_finer_knots_carry_the_same_displacements(knots) -> None:
    weights = np.random.default_rng(1).normal(size=(3, *knots.counts))
    finer = Knots.cover(SHAPE, 3.5)
    before = spread(weights, knots.bases(places()))
    after = spread(move_to(weights, knots, finer, SHAPE), finer.bases(places()))
    np.testing.assert_allclose(after, before, atol=0.02 * np.abs(before).max())


def test_an_affine_displacement_does_not_bend_and_a_wave_does(knots) -> None:
    z, y, x = np.indices(knots.counts).astype(float)
    bending = Bending.of(knots)
    assert bending.energy(np.stack([1 + 2 * z - y, x + y, 3 - z]))[0] == pytest.approx(0, abs=1e-6)
    assert bending.energy(np.stack([np.sin(2 * x), y, z]))[0] > 0.1


def test_the_gradient_of_the_bending_is_its_change(knots) -> None:
    rng = np.random.default_rng(2)
    weights, change = (rng.normal(size=(3, *knots.counts)) for _ in range(2))
    bending = Bending.of(knots)
    up, down = (bending.energy(weights + sign * 1e-4 * change)[0] for sign in (1, -1))
    assert (up - down) / 2e-4 == pytest.approx(np.sum(bending.energy(weights)[1] * change), rel=1e-5)
