"""Free adversarial training: one backward pass moves the weights and the perturbation (Shafahi et al. 2019)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from robustaug.attacks.attack import check_count
from robustaug.attacks.ball import Ball
from robustaug.errors import RobustAugError
from robustaug.training.objectives.adversarial import AdversarialTraining
from robustaug.training.objectives.learner import Learner
from robustaug.training.objectives.objective import Task, Terms

_CARRIED = "perturbation"


@dataclass(frozen=True)
class Free(AdversarialTraining):
    """Free adversarial training: Shafahi et al. (2019), algorithm 1, for minibatches replayed m times.

        w <- w - rate E [grad_w CE(f_w(x + d), y)];  d <- clip(d + eps sign(grad_x CE(f_w(x + d), y)), -eps, eps)

    with both gradients from one backward pass in training mode. The perturbation d belongs to the slot of the batch: it
    is carried through replays and from one minibatch to the next, and is saved with the state. Each replay counts as a
    step of the budget. Here the steps of the training attack are of no matter: only its ball is.

    Deviations: x + d is clipped to the bounds (as in the authors' code), and the gradient is that at the clipped image
    (there, values outside the bounds get none). For l2 and l1 (not in the paper), d moves by eps along the norm's own
    direction. With a warm-up, d is brought into the ball of the step's eps.

    Attributes:
        replays: m, at least 1; 8 in the paper's best for CIFAR-10.

    Raises:
        RobustAugError: m is no whole number from 1 up.
    """

    is_single_step: ClassVar[bool] = True
    replays: int = 8  # type: ignore[misc]  # of the class in the others

    def __post_init__(self) -> None:
        check_count("training.replays", self.replays)

    def perturbed(self, learner: Learner, task: Task) -> Tensor:
        """The images with the perturbation carried so far: no pass at all."""
        if task.attack is None:
            return task.images[:0]
        images = task.images[task.rows]
        carried = learner.carried_rows.get(_CARRIED)
        if carried is None or carried.shape != images.shape:  # images of another size begin anew
            learner.carried_rows[_CARRIED] = carried = torch.zeros_like(images)
        return (images + carried).clamp(*task.attack.threat.bounds)

    def gradients(self, learner: Learner, task: Task, adversarial: Tensor) -> Terms:
        """One backward pass; the perturbation climbs."""
        if task.attack is None:
            return super().gradients(learner, task, adversarial)
        adversarial = adversarial.detach().requires_grad_()
        terms = super().gradients(learner, task, adversarial)
        if adversarial.grad is None:
            raise RobustAugError("the model gives no gradient with respect to its input; the objective free needs one")
        low, high = task.attack.threat.bounds
        around_zero = replace(task.attack.threat, bounds=(low - high, high - low))
        before = learner.carried_rows[_CARRIED]
        ball = Ball.around(torch.zeros_like(before), around_zero)
        with torch.no_grad():
            step = ball.eps * ball.direction(before, adversarial.grad)
            learner.carried_rows[_CARRIED] = ball.project(before + step)
        return terms
