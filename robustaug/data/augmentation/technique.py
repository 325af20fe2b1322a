"""What every technique of classical augmentation is: named parameters, numbers drawn from them, images changed."""

from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.randomness import uniform

Range = tuple[float, float]
Parameters = dict[str, Tensor]


class Technique(BaseModel):
    """One technique and how often it is used.

    What is drawn does not depend on an image's size: positions and lengths are shares of it.

    Attributes:
        probability: That an image is changed at all, 0 to 1.

    Raises:
        RobustAugError: a range outside its limits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    draws: ClassVar[int] = 0  # uniform numbers that `parameters` takes for an image
    limits: ClassVar[dict[str, Range]] = {}  # least and greatest value of each range
    on_cpu: ClassVar[bool] = False  # whether it works image by image on the CPU, whatever the device
    mixes: ClassVar[bool] = False  # whether it mixes images and labels of a batch
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name, (least, most) in self.limits.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise RobustAugError(f"{name} = [{low:g}, {high:g}] is no range within [{least:g}, {most:g}]")
        return self

    def describe(self) -> dict[str, Any]:
        """Name and all parameters, as they stand in a recipe."""
        return {"name": self.name, **self.model_dump(mode="json")}

    def draw(self, seeds: Tensor) -> tuple[Tensor, Parameters]:
        """Which images are changed, bool (N,), and the parameters of every image, (N,) each.

        Args:
            seeds: int64 (N,): this technique's own seed of each image.
        """
        numbers = uniform(seeds, (1 + self.draws,))
        return numbers[:, 0] < self.probability, self.parameters(numbers[:, 1:])

    def parameters(self, numbers: Tensor) -> Parameters:  # noqa: ARG002 - some draw nothing
        """The parameters of each image by name, (N,) each, from uniform numbers in [0, 1), (N, ``draws``)."""
        return {}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:
        """The changed images.

        Args:
            images: float32 in [0, 1], (N, 3, H, W).
            parameters: (N,) each, on the images' device.
            seeds: as in ``draw``, on the images' device.
        """
        raise NotImplementedError


def spread(numbers: Tensor, bounds: Range) -> Tensor:
    """Uniform numbers in [0, 1) brought between two bounds."""
    return bounds[0] + (bounds[1] - bounds[0]) * numbers


def as_column(values: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1), to stand beside images."""
    return values[:, None, None, None]


def centres(count: int, device: torch.device) -> Tensor:
    """Where the pixels of a side lie, in pixels from its middle, float32 (count,)."""
    return torch.arange(count, device=device, dtype=torch.float32) - (count - 1) / 2
