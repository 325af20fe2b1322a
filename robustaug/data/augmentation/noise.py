"""Noise, blur, and parts erased."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torchvision.transforms.v2 import functional

from robustaug.data.augmentation.position import Fill, ResizedCrop, box
from robustaug.data.augmentation.technique import Parameters, Range, Technique, as_column, spread
from robustaug.errors import RobustAugError
from robustaug.randomness import normal


class GaussianNoise(Technique):
    """Normal noise of every value, cut to [0, 1] (``v2.GaussianNoise``).

    Attributes:
        sigma: Standard deviation.
    """

    name: ClassVar[str] = "gaussian_noise"
    draws: ClassVar[int] = 1
    limits: ClassVar[dict[str, Range]] = {"sigma": (0, 1)}
    sigma: Range = (0.0, 0.1)

    def parameters(self, numbers: Tensor) -> Parameters:
        """``sigma``."""
        return {"sigma": spread(numbers[:, 0], self.sigma)}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:
        """The noise is each image's own, not of torch's global generator."""
        return (images + as_column(parameters["sigma"]) * normal(seeds, images.shape[1:])).clamp(0, 1)


class GaussianBlur(Technique):
    """Blurred by a Gaussian (``v2.GaussianBlur``); the border is mirrored.

    Attributes:
        sigma: Standard deviation in pixels.
        kernel_size: Pixels of the kernel's side, odd; of images with smaller sides, as many as these allow.
    """

    name: ClassVar[str] = "gaussian_blur"
    draws: ClassVar[int] = 1
    limits: ClassVar[dict[str, Range]] = {"sigma": (0.01, 100)}
    sigma: Range = (0.1, 1.5)
    kernel_size: Annotated[int, Field(ge=3)] = 5

    @field_validator("kernel_size")
    @classmethod
    def _check_kernel(cls, size: int) -> int:
        if size % 2 == 0:
            raise RobustAugError(f"kernel_size is {size}; it must be odd")
        return size

    def parameters(self, numbers: Tensor) -> Parameters:
        """``sigma``."""
        return {"sigma": spread(numbers[:, 0], self.sigma)}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """Along the rows, then along the columns: sums of the shifted images, each with its own weights."""
        half = min(self.kernel_size // 2, *(side - 1 for side in images.shape[2:]))
        places = torch.arange(-half, half + 1, device=images.device)
        weights = torch.softmax(-0.5 * (places / parameters["sigma"][:, None]) ** 2, dim=1)
        for dimension, size in ((3, images.shape[3]), (2, images.shape[2])):
            padding = [half, 0] if dimension == 3 else [0, half]
            padded = functional.pad(images, padding, padding_mode="reflect")
            images = torch.zeros_like(images)
            for place in range(2 * half + 1):
                images += as_column(weights[:, place]) * padded.narrow(dimension, place, size)
        return images.clamp(0, 1)


class Erasing(Technique):
    """A rectangle filled (``v2.RandomErasing``; Zhong et al. 2020).

    Deviation: torchvision draws up to ten times until the rectangle fits into the image; here a side that is too long
    is cut to the image's.

    Attributes:
        scale: Share of the image's area.
        ratio: Width over height, drawn on a logarithmic scale.
        value: 0 is black, 1 white.
    """

    name: ClassVar[str] = "erasing"
    draws: ClassVar[int] = 4
    limits: ClassVar[dict[str, Range]] = {"scale": (0, 1), "ratio": (0.1, 10)}
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    scale: Range = (0.02, 0.33)
    ratio: Range = (0.3, 3.3)
    value: Fill = 0.0

    def parameters(self, numbers: Tensor) -> Parameters:
        """As of a resized crop: ``area``, ``ratio``, ``top`` and ``left``."""
        return ResizedCrop(ratio=self.ratio).parameters(numbers) | {"area": spread(numbers[:, 0], self.scale)}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """Rows and columns inside at once."""
        top, left, height, width = box(parameters, *images.shape[2:])
        return torch.where(inside(images, top, left, top + height, left + width), self.value, images)


def inside(images: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """Which pixels lie in each image's box, bool (N, 1, H, W), from its edges, (N,) each, the last two outside."""
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    in_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    in_columns = (columns >= left[:, None]) & (columns < right[:, None])
    return in_rows[:, None, :, None] & in_columns[:, None, None, :]
