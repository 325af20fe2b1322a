"""The classical augmentation of a batch, each image's from its own seed."""

from typing import Literal

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.data.augmentation import AugmentationName, augment
from robustaug.data.images import to_uint8

Padding = Literal["edge", "zeros"]


def augmented(
    images: Tensor, seeds: Tensor, name: AugmentationName | None, *, flip: bool, shift: int, padding: Padding
) -> Tensor:
    """The named augmentation, then mirror and shift.

    Deviation: AugMix's authors crop and mirror first; the order here is that of RandAugment's line of code, and lets
    the rest run on the images' device.

    Args:
        images: Float32 in [0, 1], shape (N, 3, H, W).
        seeds: One int64 seed per image.
        name: See ``data.augmentation``; the images are rounded to 8 bits for it. None is none.
        flip: See ``flip_and_shift``, also for the others.
        shift: Pixels.
        padding: What a shift brings in.
    """
    if name is not None:
        images = augment(to_uint8(images), randomness.fold(seeds, 0), name) / 255
    return flip_and_shift(images, seeds, flip=flip, shift=shift, padding=padding)


def flip_and_shift(images: Tensor, seeds: Tensor, *, flip: bool, shift: int, padding: Padding = "edge") -> Tensor:
    """Mirror each image left to right with probability one half, and move it by up to ``shift`` pixels each way.

    The move is a random crop, of the image's own size, of the image padded by ``shift`` pixels on every side.

    Args:
        images: Shape (N, C, H, W).
        seeds: One int64 seed per image.
        flip: Whether to mirror.
        shift: Largest move in pixels.
        padding: ``"edge"`` repeats the border's pixels; ``"zeros"`` is black, as in the field's CIFAR recipes.

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
    wanted = rows + moves[:, :1], columns + moves[:, 1:]
    rows, columns = wanted[0].clamp(0, height - 1), wanted[1].clamp(0, width - 1)
    picked = torch.arange(n, device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[picked, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
    if padding == "edge":
        return moved
    inside = (rows == wanted[0])[:, None, :, None] & (columns == wanted[1])[:, None, None, :]
    return torch.where(inside, moved, 0)
