"""Blur: defocus, frosted glass, motion, zoom (Hendrycks and Dietterich 2019, section 3)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustaug import randomness
from robustaug.evaluation.corruptions.filters import centre_zoom, gaussian_blur, line_blur
from robustaug.hardware import exact_float32


def defocus_blur(images: Tensor, _: Tensor, radius: float, softness: float) -> Tensor:
    """Out of focus: the mean over a disk with a softened rim; beyond the edge the image is mirrored."""
    kernel = _disk(radius, softness).to(images.device)
    reach = len(kernel) // 2
    rows, columns = (_mirrored(side, reach).to(images.device) for side in images.shape[2:])
    padded = images[:, :, rows[:, None], columns]
    filters = kernel.expand(3, 1, -1, -1)
    with exact_float32():  # one image at a time: a convolution's rounding may depend on the size of its batch
        return torch.stack([F.conv2d(image, filters, groups=3) for image in padded])


def glass_blur(images: Tensor, seeds: Tensor, sigma: float, reach: int, rounds: int) -> Tensor:
    """Frosted glass: a blur, pixels displaced by up to ``reach`` one after another, a blur.

    The displacement runs from the lower right to the upper left, and what a pixel takes may have been displaced before.
    The authors' code means to swap two pixels, but it assigns through NumPy views, which makes it a copy of the second
    into the first: CIFAR-10-C and ImageNet-C were made so, and this does the same. The chains of copies are followed by
    pointer jumping, all pixels of all images at once.
    """
    blurred = gaussian_blur(images, sigma, truncate=4, border="nearest")
    n, _, height, width = images.shape
    pixels = height * width
    place = torch.arange(pixels, device=images.device)
    y, x = place // width, place % width
    inner = (y > reach) & (y <= height - reach) & (x > reach) & (x <= width - reach)
    origin = place.expand(n, -1)
    for number in range(rounds):
        shift = (randomness.uniform(randomness.fold(seeds, number), (2, pixels)) * (2 * reach)).long() - reach
        taken = torch.where(inner, place + shift[:, 0] * width + shift[:, 1], place)
        # What was passed before has its new content: a pointer to its entry in the second half; the first half is
        # the old content. Outside the inner part both are the same.
        is_new = taken > place
        pointer = torch.cat([place.expand(n, -1), taken + is_new * pixels], 1)
        for _ in range(pixels.bit_length()):
            pointer = pointer.gather(1, pointer)
        origin = origin.gather(1, pointer[:, pixels:])
    displaced = blurred.flatten(2).gather(2, origin[:, None].expand(-1, images.shape[1], -1))
    return gaussian_blur(displaced.view_as(images), sigma, truncate=4, border="nearest")


def motion_blur(images: Tensor, seeds: Tensor, radius: int, sigma: float) -> Tensor:
    """The camera moves: a blur along a line within 45 degrees of the horizontal."""
    degrees = 90 * randomness.uniform(seeds, (1,))[:, 0] - 45
    return line_blur(images, radius, sigma, degrees)


def zoom_blur(images: Tensor, _: Tensor, stop: float, step: float) -> Tensor:
    """The camera rushes forward: the mean of the image and of its middle at ``numpy.arange(1, stop, step)``."""
    factors = np.arange(
        1, stop, step
    ).tolist()  # in NumPy's own arithmetic: rounding decides whether stop is among them
    total = images.clone()
    for factor in factors:
        total += centre_zoom(images, factor)
    return total / (len(factors) + 1)


def _disk(radius: float, softness: float) -> Tensor:
    """A disk's pixels blurred by a Gaussian of 3 px (5 px if the radius is above 8), cut to what is not zero."""
    edge = 8 if radius <= 8 else int(radius)
    offsets = torch.arange(-edge, edge + 1, dtype=torch.float64)
    disk = (offsets**2 + offsets[:, None] ** 2 <= radius**2).double()
    reach = 1 if radius <= 8 else 2
    rim = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / softness) ** 2)
    rim = torch.outer(rim, rim) / rim.sum() ** 2
    around = _mirrored(len(disk), reach)
    kernel = F.conv2d((disk / disk.sum())[None, around[:, None], around], rim[None, None])[0]
    margin = int((kernel.sum(0) > 0).nonzero()[0])
    return kernel[margin : len(kernel) - margin, margin : len(kernel) - margin].float()


def _mirrored(side: int, reach: int) -> Tensor:
    """Positions along an axis and ``reach`` beyond both its ends, where it is mirrored at the outer pixels' middles."""
    period = max(1, 2 * (side - 1))
    place = torch.arange(-reach, side + reach) % period
    return torch.minimum(place, period - place)
