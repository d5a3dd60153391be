"""Procedural anatomy: a block of tissue like an ex-vivo medial temporal lobe, different for every seed.

An elongated convoluted body with a cortical ribbon (and in it a dark stria one voxel wide), sulci, white matter, a
spiral of hippocampal layers in the upper half, a nucleus before it, a ventricle beside it, vessels, holes and cuts.
"""

from dataclasses import dataclass, fields
from typing import cast

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from mrisynth.data.phantom.acquisition import Array, Size, smooth_field

# What part of the grid's half the body fills, on (depth, height, width).
_EXTENT = (0.94, 0.90, 0.60)
# Phases of one turn of the hippocampal spiral, its grey matter there, and its dark lamina (SRLM) there.
_PHASE = (0.0, 0.06, 0.42, 0.48, 0.56, 0.62, 0.82, 0.90, 1.0)
_SPIRAL_GREY = (0.2, 0.95, 0.9, 0.35, 0.35, 1.15, 1.1, 0.45, 0.2)
_SPIRAL_DARK = (0.0, 0.0, 0.0, 0.9, 0.9, 0.0, 0.0, 0.15, 0.0)


@dataclass(frozen=True, slots=True)
class Contrast:
    """The brightness of each tissue at one field strength, 1 being full scale; stria and texture are added to it."""

    grey: float
    white: float
    nucleus: float
    vessel: float
    stria: float
    texture: float
    background: float = 0.012

    def jittered(self, rng: np.random.Generator, share: float = 0.06) -> "Contrast":
        """The same contrast with every value changed by at most `share` of itself: no two specimens are alike."""
        return Contrast(*(getattr(self, field.name) * (1 + rng.uniform(-share, share)) for field in fields(self)))


HIGH = Contrast(grey=0.78, white=0.40, nucleus=0.60, vessel=0.10, stria=-0.22, texture=0.045)
LOW = Contrast(grey=0.60, white=0.44, nucleus=0.47, vessel=0.20, stria=-0.09, texture=0.020)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What tissue lies where, before any scanner; all arrays (depth, height, width), float32.

    Args:
        tissue: share of the voxel that is tissue at all, 0 to 1.
        grey: 0 is white matter, 1 grey matter; layers go a little beyond.
        nucleus: share of nucleus, 0 to 1.
        vessel: share of vessel, 0 to 1.
        stria: strength of the thin dark layers, 0 to 1.
        texture: fine noise of deviation 1, the same at every field strength.
    """

    tissue: Array
    grey: Array
    nucleus: Array
    vessel: Array
    stria: Array
    texture: Array

    def render(self, contrast: Contrast) -> Array:
        """The noiseless image at one field strength, (depth, height, width), about 0 to 1."""
        image = contrast.white + (contrast.grey - contrast.white) * self.grey
        image += (contrast.nucleus - image) * self.nucleus
        image += contrast.stria * self.stria + contrast.texture * self.texture
        image += (contrast.vessel - image) * self.vessel
        image = contrast.background + (image - contrast.background) * self.tissue
        return cast(Array, np.maximum(image, 0).astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Frame:
    """Warped coordinates of a specimen: z, y, x are about -1 to 1 within it; `unit` is its half width in voxels."""

    size: Size
    unit: float
    half: tuple[float, float, float]
    z: Array
    y: Array
    x: Array


def grow(rng: np.random.Generator, size: Size) -> Anatomy:
    """A new specimen.

    Args:
        rng: random generator; the same state gives the same specimen.
        size: (depth, height, width) in voxels.
    """
    frame = _frame(rng, size)
    radius = _radius(rng, frame)
    depth = _distance(np.minimum((1 - radius) * frame.unit, _sulci(rng, frame, radius)) > 0)
    grey, stria = _cortex(rng, frame, depth)
    tissue = np.clip(np.minimum(depth, _knife(rng, frame)) + 0.5, 0, 1).astype(np.float32)
    nucleus = _nucleus(rng, frame)
    grey, stria, tissue = _hippocampus(rng, frame, grey=grey, stria=stria, tissue=tissue, nucleus=nucleus)
    return Anatomy(
        tissue=tissue * _holes(rng, frame),
        grey=grey + 0.06 * smooth_field(rng, size, 0.4 * frame.unit),
        nucleus=nucleus,
        vessel=_vessels(rng, frame),
        stria=stria,
        texture=0.8 * smooth_field(rng, size, 1.3) + 0.6 * smooth_field(rng, size, 3.5),
    )


def _frame(rng: np.random.Generator, size: Size) -> _Frame:
    """Coordinates bent like a banana and pushed about by smooth noise."""
    half = cast(tuple[float, float, float], tuple(0.5 * n * share for n, share in zip(size, _EXTENT, strict=True)))
    axes = np.ogrid[tuple(slice(0, n) for n in size)]
    z, y, x = (((axis - 0.5 * (n - 1)) / h).astype(np.float32) for axis, n, h in zip(axes, size, half, strict=True))
    unit = half[2]
    bend, lean = rng.choice([-1, 1]) * rng.uniform(0.2, 0.4), rng.uniform(-0.15, 0.15)
    x = x + bend * (y**2 - 0.3) + lean * z + 0.10 * smooth_field(rng, size, 0.8 * unit)
    y = y + 0.05 * smooth_field(rng, size, unit)
    return _Frame(size, unit, half, z=z, y=y, x=x)


def _radius(rng: np.random.Generator, frame: _Frame) -> Array:
    """How far out a voxel lies in its section: 0 on the axis, 1 on the surface."""
    girth = 1 - 0.15 * frame.z**2 + 0.1 * rng.uniform(-1, 1) * frame.z
    waist = 1 - 0.18 * np.exp(-(((frame.y - rng.uniform(-0.1, 0.15)) / 0.2) ** 2))
    radius = (np.abs(frame.x / waist) ** 2.4 + np.abs(frame.y) ** 3) ** np.float32(1 / 2.5) / girth
    rough = 0.07 * smooth_field(rng, frame.size, 0.42 * frame.unit)
    folds = 0.035 * smooth_field(rng, frame.size, (0.5 * frame.unit, 0.2 * frame.unit, 0.2 * frame.unit))
    return cast(Array, radius + rough + folds * _step(frame.y, -0.4, 0.1))


def _knife(rng: np.random.Generator, frame: _Frame) -> Array:
    """Depth in voxels below the two flat faces where the block was cut out; the cortex does not follow them."""
    tilt = rng.uniform(-0.06, 0.06, 4)
    front = 0.95 - frame.z + tilt[0] * frame.y + tilt[1] * frame.x
    back = 0.95 + frame.z + tilt[2] * frame.y + tilt[3] * frame.x
    return cast(Array, np.minimum(front, back) * frame.half[0])


def _sulci(rng: np.random.Generator, frame: _Frame, radius: Array) -> Array:
    """Distance from the nearest sulcus in voxels, negative in it: sheets where smooth noise vanishes, open outwards."""
    scale = 0.55 * frame.unit
    noise = np.abs(smooth_field(rng, frame.size, (3 * scale, scale, scale)))
    lower = _step(frame.y, -0.2, 0.2)
    width = 0.15 * _step(radius, 0.5, 1.1) * lower
    return cast(Array, (noise - width) * scale * 0.8 + 2 * (1 - np.minimum(1, 40 * width)))


def _distance(inside: NDArray[np.bool_]) -> Array:
    """Distance to the surface in voxels, positive inside, a little smoothed."""
    image = sitk.GetImageFromArray(inside.astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False)
    return cast(Array, ndimage.gaussian_filter(sitk.GetArrayFromImage(distance), 0.7))


def _cortex(rng: np.random.Generator, frame: _Frame, depth: Array) -> tuple[Array, Array]:
    """Grey matter and stria of a ribbon below the surface, thinner in the upper half."""
    thickness = 0.27 * frame.unit * (1 + 0.12 * smooth_field(rng, frame.size, 0.7 * frame.unit))
    thickness = np.maximum(thickness * (0.45 + 0.55 * _step(frame.y, -0.35, 0.1)), 2)
    share = depth / thickness
    grey = 1 - _step(share, 0.88, 1.12)
    grey = grey * (0.86 + 0.14 * _step(share, 0.0, 0.25))
    clear = np.clip(0.75 + 0.4 * smooth_field(rng, frame.size, 0.6 * frame.unit), 0, 1)
    stria = np.exp(-(((depth - 0.52 * thickness) / 0.6) ** 2)) * clear
    return grey, stria.astype(np.float32)


def _nucleus(rng: np.random.Generator, frame: _Frame) -> Array:
    """A grey body (like the amygdala) at the front end of the upper half, and a smaller one deep below."""
    upper = _ball(frame, (-0.78, -0.42 + rng.uniform(-0.05, 0.05), 0.05), (0.34, 0.26, 0.5))
    lower = _ball(
        frame, (rng.uniform(-0.4, 0.4), 0.3 + rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1)), (0.4, 0.1, 0.2)
    )
    return np.maximum(upper, lower)


def _hippocampus(
    rng: np.random.Generator, frame: _Frame, *, grey: Array, stria: Array, tissue: Array, nucleus: Array
) -> tuple[Array, Array, Array]:
    """Put a spiral of layers into the upper half, in a white sheath (the alveus), with a ventricle at its side."""
    sign, angle, tilt = rng.choice([-1, 1]), rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.5)
    down, across = (frame.y + 0.46 - 0.06 * frame.z) * frame.half[1], (frame.x - 0.04) * frame.unit * sign
    dy = (down * np.cos(tilt) - across * np.sin(tilt)) / rng.uniform(1.2, 1.4)
    dx = down * np.sin(tilt) + across * np.cos(tilt)
    reach = frame.unit * (0.66 - 0.12 * frame.z) * (1 + 0.05 * smooth_field(rng, frame.size, 0.6 * frame.unit))
    rho, theta = np.hypot(dy, dx), np.arctan2(dy, dx) + angle
    share = rho / reach
    turn = rng.uniform(1.2, 1.45) * share + theta / (2 * np.pi) + 0.25 * frame.z
    phase = np.mod(turn + 0.07 * smooth_field(rng, frame.size, 0.55 * frame.unit), 1).astype(np.float32)
    inside = (1 - _step(share, 0.92, 1.0)) * (1 - nucleus)
    sheath = _bump(share, 1.0, 0.09) * (1 - nucleus)
    spiral, dark = np.interp(phase, _PHASE, _SPIRAL_GREY), np.interp(phase, _PHASE, _SPIRAL_DARK)
    grey = (grey + (spiral - grey) * inside) * (1 - sheath)
    stria = (stria + (dark - stria) * inside) * (1 - sheath)
    side = np.mod(theta - rng.uniform(0.3, 0.9) + np.pi, 2 * np.pi) - np.pi
    horn = _bump(share, 1.16, 0.11) * (1 - _step(np.abs(side), 0.7, 1.1)) * _step(frame.z, -0.6, -0.3)
    tissue = tissue * (1 - np.clip(1.6 * horn - 0.3, 0, 1))
    return grey.astype(np.float32), stria.astype(np.float32), tissue.astype(np.float32)


def _vessels(rng: np.random.Generator, frame: _Frame) -> Array:
    """Thin tubes, where two smooth fields vanish together."""
    scale = 0.5 * frame.unit
    first, second = (smooth_field(rng, frame.size, scale) for _ in range(2))
    away = np.hypot(first, second) * scale
    return cast(Array, np.clip(1.9 - away, 0, 1).astype(np.float32))


def _holes(rng: np.random.Generator, frame: _Frame) -> Array:
    """What is left of the tissue (0 to 1) between a few bubbles and one cut of the knife."""
    left = np.ones(frame.size, np.float32)
    for _ in range(4):
        centre = (rng.uniform(-0.8, 0.8), rng.uniform(-0.1, 0.8), rng.uniform(-0.35, 0.35))
        radius = rng.uniform(0.05, 0.1) * frame.unit
        left *= 1 - _ball(frame, centre, cast(tuple[float, float, float], tuple(radius / half for half in frame.half)))
    y, z, side = rng.uniform(0.15, 0.6), rng.uniform(-0.5, 0.5), rng.choice([-1, 1])
    away = np.abs(frame.y - y - 0.25 * frame.x * side) * frame.half[1]
    long = _step(frame.x * side, 0.1, 0.3) * (1 - _step(np.abs(frame.z - z), 0.25, 0.3))
    return cast(Array, left * (1 - long * np.clip(1.4 - away, 0, 1)))


def _ball(frame: _Frame, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Array:
    """1 inside an ellipsoid given in the frame's coordinates, 0 outside, with an edge of about a voxel."""
    pairs = zip((frame.z, frame.y, frame.x), centre, radii, strict=True)
    distance = np.sqrt(sum(((axis - at) / radius) ** 2 for axis, at, radius in pairs))
    edge = 1 / max(2.0, radii[2] * frame.unit)
    return 1 - _step(distance, 1 - edge, 1 + edge)


def _step(values: Array, start: float, end: float) -> Array:
    """0 up to `start`, 1 from `end` on, smooth between (Hermite)."""
    t = np.clip((values - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _bump(values: Array, at: float, width: float) -> Array:
    """1 at `at`, falling to 0 within `width` on both sides."""
    return 1 - _step(np.abs(values - at), 0.5 * width, width)
