"""Models whose worst case is known, and a small network that has been trained."""

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """Two classes, logits (0, w.x + b): the worst case in a ball of radius eps is w.x + b -/+ eps * dual norm of w."""

    def __init__(self, weight: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


def small_network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(256, 32),
            nn.ReLU(),
            nn.Linear(32, 5),
        )


def stripes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images whose class is the place of a brighter bar, with noise: learnt in seconds, broken by small changes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (n,), generator=generator)
    images = 0.35 + 0.3 * torch.rand(n, 3, 16, 16, generator=generator)
    for i, label in enumerate(labels.tolist()):
        images[i, :, 3 * label : 3 * label + 3] += 0.12
    return images, labels
