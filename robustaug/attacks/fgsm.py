"""The fast gradient sign method: FGSM, and R-FGSM with a random step before it."""

from dataclasses import dataclass, replace

from torch import Tensor

from robustaug import randomness
from robustaug.attacks.attack import GradientAttack
from robustaug.attacks.ball import Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.attacks.threat import parse_number
from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class FGSM(GradientAttack):
    """FGSM (Goodfellow, Shlens and Szegedy 2015, section 4): one step of length eps up the loss gradient.

    Nothing is random. The step goes to the allowed image at which a linear loss would be largest: for linf along the
    signs; for l2 along the normalised gradient (the fast gradient method, Miyato, Dai and Goodfellow 2017,
    equation 5), cut to the bounds; for l1 to the bounds of the few values with the largest gradients.
    """

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:  # noqa: ARG002
        return ball.extreme(oracle.gradient(ball.center, self._loss(goal)).gradient)


@dataclass(frozen=True)
class RFGSM(GradientAttack):
    """R-FGSM (Tramer et al. 2018, section 4.1): a random step of length alpha, then FGSM with eps - alpha from there.

    The random step goes in the direction of Gaussian noise (for linf its signs, as in the paper).

    Attributes:
        alpha_fraction: alpha as a share of eps, between 0 and 1; 0.5 in the paper's experiments.

    Raises:
        RobustAugError: alpha_fraction outside [0, 1].
    """

    alpha_fraction: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "alpha_fraction", parse_number(self.alpha_fraction, "alpha_fraction"))
        if not 0 <= self.alpha_fraction <= 1:
            raise RobustAugError(f"alpha_fraction is {self.alpha_fraction:g}; it must be between 0 and 1")

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        noise = randomness.normal(seeds, ball.center.shape[1:])
        alpha = self.alpha_fraction * ball.eps
        start = ball.project(ball.center + alpha * ball.direction(ball.center, noise))
        gradient = oracle.gradient(start, self._loss(goal)).gradient
        around_start = replace(ball, center=start, eps=ball.eps - alpha)
        return ball.project(around_start.extreme(gradient))
