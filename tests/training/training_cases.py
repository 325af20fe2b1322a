"""A tiny classifier, a tiny composite data set, and attacks whose images are known beforehand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustaug.attacks import PGD, Attack, ThreatModel
from robustaug.attacks.attack import Goal
from robustaug.attacks.ball import Ball
from robustaug.attacks.oracle import Oracle
from robustaug.data import CompositeDataset, ImageSet, Mix, VariantSet
from robustaug.files import read_jsonl
from robustaug.randomness import uniform
from robustaug.training import TrainingResult, TrainingSettings, train

THREAT = ThreatModel("linf", 0.1)
SIZE = 8


def squares(n: int, seed: int = 0) -> ImageSet:
    """Noisy dark and bright images, the classes in turn."""
    labels = torch.arange(n) % 2
    noise = uniform(torch.arange(n) + 1000 * seed, (3, SIZE, SIZE))
    images = ((0.35 * noise + 0.3 * labels.view(-1, 1, 1, 1)) * 255).to(torch.uint8)
    keys = tuple(f"{seed}/{number}" for number in range(n))
    return ImageSet(images, labels, keys, keys, ("dark", "bright"))


def network(seed: int = 0, dropout: float = 0.25) -> nn.Module:
    """A convolution, a batch norm (it holds statistics), dropout (it is random), a dense layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(64, 2)
        )


def composite(mix: Mix, n: int = 24, seed: int = 0) -> CompositeDataset:
    """``n`` originals and one variant of each of the first four, its negative."""
    originals = squares(n)
    few = originals.select(range(4))
    variants = VariantSet(255 - few.images, few.labels, few.keys, tuple({"style": "negative"} for _ in range(4)))
    return CompositeDataset(originals, variants if mix.stylised else None, mix, seed)


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"steps": 8, "batch_size": 8, "validate_every": 2, "learning_rate": 0.01, **changes})


def pgd() -> PGD:
    return PGD(THREAT, steps=2)


@dataclass(frozen=True)
class Planted(Attack):
    """Returns what ``make`` makes of (images, labels); never breaks anything it is not told to."""

    make: Callable[[Tensor, Tensor], Tensor] = field(default=lambda images, labels: images)
    look: Callable[[Oracle], None] = field(default=lambda oracle: None)

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        self.look(oracle)
        return self.make(ball.center, goal.labels)

    def parameters(self) -> dict[str, Any]:
        return {"attack": "Planted"}


def run(folder: Path, model: nn.Module, mix: Mix, **changes: Any) -> TrainingResult:
    """Train with everything tiny; ``changes`` go to the settings, but for ``attack``, ``seed`` and ``data``."""
    attack, seed = changes.pop("attack", pgd()), changes.pop("seed", 5)
    data = changes.pop("data", None) or composite(mix)
    folder.mkdir(parents=True, exist_ok=True)
    return train(
        model, data, squares(10, seed=1), attack=attack, settings=settings(**changes), folder=folder, seed=seed
    )


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows of the history, without their times."""
    times = ("seconds", "images_per_second")
    return [{key: row[key] for key in row if key not in times} for row in read_jsonl(folder / "history.jsonl")]
