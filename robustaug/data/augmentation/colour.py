"""Colour: brightness, contrast, saturation and hue, each image with its own factor.

At the factor 0 torchvision gives the image that has lost the quality altogether: black, its mean grey, or grey. Its
result at any other factor lies on the line through that and the image, so that one call serves a whole batch.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from robustaug.data.augmentation.technique import Parameters, Range, Technique, as_column, spread

_FACTORS = (0.0, 10.0)


class _Adjustment(Technique):
    draws: ClassVar[int] = 1
    limits: ClassVar[dict[str, Range]] = {"factor": _FACTORS}
    factor: Range = (0.7, 1.3)

    def parameters(self, numbers: Tensor) -> Parameters:
        """``factor``."""
        return {"factor": spread(numbers[:, 0], self.factor)}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """The image, and what torchvision makes of it at the factor 0, in shares."""
        factor = as_column(parameters["factor"])
        return (images * factor + self.lost(images) * (1 - factor)).clamp(0, 1)

    def lost(self, images: Tensor) -> Tensor:
        """The images at the factor 0."""
        raise NotImplementedError


class Brightness(_Adjustment):
    """All values times a factor (``functional.adjust_brightness``).

    Attributes:
        factor: 0 is black, 1 the image itself.
    """

    name: ClassVar[str] = "brightness"

    def lost(self, images: Tensor) -> Tensor:
        """Black."""
        return torch.zeros_like(images[:1])


class Contrast(_Adjustment):
    """Distances from the image's mean grey times a factor (``functional.adjust_contrast``).

    Attributes:
        factor: 0 is grey all over, 1 the image itself.
    """

    name: ClassVar[str] = "contrast"

    def lost(self, images: Tensor) -> Tensor:
        """The mean grey of each image."""
        grey: Tensor = functional.adjust_contrast(images, 0.0)
        return grey


class Saturation(_Adjustment):
    """Distances from each pixel's grey times a factor (``functional.adjust_saturation``).

    Attributes:
        factor: 0 is a grey image, 1 the image itself.
    """

    name: ClassVar[str] = "saturation"

    def lost(self, images: Tensor) -> Tensor:
        """Grey images."""
        grey: Tensor = functional.adjust_saturation(images, 0.0)
        return grey


class Hue(Technique):
    """Colours turned around the colour wheel (``functional.adjust_hue``).

    Attributes:
        shift: Shares of a whole turn, -0.5 to 0.5.
    """

    name: ClassVar[str] = "hue"
    draws: ClassVar[int] = 1
    limits: ClassVar[dict[str, Range]] = {"shift": (-0.5, 0.5)}
    shift: Range = (-0.05, 0.05)

    def parameters(self, numbers: Tensor) -> Parameters:
        """``shift``."""
        return {"shift": spread(numbers[:, 0], self.shift)}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """From RGB to hue, value and chroma, and back; torchvision's takes one shift for a batch, and is slower."""
        red, green, blue = images.unbind(1)
        low, value = images.aminmax(dim=1)
        chroma = value - low
        divisor = torch.where(chroma > 0, chroma, 1)
        sixths = torch.where(
            value == red,
            (green - blue) / divisor,
            torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
        )
        sixths = sixths + parameters["shift"][:, None, None] * 6
        place = (sixths[:, None] + torch.tensor([5.0, 3.0, 1.0], device=images.device)[:, None, None]).remainder(6)
        share = torch.minimum(place, 4 - place).clamp(0, 1)
        return value[:, None] - chroma[:, None] * share
