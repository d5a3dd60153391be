"""The methods of registration and their settings, as a preparation.yaml names them."""

from typing import Annotated, Literal

from pydantic import Field

from mrisynth.config import Config


class _Settings(Config):
    """What every method has in common."""

    interpolation: Literal["linear", "cubic"] = Field("linear", description="how the low scan is read between voxels")


class AffineConfig(_Settings):
    """Rotation, shift, scaling and shear by Mattes mutual information."""

    method: Literal["affine"] = Field("affine", description="an affine transform alone")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the voxels that the metric is computed on")
    samples: float = Field(0.02, gt=0, le=1, description="part of the voxels that the metric is computed on")
    levels: int = Field(3, ge=1, le=6, description="resolutions of the affine stage, each twice the one before")
    affine_iterations: int = Field(200, ge=1, description="most steps of the affine stage at each resolution")


class DeformableConfig(AffineConfig):
    """What every method has in common that deforms after the affine transform."""

    on_worse: Literal["report", "affine"] = Field(
        "report",
        description="where the deformation folds tissue or correlates less than the affine transform alone: flag it, "
        "or use the affine transform",
    )


class CorrelationConfig(DeformableConfig):
    """The affine transform, then a smooth deformation by local cross-correlation (the metric of SyN, Avants 2008).

    Displacements on B-spline knots, held back by their bending; of all that was measured against phantoms' truth it is
    the most exact (docs/log.md).
    """

    method: Literal["correlation"] = Field("correlation", description="affine, then local cross-correlation")  # type: ignore[assignment]
    radius: int = Field(2, ge=1, le=8, description="radius of the cross-correlation's window, in voxels of the level")
    knots: float = Field(20.0, ge=4, le=200, description="distance of the deformation's knots, in high-field voxels")
    bending: float = Field(3e-4, ge=0, le=10, description="weight of the deformation's bending")
    coarse_iterations: int = Field(40, ge=0, description="steps at a quarter of the resolution; 0 leaves it out")
    iterations: int = Field(40, ge=1, description="steps at half the resolution")


FAST = {"method": "correlation", "coarse_iterations": 25, "iterations": 10}
"""What `method: fast` stands for: a third less time, and 0.01 to 0.02 mm more error (docs/log.md)."""


class BsplineConfig(DeformableConfig):
    """The affine transform, then a B-spline deformation by Mattes mutual information, up to full resolution.

    Stopped after a few steps at each mesh: more of them raise the mutual information and lead away from the truth.
    """

    method: Literal["bspline"] = Field("bspline", description="affine, then B-spline")  # type: ignore[assignment]
    mesh: int = Field(
        4, ge=1, le=64, description="cells of the first mesh along the longest axis; the second has twice"
    )
    iterations: int = Field(3, ge=1, description="most steps of LBFGS2 at each mesh")


class DemonsConfig(DeformableConfig):
    """The affine transform, then histogram-matched diffeomorphic demons."""

    method: Literal["demons"] = Field("demons", description="affine, then demons")  # type: ignore[assignment]
    iterations: int = Field(60, ge=1, description="most steps at each of the two resolutions (a quarter, a half)")
    smoothing: float = Field(3.0, gt=0, le=20, description="deviation of the field's smoothing, in voxels of the level")


class GreedyConfig(DeformableConfig):
    """The affine transform, then greedy, a program that the user installs: `pip install picsl_greedy`."""

    method: Literal["greedy"] = Field("greedy", description="affine, then greedy, if it is installed")  # type: ignore[assignment]
    iterations: tuple[int, ...] = Field(
        (100, 60, 10), min_length=1, max_length=5, description="steps at each resolution, from coarse to full"
    )
    radius: int = Field(2, ge=1, le=8, description="radius of the cross-correlation's window, in voxels of the level")
    update_sigma: float = Field(4.0, gt=0, le=20, description="smoothing of each step's field, in voxels of the level")
    total_sigma: float = Field(2.0, ge=0, le=20, description="smoothing of the whole field, in voxels of the level")


class GivenConfig(_Settings):
    """The transform of every subject is given in the pairs file."""

    method: Literal["given"] = Field("given", description="a transform file for every subject")


RegistrationConfig = Annotated[
    AffineConfig | CorrelationConfig | BsplineConfig | DemonsConfig | GreedyConfig | GivenConfig,
    Field(discriminator="method"),
]
