"""Where the decision-based attacks of Foolbox start: images that already meet the goal."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustaug.attacks.ball import column
from robustaug.attacks.foolbox_model import are_finite, foolbox_criterion, load_foolbox
from robustaug.attacks.goal import Goal


@dataclass(frozen=True)
class Examples:
    """Images of a batch, (N, C, H, W), and what the model says of them, (N,)."""

    images: Tensor
    predictions: Tensor

    def nearest(self, images: Tensor, goal: Goal) -> Tensor:
        """For each of ``images``, the nearest image here that meets its goal; NaN where there is none."""
        targets = None if goal.targets is None else goal.targets[:, None]
        meets = Goal(goal.labels[:, None], targets).is_met(self.predictions)
        distance = torch.cdist(images.flatten(1), self.images.flatten(1)).masked_fill(~meets, torch.inf)
        return torch.where(column(meets.any(1)), self.images[distance.argmin(1)], torch.nan)


def starting_points(attack: Any, model: Any, images: Tensor, goal: Goal, examples: Examples) -> Tensor | None:
    """Images that meet the goal, one for each of ``images``; NaN where there is none. None if the attack needs none.

    Foolbox gives up on the whole batch where its first attack fails for one sample. Here that sample starts from the
    nearest image of the batch that meets its goal. Targeted attacks mostly do: noise is rarely taken for a given class.

    Args:
        attack: An attack of Foolbox.
        model: Foolbox's model.
        images: In Foolbox's range, shape (N, C, H, W).
        goal: What is wanted of each.
        examples: The batch, in the same range.
    """
    first = _first_attack(attack)
    if first is None:
        return None
    starts = first.run(model, images, foolbox_criterion(goal))
    starts = torch.where(column(_meets(model, starts, goal)), starts, examples.nearest(images, goal))
    return torch.where(column(_meets(model, starts, goal)), starts, torch.nan)


def _first_attack(attack: Any) -> Any:
    """The attack that finds starting points: as given, else Foolbox's own choice."""
    if "starting_points" not in inspect.signature(getattr(attack, "run", attack)).parameters:
        return None
    given = getattr(attack, "init_attack", None)
    if given is not None:
        return given
    attacks = load_foolbox().attacks
    if isinstance(attack, attacks.fast_minimum_norm.FMNAttackLp):
        return None  # starts at the image itself
    if isinstance(attack, attacks.PointwiseAttack):
        return attacks.SaltAndPepperNoiseAttack()
    if isinstance(attack, attacks.BoundaryAttack | attacks.HopSkipJumpAttack):
        return attacks.LinearSearchBlendedUniformNoiseAttack(steps=50)
    return attacks.LinearSearchBlendedUniformNoiseAttack()


def _meets(model: Any, images: Tensor, goal: Goal) -> Tensor:
    return are_finite(images) & goal.is_met(model(images).argmax(1))
