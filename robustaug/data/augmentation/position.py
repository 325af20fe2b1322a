"""Position: crops, mirrors, rotations, affine maps, coarser pixels.

torchvision draws one set of parameters for a whole batch. Here each image has its own, and the batch is worked on at
once: the results are those of torchvision's functional on each image with the drawn parameters, which a test holds.
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms.v2 import functional

from robustaug.data.augmentation.technique import Parameters, Range, Technique, centres, spread

Fill = Annotated[float, Field(ge=0, le=1)]
Padding = Literal["constant", "edge", "reflect", "symmetric"]


class Crop(Technique):
    """A window of the image's own size, at a random place of the image padded by ``padding`` pixels on each side.

    ``v2.RandomCrop``. Parameters drawn: ``top`` and ``left``, the window's corner in pixels of the padded image.

    Attributes:
        padding: Pixels.
        mode: What the padding is: ``constant`` (``fill``), ``edge``, ``reflect`` or ``symmetric``.
        fill: 0 is black, 1 white.
    """

    name: ClassVar[str] = "crop"
    draws: ClassVar[int] = 2
    padding: Annotated[int, Field(ge=1)] = 4
    mode: Padding = "constant"
    fill: Fill = 0.0

    def parameters(self, numbers: Tensor) -> Parameters:
        """Each of the places alike."""
        top, left = (numbers * (2 * self.padding + 1)).long().unbind(1)
        return {"top": top, "left": left}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """Windows are gathered from the padded batch."""
        n, channels, height, width = images.shape
        padded: Tensor = functional.pad(images, [self.padding], fill=self.fill, padding_mode=self.mode)
        rows = parameters["top"][:, None] + torch.arange(height, device=images.device)
        columns = parameters["left"][:, None] + torch.arange(width, device=images.device)
        places = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
        found = padded.flatten(2).gather(2, places.view(n, 1, -1).expand(-1, channels, -1))
        return found.view_as(images)


class ResizedCrop(Technique):
    """A random part of the image, brought back to the image's size.

    ``v2.RandomResizedCrop``. Deviation: torchvision draws up to ten times until the part fits into the image; here a
    side that is too long is cut to the image's.

    Attributes:
        scale: Share of the image's area.
        ratio: Width over height of the part, drawn on a logarithmic scale.
    """

    name: ClassVar[str] = "resized_crop"
    draws: ClassVar[int] = 4
    limits: ClassVar[dict[str, Range]] = {"scale": (0.01, 1), "ratio": (0.1, 10)}
    scale: Range = (0.5, 1.0)
    ratio: Range = (3 / 4, 4 / 3)

    def parameters(self, numbers: Tensor) -> Parameters:
        """``area`` and ``ratio``; ``top`` and ``left`` are shares of the room that the part has."""
        low, high = self.ratio
        ratio = torch.exp(spread(numbers[:, 1], (math.log(low), math.log(high))))
        return {"area": spread(numbers[:, 0], self.scale), "ratio": ratio, "top": numbers[:, 2], "left": numbers[:, 3]}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """Bilinear, as torchvision; the part is never larger than the result, so that antialiasing changes nothing."""
        top, left, height, width = box(parameters, *images.shape[2:])
        places = []
        for begin, side, count in ((left, width, images.shape[3]), (top, height, images.shape[2])):
            steps = torch.arange(count, device=images.device) + 0.5
            inside = (steps * (side / count)[:, None] - 0.5).clamp(min=0)
            inside = torch.minimum(inside, (side - 1)[:, None])
            places.append(begin[:, None] + inside - (count - 1) / 2)
        x, y = places
        x, y = x[:, None, :].expand_as(images[:, 0]), y[:, :, None].expand_as(images[:, 0])
        return _looked_up(images, x, y).clamp(0, 1)


def box(parameters: Parameters, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width in whole pixels, (N,) each, of a part with ``area``, ``ratio``, ``top``, ``left``."""
    area = parameters["area"] * (height * width)
    wide = (area * parameters["ratio"]).sqrt().round().clamp(1, width)
    high = (area / parameters["ratio"]).sqrt().round().clamp(1, height)
    top = (parameters["top"] * (height - high + 1)).floor()
    left = (parameters["left"] * (width - wide + 1)).floor()
    return top, left, high, wide


class HorizontalFlip(Technique):
    """Left becomes right (``v2.RandomHorizontalFlip``)."""

    name: ClassVar[str] = "horizontal_flip"
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """All of them."""
        flipped: Tensor = functional.horizontal_flip(images)
        return flipped


class VerticalFlip(Technique):
    """Top becomes bottom (``v2.RandomVerticalFlip``)."""

    name: ClassVar[str] = "vertical_flip"
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """All of them."""
        flipped: Tensor = functional.vertical_flip(images)
        return flipped


class Rotation(Technique):
    """Turned around its middle, bilinear (``v2.RandomRotation``).

    Attributes:
        degrees: Counter-clockwise.
        fill: Of the corners; 0 is black, 1 white.
    """

    name: ClassVar[str] = "rotation"
    draws: ClassVar[int] = 1
    limits: ClassVar[dict[str, Range]] = {"degrees": (-180, 180)}
    degrees: Range = (-15.0, 15.0)
    fill: Fill = 0.0

    def parameters(self, numbers: Tensor) -> Parameters:
        """``degrees``."""
        return {"degrees": spread(numbers[:, 0], self.degrees)}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """An affine map with nothing but a rotation."""
        none = torch.zeros_like(parameters["degrees"])
        return _mapped(images, self.fill, -parameters["degrees"], none, none, none + 1, none, none)


class Affine(Technique):
    """Turned, moved, scaled and sheared, bilinear (``v2.RandomAffine``).

    Deviation: the move is not rounded to whole pixels, so that it is the same share of any image.

    Attributes:
        degrees: Clockwise.
        translate: Greatest move as a share of the width, and of the height.
        scale: 1 keeps the size.
        shear: Degrees, along x and along y.
        fill: Of what comes in from outside; 0 is black, 1 white.
    """

    name: ClassVar[str] = "affine"
    draws: ClassVar[int] = 6
    limits: ClassVar[dict[str, Range]] = {"degrees": (-180, 180), "scale": (0.1, 10), "shear": (-80, 80)}
    degrees: Range = (-10.0, 10.0)
    translate: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = (0.1, 0.1)
    scale: Range = (0.9, 1.1)
    shear: Range = (-5.0, 5.0)
    fill: Fill = 0.0

    def parameters(self, numbers: Tensor) -> Parameters:
        """``degrees``, ``translate_x`` and ``translate_y`` in shares, ``scale``, ``shear_x``, ``shear_y``."""
        across, down = self.translate
        return {
            "degrees": spread(numbers[:, 0], self.degrees),
            "translate_x": spread(numbers[:, 1], (-across, across)),
            "translate_y": spread(numbers[:, 2], (-down, down)),
            "scale": spread(numbers[:, 3], self.scale),
            "shear_x": spread(numbers[:, 4], self.shear),
            "shear_y": spread(numbers[:, 5], self.shear),
        }

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """Each pixel of the result is looked up where the inverse map puts it."""
        return _mapped(images, self.fill, *parameters.values())


class Resize(Technique):
    """Shrunk to a share of its sides and brought back: coarser pixels, as of a camera further away (``v2.Resize``).

    Attributes:
        scale: Share of the sides.
    """

    name: ClassVar[str] = "resize"
    draws: ClassVar[int] = 1
    limits: ClassVar[dict[str, Range]] = {"scale": (0.01, 1)}
    scale: Range = (0.5, 1.0)

    def parameters(self, numbers: Tensor) -> Parameters:
        """``scale``."""
        return {"scale": spread(numbers[:, 0], self.scale)}

    def apply(self, images: Tensor, parameters: Parameters, seeds: Tensor) -> Tensor:  # noqa: ARG002
        """Images that come to one size go together."""
        height, width = images.shape[2:]
        result = images.clone()
        sides = torch.stack([(parameters["scale"] * side).round().clamp(min=1) for side in (height, width)], dim=1)
        for size in {(int(high), int(wide)) for high, wide in sides.tolist()}:
            rows = (sides == torch.tensor(size, device=sides.device)).all(1).nonzero().squeeze(1)
            small = functional.resize(images[rows], list(size), antialias=True)
            result[rows] = functional.resize(small, [height, width], antialias=True).clamp(0, 1)
        return result


def _mapped(
    images: Tensor, fill: float, degrees: Tensor, x: Tensor, y: Tensor, scale: Tensor, shear_x: Tensor, shear_y: Tensor
) -> Tensor:
    """``functional.affine`` with parameters for each image: moves in shares of the sides, angles in degrees."""
    angle, skew_x, skew_y = (torch.deg2rad(each)[:, None, None] for each in (degrees, shear_x, shear_y))
    # torchvision's map: rotation by the angle, then shears along y and x, then scale; inverted, its determinant is 1.
    a = torch.cos(angle - skew_y) / torch.cos(skew_y)
    b = -(a * torch.tan(skew_x) + torch.sin(angle))
    c = torch.sin(angle - skew_y) / torch.cos(skew_y)
    d = torch.cos(angle) - c * torch.tan(skew_x)
    height, width = images.shape[2:]
    right = centres(width, images.device) - (x * width)[:, None, None]
    down = centres(height, images.device)[:, None] - (y * height)[:, None, None]
    size = scale[:, None, None]
    # A fourth channel says which share of each value comes from inside; torchvision fills with it in the same way.
    marked = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)
    found = _looked_up(marked, (d * right - b * down) / size, (a * down - c * right) / size)
    return ((found[:, :3] - fill) * found[:, 3:] + fill).clamp(0, 1)


def _looked_up(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear values at places in pixels from the middle, (N, H, W) each; 0 outside."""
    grid = torch.stack([x * (2 / images.shape[3]), y * (2 / images.shape[2])], dim=3)
    return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
