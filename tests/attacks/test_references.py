"""The same start gives the same images as Foolbox and torchattacks; random starts give the same robust accuracy."""

import foolbox
import pytest
import torch
import torchattacks
from attack_cases import stripes
from torch import Tensor, nn

from robustaug.attacks import FGSM, PGD, ThreatModel

Samples = tuple[Tensor, Tensor]


def foolbox_images(
    attack: object, model: nn.Module, samples: Samples, eps: float, targets: Tensor | None = None
) -> Tensor:
    images, labels = samples
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    criterion = foolbox.criteria.Misclassification(labels)
    if targets is not None:
        criterion = foolbox.criteria.TargetedMisclassification(targets)
    return attack.run(wrapped, images, criterion, epsilon=eps)  # type: ignore[attr-defined]


def assert_same_images(ours: Tensor, theirs: Tensor) -> None:
    """Equal to float32 rounding. Where a gradient value is a rounding error away from 0 its sign is not defined: such
    values may differ, and must be rarer than one in ten thousand."""
    assert ((ours - theirs).abs() > 2e-6).float().mean() < 1e-4


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.03), ("l2", 0.8)])
def test_equal_to_foolbox_from_the_same_start(
    network: nn.Module, samples: Samples, norm: str, eps: float, targeted: bool
) -> None:
    images, labels = samples
    targets = (labels + 1) % 5 if targeted else None
    reference_class = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD
    reference = reference_class(abs_stepsize=eps / 5, steps=6, random_start=False)
    attack = PGD(ThreatModel(norm, eps), steps=6, step_size=eps / 5, random_start=False)
    ours = attack(network, images, labels, targets=targets).images
    assert_same_images(ours, foolbox_images(reference, network, samples, eps, targets))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.03), ("l2", 0.8)])
def test_equal_to_torchattacks_from_the_same_start(network: nn.Module, samples: Samples, norm: str, eps: float) -> None:
    images, labels = samples
    reference_class = torchattacks.PGD if norm == "linf" else torchattacks.PGDL2
    reference = reference_class(network, eps=eps, alpha=eps / 5, steps=6, random_start=False)
    if norm == "l2":
        reference.eps_for_division = 0  # theirs adds 1e-10 to a length that for a mean loss can be about as small
    ours = PGD(ThreatModel(norm, eps), steps=6, step_size=eps / 5, random_start=False)(network, images, labels)
    assert_same_images(ours.images, reference(images, labels))


def test_fgsm_equal_to_both(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    ours = FGSM(ThreatModel("linf", 0.03))(network, images, labels).images
    assert_same_images(ours, torchattacks.FGSM(network, eps=0.03)(images, labels))
    reference = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    assert_same_images(ours, foolbox_images(reference, network, samples, 0.03))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.037), ("l2", 0.62)])
def test_robust_accuracy_within_half_a_point_from_random_starts(network: nn.Module, norm: str, eps: float) -> None:
    """3,000 samples: over several seeds, each library's own accuracies lay within 0.3 points of each other."""
    images, labels = stripes(3000, seed=5)
    ours = 1 - PGD(ThreatModel(norm, eps), steps=20, step_size=eps / 8)(network, images, labels).success.float().mean()
    reference_class = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD
    torch.manual_seed(0)
    reference = reference_class(abs_stepsize=eps / 8, steps=20, random_start=True)
    theirs_images = foolbox_images(reference, network, (images, labels), eps)
    with torch.no_grad():
        theirs = (network(theirs_images).argmax(1) == labels).float().mean()
    assert 0.1 < ours < 0.98  # an accuracy at either end would agree with anything
    assert abs(ours - theirs) <= 0.005
    if norm == "linf":  # for l2 torchattacks draws its starts from another distribution
        third = torchattacks.PGD(network, eps=eps, alpha=eps / 8, steps=20, random_start=True)(images, labels)
        with torch.no_grad():
            assert abs(ours - (network(third).argmax(1) == labels).float().mean()) <= 0.005
