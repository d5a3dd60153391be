"""The perceptual loss: how far the features that VGG16 finds in two patches lie apart (Johnson et al. 2016).

The network is never drawn at random and never fetched: its weights are a file that the user has, see `find_weights`.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors import safe_open
from torch import Tensor, nn

from mrisynth.config import Config
from mrisynth.errors import InvalidInputError
from mrisynth.files import sha256_file

GREY_MEAN, GREY_DEVIATION = 0.449, 0.226
"""Of the intensities of natural images on [0, 1]: the averages over the colours of `torchvision`'s constants below."""

RESIZED = 224
"""Height and width of the images that VGG16 was trained on, in pixels."""


class Normalisation(NamedTuple):
    """What a training of VGG16 subtracted from red, green and blue on [0, 1], and what it then divided by."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


CONVENTIONS: Mapping[str, Normalisation] = {
    "torchvision": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Normalisation((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)),
}
"""Both as torchvision documents them for `VGG16_Weights`, IMAGENET1K_V1 and IMAGENET1K_FEATURES."""

TORCHVISION_FILES: Mapping[str, str] = {
    "vgg16-397923af.pth": "torchvision",
    "vgg16_features-amdegroot-88682ab5.pth": "caffe",
}
"""The files that torchvision keeps in torch's cache, and the convention of each; the first that is there is taken."""

_LEAST_VARIANCE = 1e-6  # added to a patch's own, where high-field intensities have 1: a flat patch has a gradient too
_DOWNLOAD = "https://download.pytorch.org/models"
_CONVOLUTIONS: Mapping[int, tuple[int, int]] = {
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    17: (256, 512),
    19: (512, 512),
    21: (512, 512),
}
"""Channels in and out of each convolution, by its index in torchvision's `vgg16.features`."""
_POOLS = (4, 9, 16)
_CUTS = (0, 4, 9, 16, 23)  # behind relu1_2, relu2_2, relu3_3 and relu4_3


class PerceptualConfig(Config):
    """Which network the perceptual loss takes its features from, and what it is shown."""

    weights: str | None = Field(
        None,
        min_length=1,
        description="File of VGG16's weights (.safetensors or .pth); if not given, torchvision's in torch's cache.",
    )
    convention: Literal["auto", "torchvision", "caffe"] = Field(
        "auto", description="Input that the weights expect; auto: known by the file's name or what is written in it."
    )
    per_image: bool = Field(
        False, description="Bring each patch to mean 0 and deviation 1 by itself first: the other reading of the paper."
    )
    resize: bool = Field(
        False,
        description=f"Enlarge patches to {RESIZED} pixels first, as VGG16 was trained; from 64, 12 times the work.",
    )


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of VGG16's weights, and the convention of the input that they expect: a key of `CONVENTIONS`."""

    path: Path
    convention: str

    def digest(self) -> str:
        """The SHA-256 of the file, in hex; it is read whole, once a process."""
        return _digest(self.path, self.path.stat().st_mtime_ns)


def find_weights(config: PerceptualConfig) -> Weights:
    """Where the weights are and what they expect, without reading them.

    Raises:
        InvalidInputError: there is no file, or it does not say what it expects and neither does the config.
    """
    path = _cached_file(config.convention) if config.weights is None else Path(config.weights).expanduser().absolute()
    if not path.is_file():
        raise InvalidInputError(
            f"perceptual.weights is {config.weights}, and there is no such file; name a file of VGG16's weights like "
            f"{_DOWNLOAD}/{next(iter(TORCHVISION_FILES))}"
        )
    if config.convention != "auto":
        return Weights(path, config.convention)
    convention = TORCHVISION_FILES.get(path.name) or _written_convention(path)
    if convention is None:
        raise InvalidInputError(
            f"{path} does not say which input its weights expect: set perceptual.convention to torchvision (mean "
            "0.485, 0.456, 0.406 and deviation 0.229, 0.224, 0.225 of RGB on [0, 1]) or to caffe (RGB on [0, 255], "
            "its mean subtracted)"
        )
    return Weights(path, convention)


def load_perceptual(config: PerceptualConfig, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """The perceptual loss on a device: (generated, high), each (n, 1, height, width), standardised, to a scalar.

    It is the sum, over relu1_2, relu2_2, relu3_3 and relu4_3 of VGG16, of the mean absolute difference of the features
    of both patches. Features grow with the input, so it is divided by how many times larger than with torchvision's
    convention the input is (1 or 57.63): a weight of this loss means about the same with either. The gradient flows to
    `generated` only. Patches have at least 8 pixels an axis: three poolings.

    The weights take 31 MB on the device, once a process however many trials it runs. A step of 32 patches of 64 x 64
    pixels takes some 400 MB more, 3 GB if they are resized. Torchvision's own files hold VGG16's classifier too: to
    read one may take 550 MB for a moment.

    Raises:
        InvalidInputError: the weights are missing, damaged, or not VGG16's.
    """
    weights = find_weights(config)
    mean, deviation = CONVENTIONS[weights.convention]
    magnified = GREY_DEVIATION / (sum(deviation) / 3)
    with torch.inference_mode(False):  # tensors made in inference mode can never take part in training
        changed = weights.path.stat().st_mtime_ns
        blocks = _read_blocks(weights.path, changed, device)
        spread = torch.tensor(deviation, device=device).view(3, 1, 1)
        scale = GREY_DEVIATION / spread
        shift = (GREY_MEAN - torch.tensor(mean, device=device).view(3, 1, 1)) / spread

    def present(patches: Tensor) -> Tensor:
        """What the network is shown: standardised grey brought to natural images' intensities, then its own scale."""
        grey = _standardise(patches.float()) if config.per_image else patches.float()
        grey = _enlarge(grey, RESIZED) if config.resize else grey
        return (scale * grey + shift).contiguous(memory_format=torch.channels_last)

    def perceptual(generated: Tensor, high: Tensor) -> Tensor:
        found, wanted = present(generated), present(high.detach())  # all is frozen, so wanted features keep no graph
        distances = []
        for block in blocks:
            found, wanted = block(found), block(wanted)
            distances.append(F.l1_loss(found, wanted))
        return torch.stack(distances).sum() / magnified

    return perceptual


def _standardise(patches: Tensor) -> Tensor:
    """Each patch with mean 0 and deviation 1; a flat one with mean 0."""
    variance, mean = torch.var_mean(patches, dim=(-2, -1), keepdim=True, correction=0)
    return (patches - mean) * torch.rsqrt(variance + _LEAST_VARIANCE)


def _enlarge(patches: Tensor, size: int) -> Tensor:
    """Bilinear interpolation to (n, 1, size, size), as `F.interpolate(mode="bilinear")`.

    As products with a matrix for each axis: the backward pass of torch's own is not deterministic on a GPU.
    """
    down, across = (_interpolation(length, size, patches.device) for length in patches.shape[-2:])
    return down @ patches @ across.T


def _interpolation(length: int, size: int, device: torch.device) -> Tensor:
    """(size, length): each row holds the weights of `length` pixels in one of `size`."""
    identity = torch.eye(length, device=device)
    return F.interpolate(identity[None], size=size, mode="linear")[0].T.contiguous()


def _cached_file(convention: str) -> Path:
    """Torchvision's file in torch's cache; only of the given convention unless that is "auto"."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    names = [name for name, expects in TORCHVISION_FILES.items() if convention in ("auto", expects)]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InvalidInputError(
        f"the perceptual loss needs VGG16's weights: perceptual.weights is not set, and {folder} does not hold "
        f"{' or '.join(names)}; download {_DOWNLOAD}/{names[0]} (528 MB) into that folder, or name a file with "
        "perceptual.weights (--set perceptual.weights=PATH)"
    )


def _written_convention(path: Path) -> str | None:
    """The convention in a safetensors file's header: `convention` by name, or else `mean` and `std`."""
    if path.suffix != ".safetensors":
        return None
    with _reading(path), safe_open(path, "pt") as file:
        header: Mapping[str, str] = file.metadata() or {}
    if "convention" in header:
        return header["convention"] if header["convention"] in CONVENTIONS else None
    written = [*_numbers(header.get("mean", "")), *_numbers(header.get("std", ""))]
    for name, (mean, deviation) in CONVENTIONS.items():
        expected = [*mean, *deviation]
        if len(written) == len(expected) and all(abs(a - b) < 5e-4 for a, b in zip(written, expected, strict=True)):
            return name
    return None


def _numbers(text: str) -> list[float]:
    """Comma-separated numbers, or none where any is not a number."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []


@lru_cache(maxsize=4)
def _digest(path: Path, changed: int) -> str:
    return sha256_file(path)


@lru_cache(maxsize=4)
def _read_blocks(path: Path, changed: int, device: torch.device) -> tuple[nn.Module, ...]:
    """VGG16 up to relu4_3, cut behind the layers that are compared; frozen, float32, channels_last.

    Args:
        path: the file.
        changed: when it was last written, in ns: another file of the same name is read anew.
        device: where the network shall be.
    """
    with torch.device("meta"):  # a network made otherwise draws from the random state of the trial
        layers = [_layer(index) for index in range(_CUTS[-1])]
    network = nn.Sequential(*layers)
    network.load_state_dict(_read_tensors(path), assign=True)
    network.requires_grad_(False).eval()
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return tuple(network[start:end] for start, end in pairwise(_CUTS))


def _layer(index: int) -> nn.Module:
    """One layer of torchvision's `vgg16.features`."""
    if index in _CONVOLUTIONS:
        return nn.Conv2d(*_CONVOLUTIONS[index], 3, padding=1)
    return nn.MaxPool2d(2) if index in _POOLS else nn.ReLU(inplace=True)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The ten convolutions of a file, by their keys in `vgg16.features`, as float32 in memory of their own.

    Raises:
        InvalidInputError: it cannot be read, or a layer is missing or has another shape.
    """
    read = {".safetensors": _read_safetensors, ".pth": _read_pickled, ".pt": _read_pickled}.get(path.suffix)
    if read is None:
        raise InvalidInputError(f"{path}: VGG16's weights end in .safetensors, .pth or .pt")
    with _reading(path):
        found = read(path)
    tensors = {}
    for index, (channels, features) in _CONVOLUTIONS.items():
        for kind, shape in (("weight", (features, channels, 3, 3)), ("bias", (features,))):
            key = f"{index}.{kind}"
            tensors[key] = _checked(found.get(key), path=path, key=key, shape=shape)
    return tensors


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        names = {name.removeprefix("features."): name for name in file.keys()}  # noqa: SIM118 (it is no dict)
        return {key: file.get_tensor(name) for key, name in names.items() if _is_wanted(key)}


def _read_pickled(path: Path) -> dict[str, Any]:
    """Tensors only: nothing else in a pickle is ever loaded. Mapped where the format allows, so little is read."""
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    items = content.items() if isinstance(content, Mapping) else ()
    return {str(name).removeprefix("features."): value for name, value in items}


def _is_wanted(key: str) -> bool:
    index, _, kind = key.partition(".")
    return index.isdecimal() and int(index) in _CONVOLUTIONS and kind in ("weight", "bias")


def _checked(value: Any, *, path: Path, key: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of the file as float32, or why it is not VGG16's."""
    if not isinstance(value, Tensor):
        raise InvalidInputError(f"{path} does not hold VGG16's weights: features.{key} is missing")
    if tuple(value.shape) != shape:
        raise InvalidInputError(
            f"{path} does not hold VGG16's weights: features.{key} has the shape {tuple(value.shape)}, not {shape}"
        )
    tensor = value.to(torch.float32, copy=True)
    if not tensor.isfinite().all():
        raise InvalidInputError(f"{path}: features.{key} holds values that are not finite; take another file")
    return tensor


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file raises into a sentence."""
    try:
        yield
    except Exception as error:  # of files cut or changed at random, torch raises ten kinds, AssertionError among them
        raise InvalidInputError(
            f"{path} cannot be read: it is damaged, not readable, or holds more than tensors; get VGG16's weights anew"
        ) from error
