"""The 15 corruptions and their published parameters.

The numbers are those of the authors' scripts (github.com/hendrycks/robustness, ``create_c/make_cifar_c.py`` for
CIFAR-10-C and ``create_c/make_imagenet_c.py`` for ImageNet-C), in the order of their severities 1 to 5. Lengths are in
pixels of the image as it is; those of ``elastic_transform`` are shares of its side.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from robustaug.evaluation.corruptions import blur, digital, noise, weather

SEVERITIES = (1, 2, 3, 4, 5)

Levels = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Attributes:
        apply: ``apply(images, seeds, *parameters) -> images``; values may leave [0, 1], ``corrupt`` clips them.
        cifar: the parameters at each severity for images like CIFAR's, 32 px.
        imagenet: the same for images like ImageNet's, 224 px.
    """

    apply: Callable[..., Tensor]
    cifar: Levels
    imagenet: Levels


def _single(*values: float) -> Levels:
    return tuple((value,) for value in values)


# ImageNet-C's elastic transform was made with lengths of 244 px where 224 was meant, as the authors note.
_SLIP = 244 / 224

CORRUPTIONS = {
    "gaussian_noise": Corruption(
        noise.gaussian_noise,  # standard deviation
        cifar=_single(0.04, 0.06, 0.08, 0.09, 0.10),
        imagenet=_single(0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot_noise": Corruption(
        noise.shot_noise,  # photons of a white pixel
        cifar=_single(500, 250, 100, 75, 50),
        imagenet=_single(60, 25, 12, 5, 3),
    ),
    "impulse_noise": Corruption(
        noise.impulse_noise,  # share of values
        cifar=_single(0.01, 0.02, 0.03, 0.05, 0.07),
        imagenet=_single(0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "defocus_blur": Corruption(
        blur.defocus_blur,  # radius of the disk, softness of its rim
        cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": Corruption(
        blur.glass_blur,  # sigma of the blur, reach of a displacement, rounds
        cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": Corruption(
        blur.motion_blur,  # radius, sigma
        cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": Corruption(
        blur.zoom_blur,  # where the factors stop, and their step, as in numpy.arange(1, stop, step)
        cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "snow": Corruption(
        weather.snow,  # mean and deviation of the flakes, their size, threshold, motion's radius and sigma, kept share
        cifar=(
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        imagenet=(
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": Corruption(
        weather.frost,  # weight of the image, weight of the frost
        cifar=((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        imagenet=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    "fog": Corruption(
        weather.fog,  # density, how fast its detail fades
        cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": Corruption(
        digital.brightness,  # added to the value of HSV
        cifar=_single(0.05, 0.1, 0.15, 0.2, 0.3),
        imagenet=_single(0.1, 0.2, 0.3, 0.4, 0.5),
    ),
    "contrast": Corruption(
        digital.contrast,  # what is left of it
        cifar=_single(0.75, 0.5, 0.4, 0.3, 0.15),
        imagenet=_single(0.4, 0.3, 0.2, 0.1, 0.05),
    ),
    "elastic_transform": Corruption(
        digital.elastic_transform,  # displacement, its smoothness, jitter of the affine map
        cifar=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        imagenet=(
            (2 * _SLIP, 0.7 * _SLIP, 0.1 * _SLIP),
            (2 * _SLIP, 0.08 * _SLIP, 0.2 * _SLIP),
            (0.05 * _SLIP, 0.01 * _SLIP, 0.02 * _SLIP),
            (0.07 * _SLIP, 0.01 * _SLIP, 0.02 * _SLIP),
            (0.12 * _SLIP, 0.01 * _SLIP, 0.02 * _SLIP),
        ),
    ),
    "pixelate": Corruption(
        digital.pixelate,  # side of the coarse image
        cifar=_single(0.95, 0.9, 0.85, 0.75, 0.65),
        imagenet=_single(0.6, 0.5, 0.4, 0.3, 0.25),
    ),
    "jpeg_compression": Corruption(
        digital.jpeg_compression,  # quality
        cifar=_single(80, 65, 58, 50, 40),
        imagenet=_single(25, 18, 15, 10, 7),
    ),
}
