"""The two classical augmentations of small images, each sample's from its own seed."""

import torch
from torch import Tensor

from robustaug import randomness


def flip_and_shift(images: Tensor, seeds: Tensor, *, flip: bool, shift: int) -> Tensor:
    """Mirror each image left to right with probability one half, and move it by up to ``shift`` pixels each way.

    Args:
        images: Shape (N, C, H, W).
        seeds: One int64 seed per image.
        flip: Whether to mirror.
        shift: Largest move in pixels; the border's pixels are repeated.

    Returns:
        New images of the same shape; the same ones if there is nothing to do.
    """
    if not flip and shift == 0:
        return images
    n, _, height, width = images.shape
    draws = randomness.uniform(seeds.to(images.device), (3,))
    rows = torch.arange(height, device=images.device).expand(n, -1)
    columns = torch.arange(width, device=images.device).expand(n, -1)
    if flip:
        columns = torch.where(draws[:, :1] < 0.5, columns.flip(1), columns)
    moves = (draws[:, 1:] * (2 * shift + 1)).long() - shift
    rows = (rows + moves[:, :1]).clamp(0, height - 1)
    columns = (columns + moves[:, 1:]).clamp(0, width - 1)
    picked = torch.arange(n, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[picked, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
