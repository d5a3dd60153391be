"""What every architecture's config promises: a network, and the patch sizes it can take."""

from abc import abstractmethod
from typing import Annotated

from pydantic import AfterValidator, Field
from torch import nn

from mrisynth.config import Config


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("it must be odd, so that padding keeps the size")
    return kernel


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

    @abstractmethod
    def build(self, size: int) -> nn.Module:
        """The discriminator, with fresh weights from torch's random state: (n, 1, size, size) to logits (n, ...)."""

    @abstractmethod
    def check_size(self, size: int) -> None:
        """Refuse a patch size that the network cannot take; as `GeneratorConfig.check_size`."""
