"""Luminance and chroma, for style transfer that keeps the content's colours.

Gatys, Bethge, Hertzmann and Shechtman, "Preserving Color in Neural Artistic Style Transfer", 2016, section 4:
transfer the style between luminance channels, then put the content's own chroma back. YIQ is the NTSC space that the
paper names.
"""

import torch
from torch import Tensor

_RGB_TO_YIQ = torch.tensor(
    [
        [0.299, 0.587, 0.114],
        [0.595716, -0.274453, -0.321263],
        [0.211456, -0.522591, 0.311135],
    ],
    dtype=torch.float64,
)
_YIQ_TO_RGB = torch.linalg.inv(_RGB_TO_YIQ)


def rgb_to_yiq(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [0, 1] to luminance Y in [0, 1] and chroma I, Q (about -0.6 to 0.6)."""
    return _mix(images, _RGB_TO_YIQ)


def yiq_to_rgb(images: Tensor) -> Tensor:
    """The inverse of :func:`rgb_to_yiq`; not clamped."""
    return _mix(images, _YIQ_TO_RGB)


def to_grey(images: Tensor) -> Tensor:
    """Luminance in all three channels, (N, 3, H, W)."""
    return rgb_to_yiq(images)[:, :1].expand_as(images).clamp(0, 1)


def with_colours_of(content: Tensor, stylised: Tensor) -> Tensor:
    """Luminance of ``stylised``, chroma of ``content``, as RGB clamped to [0, 1]; both (N, 3, H, W).

    Deviation: the paper may first match the painting's luminance histogram to the content's ("it can be helpful");
    this is left out, so that a painting's style targets do not depend on the content and can be kept.
    """
    yiq = rgb_to_yiq(content)
    return yiq_to_rgb(torch.cat([rgb_to_yiq(stylised)[:, :1], yiq[:, 1:]], 1)).clamp(0, 1)


def _mix(images: Tensor, matrix: Tensor) -> Tensor:
    # Written as multiplications and additions of whole planes: a matrix product may round differently by batch size.
    m = matrix.to(images.dtype).tolist()
    red, green, blue = images.unbind(1)
    return torch.stack([red * row[0] + green * row[1] + blue * row[2] for row in m], 1)
