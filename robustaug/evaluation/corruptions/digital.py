"""Digital: brightness, contrast, elastic deformation, pixels, JPEG (Hendrycks and Dietterich 2019, section 3)."""

from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from robustaug import randomness
from robustaug.evaluation.corruptions.filters import along_both_axes, gaussian_blur


def brightness(images: Tensor, _: Tensor, added: float) -> Tensor:
    """More daylight: the value of HSV, which is the largest channel, grows; hue and saturation stay.

    At a fixed hue and saturation the channels are in proportion to the value; black becomes grey.
    """
    value = images.amax(1, keepdim=True)
    brighter = (value + added).clamp_max(1)
    return torch.where(value > 0, images * (brighter / value), brighter)


def contrast(images: Tensor, _: Tensor, left: float) -> Tensor:
    """Less contrast: each channel draws nearer to its mean over the image."""
    mean = images.double().mean((2, 3), keepdim=True).float()
    return (images - mean) * left + mean


def elastic_transform(images: Tensor, seeds: Tensor, alpha: float, sigma: float, jitter: float) -> Tensor:
    """Stretched: a random affine map, then a displacement of each pixel, smooth from one to the next.

    Three points a third of the side from the middle are moved by up to ``jitter`` in each direction. The displacement
    is uniform noise in [-1, 1], blurred by ``sigma`` and multiplied by ``alpha``. All three are shares of the side (of
    the shorter one), as in the authors' scripts. Both maps interpolate bilinearly and mirror at the edges, the first at
    the outer pixels' middles, the second at their outer rims.

    Deviation: OpenCV before version 5, which the authors used, rounds positions of the affine map to 1/32 px; this does
    not.
    """
    height, width = images.shape[2:]
    side = min(height, width)
    middle = torch.tensor([width // 2, height // 2], device=images.device, dtype=torch.float64)
    corners = torch.tensor([[1, 1], [1, -1], [-1, -1]], device=images.device, dtype=torch.float64) * (side // 3)
    moved = middle + corners + side * jitter * (2 * randomness.uniform(seeds, (3, 2)).double() - 1)
    # Where each pixel comes from: the affine map that takes the moved points back.
    back = torch.linalg.inv(moved[:, 1:] - moved[:, :1]) @ (corners[1:] - corners[:1])
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device), torch.arange(width, device=images.device), indexing="ij"
    )
    grid = torch.stack([x, y], -1)
    position = ((grid - moved[:, None, None, 0])[..., None, :] @ back[:, None, None])[..., 0, :] + middle + corners[0]
    images = _sample(images, position, align_corners=True)
    if alpha == 0:
        return images
    noise = 2 * randomness.uniform(randomness.fold(seeds, 0), (2, height, width)) - 1
    shift = side * alpha * gaussian_blur(noise, side * sigma, truncate=3, border="reflect")
    return _sample(images, grid + shift.permute(0, 2, 3, 1), align_corners=False)


def pixelate(images: Tensor, _: Tensor, share: float) -> Tensor:
    """Low resolution: box-filtered down to this share of the side and back up."""
    matrices = []
    for side in images.shape[2:]:
        coarse = int(side * share)
        matrices.append((_box(coarse, side) @ _box(side, coarse)).to(images.device))
    return along_both_axes(images, *matrices)


def jpeg_compression(images: Tensor, _: Tensor, quality: int) -> Tensor:
    """A JPEG of this quality, with colour at half the resolution; images pass through 8 bits and the CPU."""
    decoded = []
    for pixels in (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy():
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(buffer)))
    return torch.from_numpy(np.stack(decoded)).to(images.device).permute(0, 3, 1, 2).float() / 255


def _sample(images: Tensor, position: Tensor, *, align_corners: bool) -> Tensor:
    """Bilinear values at positions (x, y) in pixels, (N, H, W, 2), mirrored at the edges."""
    size = torch.tensor([images.shape[3], images.shape[2]], device=images.device)
    scaled = 2 * position / (size - 1) - 1 if align_corners else (2 * position + 1) / size - 1
    return F.grid_sample(images, scaled.float(), padding_mode="reflection", align_corners=align_corners)


def _box(source: int, target: int) -> Tensor:
    """Resampling of one axis with a box filter as Pillow defines it, float64 (target, source)."""
    scale = source / target
    width = max(scale, 1)
    centre = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    place = torch.arange(source, dtype=torch.float64)
    # In Pillow's own arithmetic: where a pixel lies on the rim, rounding decides whether it counts.
    distance = (place - centre + 0.5) * (1 / width)
    is_near = (place >= (centre - 0.5 * width + 0.5).floor()) & (place < (centre + 0.5 * width + 0.5).floor())
    weights = (is_near & (distance > -0.5) & (distance <= 0.5)).double()
    return weights / weights.sum(1, keepdim=True)
