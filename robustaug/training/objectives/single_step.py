"""Adversarial training with one gradient step: RS-FGSM (Wong et al. 2020) and N-FGSM (de Jorge et al. 2022)."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from robustaug import randomness
from robustaug.attacks import PGD, Attack
from robustaug.attacks.attack import GradientAttack
from robustaug.attacks.ball import Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.errors import RobustAugError
from robustaug.training.objectives.adversarial import AdversarialTraining

_RS_STEP = 1.25  # times eps, as in the paper's experiments
_RAISE = 1.5  # chosen here


@dataclass(frozen=True)
class RandomStartFGSM(AdversarialTraining):
    """RS-FGSM: Wong, Rice and Kolter (2020), "Fast is better than free", algorithm 3.

        d = Uniform(-eps, eps);  d <- clip(d + 1.25 eps sign(grad CE(f(x + d), y)), -eps, eps);  x' = x + d

    That is PGD of one step. Of the training attack it takes the ball and the precision. It can overfit
    catastrophically: accuracy under PGD falls to zero within an epoch.
    """

    is_single_step: ClassVar[bool] = True

    def attack(self, attack: Attack) -> Attack:
        """One step of PGD from a random start."""
        eps = attack.threat.eps
        size = _RS_STEP * eps if isinstance(eps, float) and eps > 0 else None
        return PGD(attack.threat, attack.precision, steps=1, step_size=size)


@dataclass(frozen=True)
class NoiseFGSM(AdversarialTraining):
    """N-FGSM: de Jorge et al. (2022), "Make some noise", algorithm 1.

        n = Uniform(-k eps, k eps);  x' = x + n + eps sign(grad CE(f(x + n), y))

    The perturbation is not clipped to the ball: it may be (k + 1) eps long. As in the authors' code, x + n and x' are
    clipped to the bounds, the first before its gradient is taken. Of the training attack it takes the ball and the
    precision. For l2 and l1 (not in the paper), n is k times a point of the ball, and the step has norm eps.

    Attributes:
        noise: k, larger than 0; 2 in the paper. More noise keeps catastrophic overfitting away.

    Raises:
        RobustAugError: k out of range.
    """

    is_single_step: ClassVar[bool] = True
    noise: float = 2.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise RobustAugError(f"training.noise is {self.noise:g}; it is a multiple of eps, larger than 0")

    def raised(self, times: int) -> "NoiseFGSM":
        """Half as much noise again, each time."""
        return replace(self, noise=self.noise * _RAISE**times)

    def attack(self, attack: Attack) -> Attack:
        """A step from noise."""
        return _NoisyStep(attack.threat, attack.precision, noise=self.noise)


@dataclass(frozen=True)
class _NoisyStep(GradientAttack):
    noise: float = 2.0

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        noise = self.noise * ball.sample(randomness.fold(seeds, 0))
        start = (ball.center + noise).clamp(*ball.bounds)
        gradient = oracle.gradient(start, self._loss(goal)).gradient
        return (start + ball.eps * ball.direction(start, gradient)).clamp(*ball.bounds)
