"""Weather: snow, frost, fog (Hendrycks and Dietterich 2019, section 3)."""

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.evaluation.corruptions.filters import centre_zoom, line_blur

_LUMINANCE = (0.299, 0.587, 0.114)  # of OpenCV's grey
_FROST_COLOUR = (0.86, 1.0, 1.06)  # the photographs' mean over their mean grey: bluish
_NEEDLES = 3  # directions


def snow(
    images: Tensor,
    seeds: Tensor,
    mean: float,
    deviation: float,
    size: float,
    threshold: float,
    radius: int,
    sigma: float,
    kept: float,
) -> Tensor:
    """Flakes driven by the wind, over an image made paler: ``kept`` of it stays, the rest becomes a light grey.

    Flakes are the peaks of normal noise, enlarged by ``size`` and drawn out between 45 and 135 degrees; the layer is
    laid on twice, the second time turned by 180 degrees.
    """
    height, width = images.shape[2:]
    layer = mean + deviation * randomness.normal(seeds, (1, height, width))
    layer = centre_zoom(layer, size)
    layer = torch.where(layer < threshold, 0, layer).clamp(0, 1)
    degrees = 90 * randomness.uniform(randomness.fold(seeds, 0), (1,))[:, 0] - 135
    layer = line_blur(layer, radius, sigma, degrees)
    red, green, blue = _LUMINANCE
    grey = red * images[:, :1] + green * images[:, 1:2] + blue * images[:, 2:]
    pale = kept * images + (1 - kept) * torch.maximum(images, 1.5 * grey + 0.5)
    return pale + layer + layer.rot90(2, (2, 3))


def fog(images: Tensor, seeds: Tensor, density: float, decay: float) -> Tensor:
    """Fog: a cloud of this density is added, and the sum scaled so that the largest value stays."""
    height, width = images.shape[2:]
    side = 1 << (max(height, width) - 1).bit_length()
    cloud = plasma(seeds, side, decay)[:, None, :height, :width]
    largest = images.amax((1, 2, 3), keepdim=True)
    return (images + density * cloud) * largest / (largest + density)


def frost(images: Tensor, seeds: Tensor, weight: float, frost_weight: float) -> Tensor:
    """Ice crystals on the lens: a weighted sum of the image and a picture of frost.

    Deviation: the authors cut the frost out of photographs, which have no free licence. Here it is drawn: crystals and
    veins along the contours of a fractal map, with about the photographs' mean, colour and contrast. Accuracies under
    this frost are not comparable with published ones.
    """
    return weight * images + frost_weight * frost_texture(seeds, images.shape[2], images.shape[3])


def frost_texture(seeds: Tensor, height: int, width: int) -> Tensor:
    """Drawn frost, (N, 3, H, W) in [0, 1], one for each seed: needles in three directions, more here, fewer there."""
    side = 1 << (max(height, width) - 1).bit_length()
    thickness = plasma(randomness.fold(seeds, 0), side, 1.7)[:, None, :height, :width]
    chosen = randomness.uniform(randomness.fold(seeds, 1), (1 + _NEEDLES,))
    length = 2 + min(height, width) // 20
    reach = 2 * length  # drawn with so wide a margin, where the edge's repetition would show
    needles = []
    for k in range(_NEEDLES):
        grains = randomness.normal(randomness.fold(seeds, 2 + k), (1, height + 2 * reach, width + 2 * reach))
        degrees = 360 * (k + chosen[:, 1 + k]) / _NEEDLES
        blurred = line_blur(grains, length, length / 2, degrees) * length**0.5
        needles.append(blurred[..., reach:-reach, reach:-reach])
    crystals = centre_zoom(torch.stack(needles).amax(0), max(1.0, min(height, width) / 112))
    brightness = 0.4 + 0.4 * chosen[:, 0, None, None, None]
    grey = brightness + 0.2 * (thickness - 0.5) + 0.15 * (0.2 + thickness) * (crystals - 1)
    colour = torch.tensor(_FROST_COLOUR, device=seeds.device)[:, None, None]
    return (colour * grey).clamp(0, 1)


def plasma(seeds: Tensor, side: int, decay: float) -> Tensor:
    """A fractal map in [0, 1] by the diamond-square algorithm (Fournier, Fussell and Carpenter 1982), wrapping around.

    Args:
        seeds: int64 (N,), one for each map.
        side: A power of two.
        decay: The random part's amplitude is divided by this at each finer step, before it is squared.

    Returns:
        (N, side, side); each map's smallest value is 0 and its largest 1.
    """
    heights = torch.zeros(len(seeds), side, side, device=seeds.device)
    step, amplitude, use = side, 100.0, 0

    def displaced(total: Tensor) -> Tensor:
        nonlocal use
        noise = 2 * randomness.uniform(randomness.fold(seeds, use), total.shape[1:]) - 1
        use += 1
        return total / 4 + amplitude**2 * noise  # squared, as in the authors' code

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = displaced(pairs + pairs.roll(-1, 2))
        centres = heights[:, half::step, half::step]
        heights[:, ::step, half::step] = displaced(centres + centres.roll(1, 1) + corners + corners.roll(-1, 2))
        heights[:, half::step, ::step] = displaced(centres + centres.roll(1, 2) + corners + corners.roll(-1, 1))
        step, amplitude = half, amplitude / decay
    low, high = (reduce((1, 2), keepdim=True) for reduce in (heights.amin, heights.amax))
    return (heights - low) / (high - low)
