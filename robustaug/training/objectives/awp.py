"""Adversarial weight perturbation: the loss at the worst weights nearby (Wu, Xia and Wang 2020)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robustaug.attacks import Attack
from robustaug.errors import RobustAugError
from robustaug.training.objectives.learner import Learner
from robustaug.training.objectives.objective import Objective, Task, Terms


@dataclass(frozen=True)
class WeightPerturbation(Objective):
    """AWP around another objective: Wu, Xia and Wang (2020), algorithm 1 with one step for the weights.

        min over w of max over v with |v_l| <= gamma |w_l| for each layer l of E [loss of w + v at x']
        v_l = gamma |w_l| g_l / |g_l|,  g = gradient of that loss at w

    The adversarial images are those found at w. As in the authors' code, matrices and filters are perturbed, norms and
    biases are not; one more pass goes forth and back, which batch-norm statistics do not see. Both passes draw the same
    dropout.

    Deviation: the weights come back exactly before the optimiser's step, which moves w by the gradient at w + v. The
    authors' code steps first and subtracts v then, so that weight decay there acts on w + v.

    Attributes:
        inner: Whose loss.
        gamma: Relative size of the perturbation, larger than 0 and below 1; 0.005 and 0.01 in the paper.

    Raises:
        RobustAugError: gamma out of range.
    """

    inner: Objective
    gamma: float = 0.005

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gamma) and 0 < self.gamma < 1):
            raise RobustAugError(f"training.awp is {self.gamma:g}; it is a share of the weights' size, 0 to below 1")

    @property
    def replays(self) -> int:  # type: ignore[override]
        """Of the inner objective."""
        return self.inner.replays

    @property
    def needs_others(self) -> bool:  # type: ignore[override]
        """Of the inner objective."""
        return self.inner.needs_others

    @property
    def is_single_step(self) -> bool:  # type: ignore[override]
        """Of the inner objective."""
        return self.inner.is_single_step

    @property
    def takes_mixed_labels(self) -> bool:  # type: ignore[override]
        """Of the inner objective."""
        return self.inner.takes_mixed_labels

    def raised(self, times: int) -> Objective:
        """As the inner objective."""
        return replace(self, inner=self.inner.raised(times))

    def check(self, attack: Attack) -> None:
        """As the inner objective."""
        self.inner.check(attack)

    def perturbed(self, learner: Learner, task: Task) -> Tensor:
        """As the inner objective, at w."""
        return self.inner.perturbed(learner, task)

    def terms(self, learner: Learner, task: Task, adversarial: Tensor) -> Terms:
        """The inner loss at w."""
        return self.inner.terms(learner, task, adversarial)

    def gradients(self, learner: Learner, task: Task, adversarial: Tensor) -> Terms:
        """The inner loss and its gradients at w + v; the weights are w again afterwards, also after an exception."""
        weights = [value for value in learner.model.parameters() if value.requires_grad and value.dim() > 1]
        moves = self._moves(learner, task, adversarial, weights)
        with _moved(weights, moves):
            return self.inner.gradients(learner, task, adversarial)

    def _moves(self, learner: Learner, task: Task, adversarial: Tensor, weights: list[nn.Parameter]) -> list[Tensor]:
        devices = [task.images.device] if task.images.device.type == "cuda" else []
        with learner.kept_statistics(), torch.random.fork_rng(devices=devices):
            loss = self.inner.terms(learner, task, adversarial).loss
            gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
            learner.processes.average(gradients)
        with torch.no_grad():
            return [
                self.gamma * weight.norm() * _direction(gradient)
                for weight, gradient in zip(weights, gradients, strict=True)
            ]


def _direction(gradient: Tensor) -> Tensor:
    """Of norm 1; 0 where there is no gradient, or where its norm is too small for float32."""
    norm = gradient.norm()
    return torch.where(norm > 0, gradient / norm, 0)


@contextmanager
def _moved(weights: list[nn.Parameter], moves: list[Tensor]) -> Iterator[None]:
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight, move in zip(weights, moves, strict=True):
            weight.add_(move)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)
