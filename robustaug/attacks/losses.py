"""What a gradient attack climbs: larger is closer to success.

Each loss takes logits (N, K) and a goal, and gives one value a sample, shape (N,). With targets, the loss rises towards
the target.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from robustaug.attacks.goal import Goal

LossName = Literal["cross_entropy", "margin", "dlr"]


def cross_entropy(logits: Tensor, goal: Goal) -> Tensor:
    """The cross-entropy of the label; with targets, minus that of the target."""
    if goal.targets is None:
        return F.cross_entropy(logits, goal.labels, reduction="none")
    return -F.cross_entropy(logits, goal.targets, reduction="none")


def margin(logits: Tensor, goal: Goal) -> Tensor:
    """The largest other logit minus the label's; with targets, the target's minus the largest other.

    Carlini and Wagner (2017), section V.A, f6, without its cut at the confidence.
    """
    return goal.margin(logits)


def dlr(logits: Tensor, goal: Goal) -> Tensor:
    """The difference of logits ratio: Croce and Hein (2020b), equations 6 and 7 (the second with targets).

    Deviation: the equations need three classes, and four with targets. With fewer their ratio can be constant; then the
    numerator alone is the loss.
    """
    ordered = logits.sort(dim=1, descending=True).values
    classes = logits.shape[1]
    if goal.targets is None:
        numerator = goal.margin(logits)
        return numerator if classes < 3 else numerator / (ordered[:, 0] - ordered[:, 2] + 1e-12)
    numerator = (logits.gather(1, goal.targets[:, None]) - logits.gather(1, goal.labels[:, None])).squeeze(1)
    return numerator if classes < 4 else numerator / (ordered[:, 0] - ordered[:, 2:4].mean(1) + 1e-12)


LOSSES: dict[LossName, Callable[[Tensor, Goal], Tensor]] = {
    "cross_entropy": cross_entropy,
    "margin": margin,
    "dlr": dlr,
}
