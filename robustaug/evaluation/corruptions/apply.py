"""Corrupt a batch of images."""

import difflib
import math
from typing import Literal

import torch
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.evaluation.corruptions.table import CORRUPTIONS, SEVERITIES

Parameters = Literal["auto", "cifar", "imagenet"]

SMALLEST_SIDE = 8
_BETWEEN = math.sqrt(32 * 224)  # 84.7 px


def corrupt(images: Tensor, name: str, severity: int, seeds: Tensor, *, parameters: Parameters = "auto") -> Tensor:
    """Corrupt images as in CIFAR-10-C and ImageNet-C (Hendrycks and Dietterich 2019).

    Deviations: ``frost`` is drawn here, where the authors use photographs, so its numbers cannot be set beside
    published ones. Values are not cut to 8 bits in between and at the end (JPEG excepted); the authors' are, which
    makes theirs darker by half a level of 255 on the average.

    Args:
        images: float32 (N, 3, H, W) in [0, 1], on any device, sides of at least 8 px.
        name: One of ``CORRUPTIONS``.
        severity: 1 to 5.
        seeds: int64 (N,): an image's noise comes from its seed alone, and its result does not depend on its batch.
        parameters: The published numbers for ``cifar`` (32 px) or for ``imagenet`` (224 px); ``auto`` chooses by size,
            see ``parameters_for``.

    Returns:
        Corrupted images, as the given ones.

    Raises:
        RobustAugError: an unknown name, severity or set of parameters; images or seeds of another shape or range.
    """
    if name not in CORRUPTIONS:
        near = difflib.get_close_matches(name, CORRUPTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(CORRUPTIONS)}"
        raise RobustAugError(f"there is no corruption {name!r}; {hint}")
    if severity not in SEVERITIES:
        raise RobustAugError(f"a corruption's severity is 1, 2, 3, 4 or 5, not {severity!r}")
    if parameters not in ("auto", "cifar", "imagenet"):
        raise RobustAugError(f"corruption parameters {parameters!r} are unknown; use auto, cifar or imagenet")
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST_SIDE:
        raise RobustAugError(
            f"corruptions need images (N, 3, H, W) with sides of at least {SMALLEST_SIDE} px, got {tuple(images.shape)}"
        )
    if seeds.shape != images.shape[:1] or seeds.dtype != torch.int64:
        raise RobustAugError(
            f"corruptions need one int64 seed for each of {len(images)} images, got {seeds.dtype} {tuple(seeds.shape)}"
        )
    if len(images) == 0:
        return images.clone()
    if not (images.min() >= 0 and images.max() <= 1):
        raise RobustAugError("corruptions need images with values in [0, 1]; divide 8-bit ones by 255")
    corruption = CORRUPTIONS[name]
    chosen = parameters_for(images.shape[2], images.shape[3]) if parameters == "auto" else parameters
    levels = corruption.cifar if chosen == "cifar" else corruption.imagenet
    return corruption.apply(images, seeds.to(images.device), *levels[severity - 1]).clamp(0, 1)


def parameters_for(height: int, width: int) -> Literal["cifar", "imagenet"]:
    """Which published parameters an image takes: those whose size, 32 or 224 px, its shorter side is the nearer to.

    Nearer in proportion: up to 84 px CIFAR's, from 85 px ImageNet's.
    """
    return "cifar" if min(height, width) < _BETWEEN else "imagenet"
