"""What several corruptions are made of: Gaussian and directed blur, zoom. Images (N, C, H, W), any device.

Sums run in one order whatever the batch, and matrix products in float64, so that a sample's result does not depend on
the samples beside it.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def along_both_axes(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``rows @ image @ columns.T`` of each channel, a linear map of each axis: float64 matrices (H', H) and (W', W)."""
    return (rows @ images.double() @ columns.T).float()


def gaussian_blur(images: Tensor, sigma: float, *, truncate: float, border: Literal["nearest", "reflect"]) -> Tensor:
    """Gaussian blur as ``scipy.ndimage.gaussian_filter`` defines it.

    Args:
        images: To blur.
        sigma: In pixels; may exceed the image.
        truncate: The kernel ends after so many sigmas.
        border: Beyond the edge the edge repeats (``nearest``), or the image mirrored at it (``reflect``).
    """
    reach = int(truncate * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    matrices = []
    for side in images.shape[2:]:
        source = torch.arange(side, device=images.device)[:, None] + offsets
        if border == "nearest":
            source = source.clamp(0, side - 1)
        else:
            source = torch.minimum(source % (2 * side), (-1 - source) % (2 * side))
        matrix = torch.zeros(side, side, device=images.device, dtype=torch.float64)
        matrices.append(matrix.scatter_add_(1, source, (kernel / kernel.sum()).expand(side, -1)))
    return along_both_axes(images, *matrices)


def line_blur(images: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    """One-sided Gaussian blur along a line, as ImageMagick's ``MotionBlurImage`` makes it; the edge repeats.

    Args:
        images: To blur.
        radius: The kernel has ``2 * radius + 1`` taps, one a pixel of the way.
        sigma: Of the kernel, in pixels.
        degrees: Each image's direction, clockwise from the right, shape (N,).
    """
    height, width = images.shape[2:]
    device = images.device
    step = torch.arange(2 * radius + 1, device=device, dtype=torch.float64)
    weights = torch.exp(-0.5 * (step / sigma) ** 2)
    angle = torch.deg2rad(degrees.double())[:, None]
    down = torch.ceil(step * angle.sin() - 0.5).long()
    right = torch.ceil(step * angle.cos() - 0.5).long()
    pixels, image = images.permute(0, 2, 3, 1).contiguous(), torch.arange(len(images), device=device)[:, None, None]
    blurred = torch.zeros_like(pixels)
    for tap, weight in enumerate((weights / weights.sum()).tolist()):
        y = (torch.arange(height, device=device) + down[:, tap, None]).clamp(0, height - 1)
        x = (torch.arange(width, device=device) + right[:, tap, None]).clamp(0, width - 1)
        blurred += weight * pixels[image, y[:, :, None], x[:, None, :]]
    return blurred.permute(0, 3, 1, 2).contiguous()


def centre_zoom(images: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of each image by a factor of at least 1, bilinearly; the size stays.

    The authors crop and trim both axes by the height, their images being square; here each axis has its own.
    """
    size = images.shape[2:]
    kept = [math.ceil(side / factor) for side in size]
    zoomed = F.interpolate(
        _middle(images, kept), [round(side * factor) for side in kept], mode="bilinear", align_corners=True
    )
    return _middle(zoomed, size)


def _middle(images: Tensor, size: list[int] | torch.Size) -> Tensor:
    top, left = ((whole - part) // 2 for whole, part in zip(images.shape[2:], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]
