"""What an attack wants of each image."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Goal:
    """Away from ``labels``, or, if given, towards ``targets``; int64 (N,) each."""

    labels: Tensor
    targets: Tensor | None = None

    def __getitem__(self, rows: Tensor | slice) -> "Goal":
        return Goal(self.labels[rows], None if self.targets is None else self.targets[rows])

    @staticmethod
    def joined(goals: Sequence["Goal"]) -> "Goal":
        """The goals of several batches as those of one; either all have targets, or none."""
        targets = [goal.targets for goal in goals if goal.targets is not None]
        return Goal(torch.cat([goal.labels for goal in goals]), torch.cat(targets) if targets else None)

    def margin(self, logits: Tensor) -> Tensor:
        """How far beyond the decision each sample is, shape (N,): positive if the goal is met, negative if not."""
        wanted = self.labels if self.targets is None else self.targets
        chosen = logits.gather(1, wanted[:, None]).squeeze(1)
        others = logits.scatter(1, wanted[:, None], -torch.inf).amax(1)
        return others - chosen if self.targets is None else chosen - others

    def is_met(self, predictions: Tensor) -> Tensor:
        """Whether each prediction is a success, bool (N,)."""
        return predictions != self.labels if self.targets is None else predictions == self.targets
