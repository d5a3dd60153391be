"""The perceptual loss: found weights, what the network is shown, and values against VGG16 written out by hand."""

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from mrisynth.errors import InvalidInputError
from mrisynth.training import perceptual
from mrisynth.training.perceptual import PerceptualConfig, find_weights, load_perceptual

CPU = torch.device("cpu")
CHANNELS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
CHANNELS |= {17: (256, 512), 19: (512, 512), 21: (512, 512)}
SHARES = 1 / 64 + 1 / 128 + 1 / 256 + 1 / 512
"""One channel's share of the mean over all channels, summed over the four layers."""


def _random_tensors() -> dict[str, Tensor]:
    """Seeded weights that keep features from fading with depth (He et al. 2015)."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for index, (channels, features) in CHANNELS.items():
        deviation = (2 / (9 * channels)) ** 0.5
        tensors[f"{index}.weight"] = deviation * torch.randn(features, channels, 3, 3, generator=generator)
        tensors[f"{index}.bias"] = 0.1 * torch.randn(features, generator=generator)
    return {f"features.{key}": value.half() for key, value in tensors.items()}


def _transparent_tensors() -> dict[str, Tensor]:
    """Weights that hand red, green and blue on as they are, where positive, and leave all other channels 0."""
    tensors = {}
    for index, (channels, features) in CHANNELS.items():
        weight = torch.zeros(features, channels, 3, 3, dtype=torch.float16)
        weight[range(3), range(3), 1, 1] = 1
        tensors[f"{index}.weight"] = weight
        tensors[f"{index}.bias"] = torch.zeros(features, dtype=torch.float16)
    return tensors


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As trials have it: for so little, threads cost more than they do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded weights that say that they are torchvision's. Never written to."""
    path = tmp_path_factory.mktemp("vgg") / "seeded.safetensors"
    save_file(_random_tensors(), path, {"convention": "torchvision"})
    return path


@pytest.fixture(scope="session")
def transparent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that show what the network is shown; they do not say what they expect. Never written to."""
    path = tmp_path_factory.mktemp("vgg") / "transparent.safetensors"
    save_file(_transparent_tensors(), path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's: the folder where torchvision keeps weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def _load(path: Path, convention: str = "auto", resize: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    config = PerceptualConfig.model_validate({"weights": str(path), "convention": convention, "resize": resize})
    return load_perceptual(config, CPU)


def _pair(size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 1, size, size, generator=generator), torch.randn(2, 1, size, size, generator=generator)


def _features(tensors: dict[str, Tensor], image: Tensor) -> list[Tensor]:
    """relu1_2, relu2_2, relu3_3 and relu4_3, as the figure of the VGG paper has them (configuration D)."""

    def conv(index: int, image: Tensor) -> Tensor:
        weight, bias = (tensors[f"features.{index}.{kind}"].float() for kind in ("weight", "bias"))
        return F.conv2d(image, weight, bias, padding=1).clamp(min=0)

    relu1_2 = conv(2, conv(0, image))
    relu2_2 = conv(7, conv(5, F.max_pool2d(relu1_2, 2)))
    relu3_3 = conv(14, conv(12, conv(10, F.max_pool2d(relu2_2, 2))))
    relu4_3 = conv(21, conv(19, conv(17, F.max_pool2d(relu3_3, 2))))
    return [relu1_2, relu2_2, relu3_3, relu4_3]


def _by_hand(tensors: dict[str, Tensor], generated: Tensor, high: Tensor) -> Tensor:
    """The loss with torchvision's constants."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    shown = [((0.449 + 0.226 * patch.repeat(1, 3, 1, 1)) - mean) / deviation for patch in (generated, high)]
    pairs = zip(_features(tensors, shown[0]), _features(tensors, shown[1]), strict=True)
    return torch.stack([(mine - true).abs().mean() for mine, true in pairs]).sum()


def test_value_and_gradient_agree_with_vgg16_written_out_by_hand(vgg: Path) -> None:
    generated, high = _pair(16)
    mine, theirs = generated.clone().requires_grad_(), generated.clone().requires_grad_()
    loss, expected = _load(vgg)(mine, high), _by_hand(load_file(vgg), theirs, high)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_equal_patches_lose_nothing_and_worse_ones_more(vgg: Path) -> None:
    loss, (noise, high) = _load(vgg), _pair()
    assert loss(high, high) == 0
    assert 0 < loss(high + 0.1 * noise, high) < loss(high + noise, high)


def test_the_gradient_reaches_generated_patches_only(vgg: Path) -> None:
    generated, high = (patch.requires_grad_() for patch in _pair())
    _load(vgg)(generated, high).backward()
    assert generated.grad is not None
    assert generated.grad.any()
    assert high.grad is None
    assert not _load(vgg)(generated.detach(), high).requires_grad, "the network is frozen"


def test_loss_is_the_mean_over_the_batch(vgg: Path) -> None:
    loss, (generated, high) = _load(vgg), _pair()
    apart = torch.stack([loss(generated[i : i + 1], high[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(loss(generated, high), apart.mean())


@pytest.mark.parametrize(
    ("convention", "scales"),
    [
        # a step of 1 in a standardised patch is one of 0.226 on [0, 1], then divided by each colour's deviation
        ("torchvision", 0.226 / 0.229 + 0.226 / 0.224 + 0.226 / 0.225),
        ("caffe", 3),  # 57.63 times as much for each colour, and divided by as much again
    ],
)
def test_what_a_convention_makes_of_a_step_of_one(transparent: Path, convention: str, scales: float) -> None:
    bright = torch.full((1, 1, 8, 8), 3.0)
    assert _load(transparent, convention)(bright + 1, bright).item() == pytest.approx(scales * SHARES, rel=1e-5)


@pytest.mark.parametrize(
    ("convention", "colours"),
    [
        ("torchvision", (0.675 - 0.485) / 0.229 + (0.675 - 0.456) / 0.224 + (0.675 - 0.406) / 0.225),
        ("caffe", 255 * (3 * 0.675 - 0.48235 - 0.45882 - 0.40784) / 57.63),
    ],
)
def test_what_a_convention_makes_of_one_deviation_above_the_mean(
    transparent: Path, convention: str, colours: float
) -> None:
    patch = torch.ones(
        1, 1, 8, 8
    )  # 0.449 + 0.226 = 0.675 on [0, 1]; the other patch is negative, so its features are 0
    assert _load(transparent, convention)(patch, -9 * patch).item() == pytest.approx(colours * SHARES, rel=1e-5)


def test_patches_can_be_resized_first(vgg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "RESIZED", 16)
    generated, high = _pair()
    larger = (F.interpolate(patch, size=(16, 16), mode="bilinear") for patch in (generated, high))
    torch.testing.assert_close(_load(vgg, resize=True)(generated, high), _by_hand(load_file(vgg), *larger))


def test_patches_can_be_standardised_one_by_one_first(vgg: Path) -> None:
    config = PerceptualConfig(weights=str(vgg), per_image=True)
    loss, (generated, high) = load_perceptual(config, CPU), _pair()
    alone = [
        (each - each.mean((-2, -1), keepdim=True)) / each.std((-2, -1), keepdim=True, unbiased=False)
        for each in (generated, high)
    ]
    torch.testing.assert_close(loss(generated, high), _by_hand(load_file(vgg), *alone))
    torch.testing.assert_close(loss(3 * generated + 2, high), loss(generated, high))
    flat = torch.full_like(high, 2.0).requires_grad_()
    assert loss(flat, torch.zeros_like(high)) == 0
    loss(flat, high).backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(8, 8), (64, 48), (256, 300)])
def test_resizing_is_torchs_bilinear_interpolation(shape: tuple[int, int]) -> None:
    patches = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    mine, theirs = patches.clone().requires_grad_(), patches.clone().requires_grad_()
    enlarged = perceptual._enlarge(mine, 224)
    expected = F.interpolate(theirs, size=(224, 224), mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarged, expected)
    enlarged.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_it_can_be_minimised_where_determinism_is_asked_for(vgg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "RESIZED", 16)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # it is slow, and no trial does
    torch.use_deterministic_algorithms(True)
    try:
        generated, high = _pair()
        gradients = []
        for _ in range(2):
            start = generated.clone().requires_grad_()
            _load(vgg, resize=True)(start, high).backward()
            assert start.grad is not None
            gradients.append(start.grad)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(gradients[0], gradients[1])


@pytest.mark.gpu
def test_a_gpu_gives_the_same_gradient_twice_and_the_cpus(vgg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(perceptual, "RESIZED", 16)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    config = PerceptualConfig(weights=str(vgg), resize=True)
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for name in ("cuda", "cuda", "cpu"):
            generated, high = (patch.to(name) for patch in _pair())
            start = generated.requires_grad_()
            load_perceptual(config, torch.device(name))(start, high).backward()
            assert start.grad is not None
            gradients.append(start.grad.cpu())
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-3, atol=1e-5)


def test_weights_are_read_once_a_process_and_leave_the_random_state_alone(
    vgg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(vgg, tmp_path / "mine.safetensors"))
    before = torch.get_rng_state()
    first = _load(path)(*_pair())
    assert torch.equal(torch.get_rng_state(), before)
    with monkeypatch.context() as patched:
        patched.setattr(perceptual, "_read_tensors", None)
        assert _load(path)(*_pair()) == first
    save_file(_transparent_tensors(), path, {"convention": "torchvision"})
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert _load(path)(*_pair()) != first


def test_what_was_loaded_while_validating_can_be_trained_with(transparent: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(transparent, tmp_path / "mine.safetensors"))
    with torch.inference_mode():
        loss = _load(path, "caffe")
        loss(*_pair())
    generated, high = _pair()
    loss(generated.requires_grad_(), high).backward()
    assert generated.grad is not None


@pytest.mark.parametrize("legacy", [False, True])
def test_torchvisions_own_files_are_read(vgg: Path, tmp_path: Path, legacy: bool) -> None:
    others = {"features.24.weight": torch.ones(1), "classifier.0.weight": torch.full((1,), float("nan"))}
    path = tmp_path / "vgg16-397923af.pth"
    torch.save({**load_file(vgg), **others}, path, _use_new_zipfile_serialization=not legacy)
    assert _load(path)(*_pair()) == _load(vgg)(*_pair())


def test_the_caches_file_is_taken_where_none_is_named(cache: Path) -> None:
    plain, features = cache / "vgg16-397923af.pth", cache / "vgg16_features-amdegroot-88682ab5.pth"
    features.touch()
    found = find_weights(PerceptualConfig())
    assert (found.path, found.convention) == (features, "caffe")
    plain.touch()
    found = find_weights(PerceptualConfig())
    assert (found.path, found.convention) == (plain, "torchvision")
    found = find_weights(PerceptualConfig(convention="caffe"))
    assert (found.path, found.convention) == (features, "caffe")


def test_missing_weights_are_one_sentence_that_says_what_to_do(cache: Path) -> None:
    with pytest.raises(InvalidInputError) as error:
        load_perceptual(PerceptualConfig(), CPU)
    message = str(error.value)
    assert "\n" not in message
    for part in (str(cache), "https://download.pytorch.org/models/vgg16-397923af.pth", "--set perceptual.weights=PATH"):
        assert part in message
    (cache / "vgg16-397923af.pth").touch()
    with pytest.raises(InvalidInputError, match=r"does not hold vgg16_features-amdegroot-88682ab5\.pth;"):
        find_weights(PerceptualConfig(convention="caffe"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"perceptual\.weights is .*none\.pth, and there is no such file"):
        find_weights(PerceptualConfig(weights=str(tmp_path / "none.pth")))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"convention": "caffe"}, "caffe"),
        ({"convention": "torchvision", "mean": "0,0,0"}, "torchvision"),
        ({"mean": "0.48235,0.45882,0.40784", "std": "0.00392156862745098,0.0039215686,0.00392157"}, "caffe"),
        ({"mean": "0.485, 0.456, 0.406", "std": "0.229, 0.224, 0.225"}, "torchvision"),
        ({}, None),
        ({"convention": "keras"}, None),
        ({"mean": "0.485, 0.456, 0.406", "std": "1, 1, 1"}, None),
        ({"mean": "0.485, 0.456, 0.406"}, None),
        ({"mean": "ImageNet", "std": "ImageNet"}, None),
    ],
)
def test_the_convention_is_read_from_a_files_header(
    tmp_path: Path, header: dict[str, str], expected: str | None
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"0.bias": torch.zeros(64)}, path, header)
    if expected:
        assert find_weights(PerceptualConfig(weights=str(path))).convention == expected
    else:
        with pytest.raises(InvalidInputError, match=r"set perceptual\.convention to torchvision .* or to caffe"):
            find_weights(PerceptualConfig(weights=str(path)))
        assert find_weights(PerceptualConfig(weights=str(path), convention="caffe")).convention == "caffe"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "0.weight",
            torch.zeros(64, 1, 3, 3),
            r"features\.0\.weight has the shape \(64, 1, 3, 3\), not \(64, 3, 3, 3\)",
        ),
        ("2.weight", torch.zeros(64, 64, 3, 3), r"features\.0\.weight is missing"),
        ("0.weight", torch.full((64, 3, 3, 3), float("nan")), r"features\.0\.weight holds values that are not finite"),
    ],
)
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_of_something_else_are_refused(
    tmp_path: Path, key: str, value: Tensor, message: str, ending: str
) -> None:
    path = tmp_path / f"other.{ending}"
    (save_file if ending == "safetensors" else torch.save)({key: value}, path)
    with pytest.raises(InvalidInputError, match=message):
        _load(path, "caffe")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("form", ["safetensors", "pth", "legacy.pth"])
def test_a_truncated_file_is_refused(tmp_path: Path, form: str, share: float) -> None:
    path = tmp_path / f"weights.{form}"
    tensors = {"0.weight": torch.ones(64, 3, 3, 3), "0.bias": torch.ones(64)}
    if form == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "pth")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InvalidInputError, match="cannot be read: it is damaged"):
        _load(path, "caffe")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>404 Not Found</html>\n" * 40, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="cannot be read: it is damaged"):
        _load(tmp_path / name, "caffe")


def test_an_ending_that_says_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vgg16.h5").touch()
    with pytest.raises(InvalidInputError, match=r"end in \.safetensors, \.pth or \.pt"):
        _load(tmp_path / "vgg16.h5", "caffe")


class _Intruder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))])
def test_nothing_in_a_pickle_is_run(tmp_path: Path, save: Callable[[object, Path], object]) -> None:
    path, touched = tmp_path / "weights.pth", tmp_path / "touched"
    save({"0.weight": _Intruder(touched)}, path)
    with pytest.raises(InvalidInputError, match="holds more than tensors"):
        _load(path, "caffe")
    assert not touched.exists()


@pytest.mark.slow
@pytest.mark.skipif("MRISYNTH_VGG16" not in os.environ, reason="MRISYNTH_VGG16 names no file of VGG16's weights")
def test_real_weights_order_damage_by_its_size() -> None:
    loss = _load(Path(os.environ["MRISYNTH_VGG16"]))
    row = torch.arange(64).remainder(16).ge(8).float()
    high = (2 * (row[:, None] - row).abs() - 1)[None, None]  # a chessboard

    def blurred(times: int) -> Tensor:
        image = high
        for _ in range(times):
            image = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return image

    noise = torch.randn(high.shape, generator=torch.Generator().manual_seed(0))
    for series in ([blurred(n) for n in (0, 1, 2, 4, 8)], [high + s * noise for s in (0, 0.05, 0.1, 0.2, 0.5)]):
        values = [loss(image, high).item() for image in series]
        assert values[0] == 0
        assert values == sorted(set(values))
