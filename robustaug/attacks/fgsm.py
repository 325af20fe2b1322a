"""The fast gradient sign method: FGSM."""

from dataclasses import dataclass

from torch import Tensor

from robustaug.attacks.attack import Attack, Goal
from robustaug.attacks.norms import Ball
from robustaug.attacks.oracle import Oracle


@dataclass(frozen=True)
class FGSM(Attack):
    """FGSM (Goodfellow, Shlens and Szegedy 2015, section 4): one step of length eps up the loss gradient.

    The loss is the cross-entropy; nothing is random.

    For l2 the step follows the normalised gradient (the fast gradient method, Miyato, Dai and Goodfellow 2017,
    equation 5).
    """

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:  # noqa: ARG002
        gradient = goal.gradient(oracle, ball.center)
        return ball.project(ball.center + ball.eps * ball.geometry.ascent(gradient))
