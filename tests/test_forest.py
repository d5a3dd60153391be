"""The forest: features, residual, determinism, and a file that is never unpickled."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file
from threadpoolctl import threadpool_limits

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.models import forest as module
from mrisynth.models import trees
from mrisynth.models.forest import Forest, ForestConfig, degrade

SMALL = {"trees": 6, "depth": 6, "min_samples_split": 10}
METHODS = ["faithful", "fast"]


def _noise(count, height=16, width=16, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 1, height, width)).astype(np.float32)


def _neighbour_mean(low):
    """A known local function of the pixels around: the mean of the left and the right neighbour, 0 beyond the edge."""
    padded = np.pad(low, ((0, 0), (0, 0), (0, 0), (1, 1)))
    return (padded[..., :-2] + padded[..., 2:]) / 2


def _fitted(method="fast", *, seed=0, low=None, high=None, threads=1, **settings):
    low = _noise(12) if low is None else low
    forest = ForestConfig(method=method, **{**SMALL, **settings}).build()
    forest.fit(low, _neighbour_mean(low) if high is None else high, seed=seed, threads=threads)
    return forest


def _predict(forest, low):
    return forest(torch.from_numpy(low)).numpy()


@pytest.fixture(scope="module", params=METHODS)
def fitted(request):
    return _fitted(request.param)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "forest.safetensors"
    _fitted(trees=2).save(path)
    return path


def test_features_are_the_surroundings_minus_the_centre_with_zeros_beyond_the_edge():
    image = _noise(1, 5, 7)[0, 0]
    expected = np.zeros((35, 24), np.float32)
    shifts = [shift for shift in product(range(-2, 3), repeat=2) if shift != (0, 0)]
    for row, column in product(range(5), range(7)):
        for feature, (down, right) in enumerate(shifts):
            y, x = row + down, column + right
            neighbour = image[y, x] if 0 <= y < 5 and 0 <= x < 7 else np.float32(0)
            expected[7 * row + column, feature] = neighbour - image[row, column]
    np.testing.assert_array_equal(module._training_rows(image[None], None, np.float32), expected)


@pytest.mark.parametrize("block", [1, 20, 60, 1000])
def test_blocks_change_no_feature(block, monkeypatch):
    images = _noise(3, 9, 11)[:, 0]
    whole = module._training_rows(images, None, np.float32)
    monkeypatch.setattr(module, "_BLOCK", block)
    np.testing.assert_array_equal(module._training_rows(images, None, np.float32), whole)
    some = np.array([0, 5, 98, 99, 200, 296])
    np.testing.assert_array_equal(module._training_rows(images, some, np.float32), whole[some])


@pytest.mark.parametrize("method", METHODS)
def test_what_the_trees_predict_is_added_to_the_low_field_image(method):
    low = _noise(4)
    forest = _fitted(method, low=low, high=low + np.float32(0.75))
    new = _noise(2, seed=1)
    np.testing.assert_allclose(_predict(forest, new), new + 0.75, atol=1e-5)


def test_a_forest_learns_a_local_function(fitted):
    low = _noise(4, seed=1)
    high = _neighbour_mean(low)
    identity = np.mean((low - high) ** 2)
    assert np.mean((_predict(fitted, low) - high) ** 2) < 0.5 * identity


@pytest.mark.parametrize(("method", "door"), [("faithful", "from_forest"), ("fast", "from_boosting")])
def test_the_trees_predict_what_scikit_learn_does(method, door, monkeypatch):
    models = []
    make = getattr(trees, door)
    monkeypatch.setattr(trees, door, lambda model: models.append(model) or make(model))
    forest = _fitted(method)
    low = _noise(2, seed=1)
    rows = module._training_rows(low[:, 0], None, np.float32)
    with threadpool_limits(1):
        residual = models[0].predict(rows)
    np.testing.assert_allclose(_predict(forest, low), low + residual.reshape(low.shape), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_grows_the_same_forest_on_any_number_of_threads(method, tmp_path):
    files = [tmp_path / name for name in ("one", "two", "other")]
    for path, seed, threads in zip(files, (3, 3, 4), (1, 2, 1), strict=True):
        # Few splits: on a busy machine each one costs OpenMP's threads a wait for each other.
        _fitted(method, seed=seed, threads=threads, patches=8, trees=2, depth=2).save(path)
    one, two, other = (path.read_bytes() for path in files)
    assert one == two
    assert one != other


def test_threads_change_no_prediction(fitted):
    low = _noise(3, 40, 50)
    before = torch.get_num_threads()
    generated = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        generated.append(_predict(fitted, low))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*generated)


def test_a_saved_forest_predicts_the_same_bits(fitted, tmp_path):
    path = tmp_path / "forest.safetensors"
    fitted.save(path)
    loaded = ForestConfig().build()
    loaded.load(path)
    low = _noise(2, seed=5)
    assert loaded.nodes == fitted.nodes > len(load_file(path)["first"]) == SMALL["trees"]
    np.testing.assert_array_equal(_predict(loaded, low), _predict(fitted, low))
    assert [each.name for each in tmp_path.iterdir()] == ["forest.safetensors"]


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused_in_one_sentence(kept, saved):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(InvalidInputError, match=r"forest\.safetensors is not a whole forest") as caught:
        ForestConfig().build().load(saved)
    assert "\n" not in str(caught.value)


def test_foreign_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "forest.safetensors"
    with pytest.raises(NotFoundError, match="does not exist"):
        ForestConfig().build().load(path)
    save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(InvalidInputError, match="not a whole forest"):
        ForestConfig().build().load(path)


def _set(name, index, value):
    def damage(tensors, header):
        tensors[name][index] = value

    return damage


def _replace(name, change):
    def damage(tensors, header):
        tensors[name] = change(tensors[name])

    return damage


DAMAGES = {
    "a child beyond the tree": _set("right", 0, 10**6),
    "a child that leads back": _set("right", 0, 0),
    "an unknown feature": _set("feature", 0, 24),
    "a negative feature": _set("feature", 0, -2),
    "no leaf at the end": _set("feature", -1, 3),
    "a number that is none": _set("number", 0, np.nan),
    "trees in disorder": _set("first", 1, 0),
    "a tree beyond the end": _set("first", 1, 10**6),
    "arrays of other lengths": _replace("number", lambda array: array[:-1]),
    "an array of another type": _replace("right", lambda array: array.astype(np.float32)),
    "no trees": _replace("first", lambda array: array[:0]),
    "a version of the future": lambda tensors, header: header.update(schema_version=2),
    "other features": lambda tensors, header: header.update(features=25),
    "a base that is no number": lambda tensors, header: header.update(base="x"),
    "no base": lambda tensors, header: header.pop("base"),
    "a key too many": lambda tensors, header: header.update(more=1),
    "a tensor missing": lambda tensors, header: tensors.pop("right"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_would_lead_astray_is_refused(damage, saved):
    from safetensors import safe_open

    with safe_open(saved, framework="numpy") as stored:
        header = json.loads(stored.metadata()["mrisynth"])
    tensors = {name: array.copy() for name, array in load_file(saved).items()}
    damage(tensors, header)
    save_file(tensors, saved, {"mrisynth": json.dumps(header)})
    with pytest.raises(InvalidInputError, match="not a whole forest"):
        ForestConfig().build().load(saved)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (7, 300), (130, 67)])
def test_a_forest_takes_images_of_any_size(fitted, height, width):
    ForestConfig().check_size(max(height, width))
    low = _noise(2, height, width, seed=2)
    generated = fitted(torch.from_numpy(low))
    assert generated.shape == low.shape
    assert generated.dtype == torch.float32
    assert torch.isfinite(generated).all()


def test_a_pixel_depends_on_its_5x5_surroundings_alone(fitted):
    low = _noise(1, 20, 20, seed=3)
    crop = np.ascontiguousarray(low[..., 3:15, 4:18])
    np.testing.assert_array_equal(_predict(fitted, crop)[..., 2:-2, 2:-2], _predict(fitted, low)[..., 5:13, 6:16])


@pytest.mark.parametrize(("height", "width", "factor"), [(8, 8, 2), (12, 9, 2), (13, 16, 3)])
def test_degraded_patches_are_resized_as_pillow_does(height, width, factor):
    high = _noise(2, height, width)[:, 0]
    small = -(-width // factor), -(-height // factor)
    expected = [
        Image.fromarray(each)
        .resize(small, Image.Resampling.BILINEAR)
        .resize((width, height), Image.Resampling.BILINEAR)
        for each in high
    ]
    np.testing.assert_allclose(degrade(high, factor), np.stack(expected), atol=1e-5)


def test_a_forest_of_degraded_patches_needs_no_low_field_values():
    high = _noise(6)
    real, other = (
        _fitted(input="degraded", low=low, high=high) for low in (_noise(6, seed=8), np.full_like(high, np.nan))
    )
    new = _noise(1, seed=9)
    np.testing.assert_array_equal(_predict(real, new), _predict(other, new))
    assert not np.array_equal(_predict(real, new), _predict(_fitted(low=_noise(6, seed=8), high=high), new))


def test_no_more_than_the_wanted_patches_and_pixels_are_trained_on(monkeypatch):
    seen = []
    grow = module._grow_boosting
    monkeypatch.setattr(
        module, "_grow_boosting", lambda rows, *rest, **more: seen.append(rows) or grow(rows, *rest, **more)
    )
    for settings in ({}, {"patches": 5}, {"patches": 5, "pixels": 0.25}, {"pixels": 0.5}):
        _fitted(**settings)
    assert [len(rows) for rows in seen] == [12 * 256, 5 * 256, 5 * 64, 6 * 256]


def test_read_only_patches_are_taken():
    low = _noise(12)
    low.flags.writeable = False
    _fitted(low=low, high=low)


def test_a_forest_without_trees_says_so():
    forest = ForestConfig().build()
    assert isinstance(forest, Forest)
    assert not list(forest.parameters())
    with pytest.raises(RuntimeError, match="fit or load"):
        forest(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("wrong", [{"method": "quick"}, {"trees": 0}, {"depth": 31}, {"pixels": 0}, {"leaves": 3}])
def test_settings_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValidationError):
        ForestConfig(**wrong)
