"""What every architecture's config promises: a network, and the patch sizes it can take."""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from torch import nn

from mrisynth.config import Config


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("it must be odd, so that padding keeps the size")
    return kernel


Activation = Literal["relu", "leaky_relu", "elu"]
Width = Annotated[int, Field(ge=1, le=1024)]
Kernel = Annotated[int, Field(ge=1, le=31)]
OddKernel = Annotated[int, Field(ge=1, le=31, json_schema_extra={"not": {"multipleOf": 2}}), AfterValidator(_odd)]


class GeneratorConfig(Config):
    """The base of every generator's config; the class that derives from it adds `name` and its own settings."""

    name: str

    @abstractmethod
    def build(self) -> nn.Module:
        """The network, with fresh weights from torch's random state: (n, 1, height, width) to the same shape."""

    @property
    def multiple(self) -> int:
        """What the height and the width of the input must be a multiple of, in px."""
        return 1

    def check_size(self, size: int) -> None:
        """Refuse a patch size that the network cannot take.

        Args:
            size: height and width of the patches, in px.

        Raises:
            ValueError: one sentence that says what is wrong and what would be legal.
        """
        if size % self.multiple:
            raise ValueError(f"{self.name} takes multiples of {self.multiple} px only, not {size}")


class AdversaryConfig(Config):
    """The base of every adversary's config; the class that derives from it adds `name` and its own settings."""

    name: str
    # The paper speaks of conditional GANs, but its discriminators are drawn with one channel.
    conditional: bool = Field(False, description="Show the adversary the low-field patch too, as a first channel.")
    activation: Activation = Field("leaky_relu", description="After every convolution but the last.")

    @property
    def channels(self) -> int:
        """Channels of its input: the patch to judge, and before it the low-field patch where it sees both."""
        return 2 if self.conditional else 1

    @abstractmethod
    def build(self, size: int) -> nn.Module:
        """The discriminator, with fresh weights from torch's random state.

        Returns:
            A network (n, `channels`, size, size) to logits (n, ...).
        """

    @abstractmethod
    def check_size(self, size: int) -> None:
        """Refuse a patch size that the network cannot take; as `GeneratorConfig.check_size`."""


def activate(name: Activation) -> nn.Module:
    """A fresh activation; the leaky one has pix2pix's slope of 0.2."""
    return nn.LeakyReLU(0.2) if name == "leaky_relu" else nn.ReLU() if name == "relu" else nn.ELU()
