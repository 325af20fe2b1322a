"""Accuracy of the weights as they stand, for the choice of a checkpoint."""

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import Attack
from robustaug.attacks.oracle import undisturbed
from robustaug.data.imageset import ImageSet
from robustaug.training.distributed import ALONE, Processes

_BATCH = 250


def accuracy(
    model: nn.Module, samples: ImageSet, attack: Attack | None, seed: int, processes: Processes = ALONE
) -> float:
    """The share of right answers in float32 and eval mode, under an attack or without one; the model is as before.

    Each process answers for its part of the samples.
    """
    device, own = next(model.parameters()).device, range(processes.rank, len(samples), processes.count)

    def answers() -> tuple[int, int]:
        right = 0
        for start in range(0, len(own), _BATCH):
            part = samples.select(own[start : start + _BATCH])
            images, labels = part.float_images(device), part.labels.to(device)
            if attack is not None:
                seeds = randomness.sample_seeds(seed, part.keys, "validation attack").to(device)
                right += int((~attack(model, images, labels, seeds=seeds).success).sum())
            else:
                right += right_answers(model, images, labels)
        return right, len(own)

    return processes.share(answers)


def drawn(samples: ImageSet, most: int, seed: int) -> ImageSet:
    """At most so many samples; drawn, not the first ones: those of a folder are of one class."""
    return samples.select(randomness.permutation(len(samples), seed, "validation samples")[:most])


def right_answers(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many labels the model gives, in float32 and eval mode; it is as before."""
    with undisturbed(model), torch.no_grad():
        return int((model(images).argmax(1) == labels).sum())
