"""Checks of the gradients that attacks follow: that there are some, and that they tell how the outputs change."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustaug import randomness
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle, undisturbed
from robustaug.errors import RobustAugError
from robustaug.evaluation.checks.check import Check

# Below this a softmax has run out of float32: the loss of such a sample is 69 logits from its nearest other class, and
# what is left of its gradient has lost the label's part.
_TINY = 1e-30
_DIRECTIONS = 8  # in which each image is moved
_AGREES = 0.5  # cosine


def gradients_not_zero(arm: str | None, model: nn.Module, images: Tensor, labels: Tensor) -> Check:
    """Gradient attacks are blind where the loss has no gradient, a tiny one, or one that is not finite.

    At most 1% of the samples may have a zero or tiny one, none one that is not finite.
    """
    name = "input gradients are informative"
    loss = partial(F.cross_entropy, target=labels, reduction="none")
    with undisturbed(model):
        try:
            gradient = Oracle(model).gradient(images, loss).gradient.flatten(1)
        except RobustAugError as error:
            return Check(name, arm, False, str(error))
    broken = int((~gradient.isfinite()).any(1).sum())
    largest = gradient.abs().amax(1)
    zero, tiny = int((largest == 0).sum()), int(((largest > 0) & (largest < _TINY)).sum())
    detail = f"{zero} of {len(images)} samples with a zero gradient, {broken} with NaN or infinite values"
    if tiny:
        detail += f", {tiny} with none above {_TINY:g}"
    return Check(name, arm, broken == 0 and zero + tiny <= 0.01 * len(images), detail)


def gradients_match_differences(
    arm: str | None,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Check:
    """Small changes of an image must change the margin as its gradient says, for nine samples in ten.

    Otherwise something on the way from the image to the logits has no gradient or another one: rounding to few levels,
    re-encoding, a detour through NumPy. Each image is moved by one level of 255 in every value, up or down at random,
    to both sides; the differences in eight such directions are held against the products of gradient and direction.
    The two lists of a sample agree if the cosine between them is at least 0.5. Networks with the gradients that they
    state reach 0.98 and more, rounding to eight levels under a made-up gradient about 0.3.

    Args:
        arm: for the row.
        model: from images to logits.
        images: float32 (N, C, H, W).
        labels: int64 (N,).
        seeds: int64 (N,), of the directions.
        bounds: of the values; no image leaves them.
    """
    name = "input gradients agree with finite differences"
    goal, (low, high) = Goal(labels), bounds
    oracle = Oracle(model)
    with undisturbed(model):
        try:
            gradient = oracle.gradient(images, goal.margin).gradient
        except RobustAugError as error:
            return Check(name, arm, False, str(error))
        predicted, found = [], []
        for number in range(_DIRECTIONS):
            draws = randomness.uniform(randomness.fold(seeds, number), images.shape[1:])
            move = torch.where(draws < 0.5, -1.0, 1.0) * (high - low) / 255
            above, below = (images + move).clamp(low, high), (images - move).clamp(low, high)
            predicted.append((gradient * (above - below)).flatten(1).sum(1))
            found.append(goal.margin(oracle.logits(above)) - goal.margin(oracle.logits(below)))
    cosine = F.cosine_similarity(torch.stack(predicted), torch.stack(found), dim=0)  # 0 where one of them is 0
    agreeing = int((cosine >= _AGREES).sum())  # NaN does not
    detail = (
        f"{agreeing} of {len(images)} samples agree (cosine at least {_AGREES}), median {float(cosine.median()):.3f}"
    )
    return Check(name, arm, agreeing >= 0.9 * len(images), detail)
