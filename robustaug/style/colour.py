"""Style transfer that keeps the content's colours, in two ways.

Gatys, Bethge, Hertzmann and Shechtman, "Preserving Color in Neural Artistic Style Transfer", 2016. Section 4: transfer
the style between luminance channels, then put the content's own chroma back; YIQ is the NTSC space that the paper
names. Section 3: give the painting the content's colours, as statistics, and transfer the style of that painting.
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


def with_statistics_of(content: Tensor, painting: Tensor) -> Tensor:
    """A painting whose colours have the content's mean and covariance, section 3, equations 1 to 4 and 9 and 10.

    ``x' = A (x - mean of the painting) + mean of the content`` with ``A = S_C^(1/2) S_P^(-1/2)`` of the covariances'
    symmetric roots, the paper's image-analogies form, which it found better than Cholesky factors.

    Args:
        content: (1, 3, H, W) in [0, 1].
        painting: (1, 3, h, w) in [0, 1].

    Returns:
        (1, 3, h, w), clamped to [0, 1]: there alone the statistics may differ from the content's.
    """
    return recoloured(painting, *colour_statistics(content))


def recoloured(images: Tensor, mean: Tensor, covariance: Tensor, share: Tensor | float = 1.0) -> Tensor:
    """Images whose colours have another mean and covariance (the same equations), or a share of the way there.

    Args:
        images: (N, 3, H, W) in [0, 1].
        mean: (N or 1, 3, 1), float64, of the colours wanted.
        covariance: (N or 1, 3, 3), float64.
        share: 0 keeps the images, 1 gives them the statistics; a number, or (N, 1, 1).

    Returns:
        (N, 3, H, W), clamped to [0, 1]: there alone the statistics may differ from those wanted.
    """
    own_mean, own_covariance = colour_statistics(images)
    matrix = _symmetric_power(covariance, 0.5) @ _symmetric_power(own_covariance, -0.5)
    colours = images.double().flatten(2)
    moved = colours + share * (matrix @ (colours - own_mean) + mean - colours)
    return moved.view(images.shape).to(images.dtype).clamp(0, 1)


def colour_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (N, 3, 1) and covariance (N, 3, 3) of the colours of each of (N, 3, H, W), float64."""
    colours = images.double().flatten(2)
    mean = colours.mean(2, keepdim=True)
    return mean, (colours - mean) @ (colours - mean).mT / colours.shape[2]


def _symmetric_power(matrices: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrices)
    # A grey picture's colours have no variance: the floor, a tenth of an 8-bit level, keeps rounding errors small.
    powers: Tensor = (vectors * values.clamp_min((0.1 / 255) ** 2).pow(power)[:, None]) @ vectors.mT
    return powers


def _mix(images: Tensor, matrix: Tensor) -> Tensor:
    # Written as multiplications and additions of whole planes: a matrix product may round differently by batch size.
    m = matrix.to(images.dtype).tolist()
    red, green, blue = images.unbind(1)
    return torch.stack([red * row[0] + green * row[1] + blue * row[2] for row in m], 1)
