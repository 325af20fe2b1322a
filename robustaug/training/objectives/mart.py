"""MART: images that the model gets wrong anyway are weighted more (Wang et al. 2020)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from robustaug.training.objectives.learner import Learner
from robustaug.training.objectives.objective import Objective, Task, Terms, check_beta
from robustaug.training.objectives.trades import divergences

_ABOVE_ONE = 1.0001  # in place of 1 in log(1 - p), which then stays above log(0.0001): the authors' code


@dataclass(frozen=True)
class MART(Objective):
    """Misclassification-aware adversarial training: Wang, Zou, Yi, Bailey, Ma and Gu (2020), algorithm 1.

        min over w of E [BCE(f(x'), y) + beta KL(f(x) || f(x')) (1 - f(x)_y)]
        BCE(p, y) = -log p_y - log(1 - max over k other than y of p_k)

    with f the probabilities and beta the paper's lambda.

    Deviation: x' is what the training attack finds, PGD on the cross-entropy from a uniform start as in the paper; the
    authors' code starts at x + 0.001 N(0, I). Logarithms come from the logits, without the 1e-12 of that code.

    Attributes:
        beta: Weight of the divergence, at least 0; 5 in the authors' code for a ResNet-18 (6 for a WideResNet).
        label_smoothing: See ``AdversarialTraining``; in the cross-entropies alone.

    Raises:
        RobustAugError: beta out of range.
    """

    needs_others: ClassVar[bool] = False
    beta: float = 5.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def terms(self, learner: Learner, task: Task, adversarial: Tensor) -> Terms:
        """The loss of the adversarial rows and the cross-entropy of all others, averaged over the batch."""
        natural = learner.forward(task.images)
        if not len(task.rows):
            return Terms(self._cross_entropy(natural, task.labels).mean(), natural.detach())
        attacked, labels = learner.forward_adversarial(adversarial), task.labels[task.rows]
        true_probability = natural[task.rows].softmax(1).gather(1, labels[:, None]).squeeze(1)
        wrong = attacked.softmax(1).scatter(1, labels[:, None], 0.0).amax(1)
        boosted = self._cross_entropy(attacked, labels) - torch.log(_ABOVE_ONE - wrong)
        losses = boosted + self.beta * divergences(natural[task.rows], attacked) * (1 - true_probability)
        # The cross-entropy of the adversarial rows before the attack is no part of this loss: it is replaced.
        losses = task.among(self._cross_entropy(natural, task.labels), losses)
        return Terms(losses.mean(), task.among(natural.detach(), attacked.detach()))

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
