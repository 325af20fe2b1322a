"""One batch for an objective, models whose logits are known, and passes that are counted."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor, nn
from training_cases import SIZE, pgd, squares

from robustaug.attacks import Attack
from robustaug.training.objectives import Learner, Task

Array = NDArray[np.float64]
CLASSES = 3


def linear(seed: int = 0, classes: int = CLASSES) -> nn.Module:
    """Logits that are a matrix times the values: everything about it is known in closed form."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, classes))


def task(n: int = 8, adversarial: int = 3, attack: Attack | None = None, **changes: Any) -> Task:
    """``n`` images of three classes, the last few adversarial."""
    images = squares(n).images / 255
    rows, seeds = torch.arange(n - adversarial, n), torch.arange(100, 100 + adversarial)
    attack = (attack or pgd()) if adversarial else None
    return Task(images, torch.arange(n) % CLASSES, rows, attack, seeds, **changes)


def shifted(given: Task, size: float = 0.07) -> Tensor:
    """Images for the adversarial rows that any reader can compute: each value up or down in turn."""
    images = given.images[given.rows]
    signs = 1 - 2 * (torch.arange(given.images[0].numel()) % 2).view(images.shape[1:])
    return (images + size * signs).clamp(0, 1)


def log_probabilities(model: nn.Module, images: Tensor, weight: Array | None = None) -> Array:
    """Of the linear model, in float64."""
    layer = model[1]  # type: ignore[index]
    weight = layer.weight.detach().double().numpy() if weight is None else weight
    logits = images.double().flatten(1).numpy() @ weight.T + layer.bias.detach().double().numpy()
    result: Array = log_softmax(logits, axis=1)
    return result


class Counting(nn.Module):
    """Counts forward passes (not images) by mode; the passes' sizes are kept."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.passes: dict[str, list[int]] = {"train": [], "eval": []}

    def forward(self, images: Tensor) -> Tensor:
        self.passes["train" if self.training else "eval"].append(len(images))
        logits: Tensor = self.inner(images)
        return logits


def learning(model: nn.Module, **options: Any) -> Learner:
    learner = Learner(model, **options)
    learner.train()
    return learner
