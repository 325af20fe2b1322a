"""What a step trains on before any attack: the batch with its styles and its classical augmentation; mixed images."""

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.data.composite import Batch, CompositeDataset
from robustaug.hardware import to_device
from robustaug.training.objectives import MixedLabels
from robustaug.training.settings import Padding, TrainingSettings


def prepared(
    data: CompositeDataset, batch: Batch, settings: TrainingSettings, seed: int, device: torch.device
) -> Tensor:
    """The images of a batch, restyled where they still have to be, augmented, mirrored and shifted.

    Every row is augmented, an adversarial one before its attack (as Madry et al. 2018 and Rebuffi et al. 2021 do), a
    stylised one after its style. AugMix and its like work on the CPU, where the images lie until then, so that this can
    go on while a GPU is busy with the step before; all others work on the device.

    Deviation: AugMix's authors mirror and shift first; the order here, for all names, is that of AutoAugment's code for
    CIFAR.

    Args:
        data: Whose batch it is.
        batch: N images.
        settings: ``augmentation``, ``flip``, ``shift`` and ``padding``.
        seed: Each image's randomness follows from this and its key.
        device: Where the result lies.

    Returns:
        Float32 in [0, 1], shape (N, C, H, W).
    """
    images = batch.images
    if batch.unstyled.any():
        images = data.restyle(batch, to_device(images, device))
    if not (settings.augmentation or settings.flip or settings.shift):
        return to_device(images, device)
    seeds = randomness.sample_seeds(seed, batch.keys, "augment")
    if not settings.augments_on_cpu:
        images = to_device(images, device)
    images = settings.augmenter.augment(images, batch.labels, seeds)
    images = to_device(images, device)
    return flip_and_shift(images, seeds, flip=settings.flip, shift=settings.shift, padding=settings.padding)


def mixed(images: Tensor, batch: Batch, settings: TrainingSettings, seed: int) -> tuple[Tensor, MixedLabels | None]:
    """The images with those mixed that are drawn for it, each with the row before it, and the labels that they share.

    Adversarial rows are left out. Of several techniques an image gets the first one drawn. Which images meet depends on
    the batch; with several processes, on each one's part of it.

    Args:
        images: Of the batch, after ``prepared``, (N, C, H, W).
        batch: Its labels and keys.
        settings: ``mixing``.
        seed: As of ``prepared``.
    """
    plain = (~batch.adversarial).nonzero().squeeze(1)
    if not settings.mixing or len(plain) < 2:
        return images, None
    before, seeds = plain.roll(1), randomness.sample_seeds(seed, batch.keys, "mix")
    labels, share, result = batch.labels.clone(), images.new_ones(len(images)), images
    is_free = torch.ones(len(plain), dtype=torch.bool)
    for position, technique in enumerate(settings.mixing):
        chosen, parameters = technique.draw(randomness.fold(seeds[plain], position))
        chosen &= is_free
        is_free &= ~chosen
        rows, others = plain[chosen], before[chosen]
        own = {name: to_device(values[chosen], images.device) for name, values in parameters.items()}
        places, sources = to_device(rows, images.device), to_device(others, images.device)
        changed, kept = technique.mix(images[places], images[sources], own)
        result = result.index_copy(0, places, changed)
        labels[rows], share = batch.labels[others], share.index_copy(0, places, kept)
    return result, MixedLabels(to_device(labels, images.device), share)


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
    n, channels, height, width = images.shape
    draws = randomness.uniform(to_device(seeds, images.device), (3,))
    rows = torch.arange(height, device=images.device).expand(n, -1)
    columns = torch.arange(width, device=images.device).expand(n, -1)
    if flip:
        columns = torch.where(draws[:, :1] < 0.5, columns.flip(1), columns)
    moves = (draws[:, 1:] * (2 * shift + 1)).long() - shift
    wanted = rows + moves[:, :1], columns + moves[:, 1:]
    rows, columns = wanted[0].clamp(0, height - 1), wanted[1].clamp(0, width - 1)
    places = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, -1)
    moved = images.flatten(2).gather(2, places.expand(-1, channels, -1)).view_as(images)
    if padding == "edge":
        return moved
    inside = (rows == wanted[0])[:, None, :, None] & (columns == wanted[1])[:, None, None, :]
    return torch.where(inside, moved, 0)
