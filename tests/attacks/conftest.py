"""A small network that has been trained (smooth labels keep its gradients well above rounding), and samples for it."""

import pytest
import torch
from attack_cases import small_network, stripes
from torch import Tensor, nn


@pytest.fixture(scope="session")
def network() -> nn.Module:
    model = small_network()
    images, labels = stripes(512, seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for step in range(150):
            rows = slice(64 * (step % 8), 64 * (step % 8) + 64)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows], label_smoothing=0.2).backward()
            optimizer.step()
    optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="session")
def samples() -> tuple[Tensor, Tensor]:
    return stripes(200, seed=2)
