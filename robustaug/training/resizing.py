"""Progressive resizing: smaller images early in a run, when a step teaches as much on them at a fraction of the cost.

Howard's entry to DAWNBench (2018) for standard training; Wong, Rice and Kolter (2020), section 4.3, for adversarial
training on ImageNet.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor
from torch.nn import functional as F

from robustaug.errors import RobustAugError

Resizing = tuple[tuple[int, float], ...]


def resized_at(images: Tensor, resizing: Sequence[tuple[int, float]], progress: float) -> Tensor:
    """The images at the size that a step sees.

    Args:
        images: Shape (N, C, H, W).
        resizing: Pairs of the longer side in px and the share of the steps before which it holds, ascending.
        progress: Share of the steps done before this one, at least 0, below 1.

    Returns:
        Shape (N, C, H', W'), antialiased; the same tensor where the step has the images' own size.
    """
    side = next((side for side, until in resizing if progress < until), None)
    height, width = images.shape[2:]
    if side is None or side >= max(height, width):
        return images
    size = [max(1, round(length * side / max(height, width))) for length in (height, width)]
    return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def check_resizing(resizing: Sequence[tuple[int, float]]) -> None:
    """Refuse what is no schedule of sizes.

    Raises:
        RobustAugError: a side below 8 px, or shares that do not ascend between 0 and 1.
    """
    shares = [0.0, *(until for _, until in resizing)]
    is_ascending = all(before < after < 1 for before, after in pairwise(shares))
    if not is_ascending or any(side < 8 for side, _ in resizing):
        raise RobustAugError(
            f"training.resizing is {[list(pair) for pair in resizing]}; it is pairs of a side of at least 8 px and the "
            "share of the steps until which it holds, ascending, between 0 and 1, for example [[24, 0.5]]"
        )
