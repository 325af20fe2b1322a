"""A model made here, handed to other libraries as it is: they reach the robust accuracy known in closed form."""

import foolbox
import pyautoattack
import pytest
import torch
import torchattacks
from torch import Tensor, nn

from robustaug.models import ImageClassifier

EPS = 0.03


@pytest.fixture(scope="module")
def linear() -> ImageClassifier:
    """Two classes, normalised inside."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    return ImageClassifier(backbone, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return 0.1 + 0.8 * torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))  # no ball meets the bounds


def robust(model: ImageClassifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (the model's own predictions), and whether each survives: its margin exceeds eps times the weights' l1."""
    weight = model.backbone[1].weight.detach()  # type: ignore[index]
    slope = ((weight[1] - weight[0]).view(3, 8, 8) / model.std[0]).abs().sum()
    with torch.no_grad():
        logits = model(images)
    return logits.argmax(1), (logits[:, 1] - logits[:, 0]).abs() > EPS * slope


def by_foolbox(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return foolbox.attacks.LinfPGD(rel_stepsize=0.1)(
        foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=EPS
    )[1]


def by_torchattacks(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return torchattacks.PGD(model, eps=EPS, alpha=EPS / 4, steps=20)(images, labels)


def by_pyautoattack(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    attack = pyautoattack.AutoAttack(model, norm="Linf", eps=EPS, version="custom", attacks=["apgd-ce"], seed=0)
    return attack.run_standard_evaluation(images, labels)[0]


@pytest.mark.parametrize("attack", [by_foolbox, by_torchattacks, by_pyautoattack])
def test_the_known_robust_accuracy(attack, linear: ImageClassifier, images: Tensor) -> None:
    labels, survives = robust(linear, images)
    assert 0.2 < survives.float().mean() < 0.8  # neither all nor none
    adversarial = attack(linear, images, labels)
    assert (adversarial - images).abs().max() <= EPS + 1e-6
    with torch.no_grad():
        assert torch.equal(linear(adversarial).argmax(1) == labels, survives)
