"""Standard and adversarial training: cross-entropy over the batch, its adversarial rows replaced."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustaug.training.objectives.learner import Learner
from robustaug.training.objectives.objective import Objective, Task, Terms


@dataclass(frozen=True)
class AdversarialTraining(Objective):
    """Adversarial training (Madry, Makelov, Schmidt, Tsipras and Vladu 2018, equation 2.1).

        min over w of E [max over x' in the ball of x of CE(f_w(x'), y)]

    The training attack, PGD in the paper, solves the inner part. Without adversarial rows this is standard training.

    Attributes:
        label_smoothing: Share of each target spread over all classes (Szegedy et al. 2016, section 7), 0 to below 1.
    """

    takes_mixed_labels: ClassVar[bool] = True
    label_smoothing: float = 0.0

    def terms(self, learner: Learner, task: Task, adversarial: Tensor) -> Terms:
        """Cross-entropy, averaged over the batch."""
        logits = learner.forward_mixed(task.among(task.images, adversarial), task.rows)
        return Terms(task.cross_entropy(logits, self.label_smoothing), logits.detach())
