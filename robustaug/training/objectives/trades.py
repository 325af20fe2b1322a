"""TRADES: clean accuracy traded for a smooth neighbourhood (Zhang et al. 2019)."""

from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from robustaug import randomness
from robustaug.attacks import PGD, Attack
from robustaug.attacks.ball import Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.errors import RobustAugError
from robustaug.training.objectives.learner import Learner
from robustaug.training.objectives.objective import Objective, Task, Terms, check_beta

_START = 0.001  # standard deviation of the start's distance, in units of the images: the authors' code


@dataclass(frozen=True)
class TRADES(Objective):
    """TRADES: Zhang, Yu, Jiao, Xing, El Ghaoui and Jordan (2019), algorithm 1.

        min over w of E [CE(f(x), y) + beta max over x' of KL(f(x) || f(x'))]

    The paper writes 1/lambda for beta. x' starts at x + 0.001 N(0, I) and climbs the divergence with the steps and the
    step size of the training attack, a PGD. The natural pass of the inner maximisation is taken once, and so is that of
    the outer loss; the authors' code takes the first at every step and the second twice.

    Attributes:
        beta: Weight of the divergence, at least 0; 6 in the paper.
        label_smoothing: See ``AdversarialTraining``; in the cross-entropy alone.

    Raises:
        RobustAugError: beta out of range.
    """

    needs_others: ClassVar[bool] = False
    beta: float = 6.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def check(self, attack: Attack) -> None:
        """The training attack must be a PGD of one run.

        Raises:
            RobustAugError: it is another one.
        """
        if not isinstance(attack, PGD) or attack.restarts > 1 or attack.early_exit:
            raise RobustAugError(
                f"the objective trades climbs its own loss with the steps of PGD; give it a PGD without restarts and "
                f"early_exit, not {attack.parameters()}"
            )

    def attack(self, attack: Attack) -> Attack:
        """The same PGD, up the divergence."""
        return _Divergence(**{entry.name: getattr(attack, entry.name) for entry in fields(PGD)})

    def terms(self, learner: Learner, task: Task, adversarial: Tensor) -> Terms:
        """Cross-entropy of all images before the attack, and the divergence of the adversarial rows, over the batch."""
        natural = learner.forward(task.images)
        loss = F.cross_entropy(natural, task.labels, label_smoothing=self.label_smoothing)
        if not len(task.rows):
            return Terms(loss, natural.detach())
        attacked = learner.forward_adversarial(adversarial)
        loss = loss + self.beta * divergences(natural[task.rows], attacked).sum() / len(task.images)
        return Terms(loss, task.among(natural.detach(), attacked.detach()))


def divergences(logits: Tensor, others: Tensor) -> Tensor:
    """KL(softmax(logits) || softmax(others)) of each row, (N,)."""
    return F.kl_div(others.log_softmax(1), logits.log_softmax(1), reduction="none", log_target=True).sum(1)


@dataclass(frozen=True)
class _Divergence(PGD):
    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:  # noqa: ARG002
        natural = oracle.search_logits(ball.center)
        step = self._default_step_size(ball.eps) if self.step_size is None else self.step_size * ball.eps.sign()
        # At x itself the divergence has no gradient, hence the start beside it: within ball and bounds, unlike there.
        images = ball.project(ball.center + _START * randomness.normal(seeds, ball.center.shape[1:]))
        for _ in range(self.steps):
            gradient = oracle.gradient(images, lambda logits: divergences(natural, logits)).gradient
            images = ball.project(images + step * ball.direction(images, gradient))
        return images
