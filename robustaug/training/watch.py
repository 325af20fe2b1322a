"""Catastrophic overfitting of single-step objectives: seen, said, and by choice undone."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

OnCollapse = Literal["report", "return", "raise"]
MOST_ANSWERS = 3  # in a run; further collapses are reported only
_COLLAPSE = 0.5  # of the highest accuracy under PGD so far


@dataclass
class Watch:
    """Accuracy under PGD on training batches (Wong, Rice and Kolter 2020: it falls to zero at once).

    Deviation: a collapse in the authors' code is a fall by 0.2 since the epoch before; here it is a fall below half of
    the highest so far, which means the same for easy and for hard data, and by more than chance explains: three
    standard errors of the difference of two shares. An untrained network, which guesses, does not collapse.

    Attributes:
        highest: The highest accuracy so far, a fraction.
        answers: How often a collapse was answered: by going back, or by more noise.
    """

    highest: float = 0.0
    answers: int = 0

    def collapsed(self, accuracy: float, images: int) -> bool:
        """Whether this accuracy, a share of so many images, is a collapse; otherwise it is remembered."""
        mean = (accuracy + self.highest) / 2
        chance = 3 * math.sqrt(2 * mean * (1 - mean) / images)
        if accuracy < _COLLAPSE * self.highest and self.highest - accuracy > chance:
            return True
        self.highest = max(self.highest, accuracy)
        return False

    def to_tensor(self) -> Tensor:
        """For the state."""
        return torch.tensor([self.highest, self.answers], dtype=torch.float64)

    @staticmethod
    def from_tensor(saved: Tensor | None) -> "Watch":
        """From the state; None is a new one."""
        if saved is None:
            return Watch()
        highest, answers = saved.tolist()
        return Watch(highest, int(answers))
