"""An attack behind the interface of all augmenters."""

import torch
from torch import nn

from robustaug.attacks import PGD, AdversarialAugmenter, ThreatModel
from robustaug.data.augmenter import Augmenter


def linear() -> nn.Module:
    """Two classes: brighter or darker than the middle."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([torch.full((48,), -1.0), torch.ones(48)]))
    return model


def test_a_row_is_the_attack_from_its_own_seed() -> None:
    model, attack = linear(), PGD(ThreatModel("linf", 0.1), steps=3)
    augmenter: Augmenter = AdversarialAugmenter(attack, model)
    assert (augmenter.kind, augmenter.name) == ("adversarial", "PGD")
    images, labels, seeds = torch.full((6, 3, 4, 4), 0.5), torch.tensor([0, 1] * 3), torch.arange(6)
    result = augmenter.augment(images, labels, seeds)
    # The optimum of a linear model: every value moved by eps, against the class.
    expected = images + torch.where(labels == 0, 0.1, -0.1)[:, None, None, None]
    torch.testing.assert_close(result, expected)
    order = torch.tensor([5, 2, 0])
    assert torch.equal(augmenter.augment(images[order], labels[order], seeds[order]), result[order])
    row = augmenter.drawn(4)
    assert (row["attack"], row["norm"], row["eps"], row["seed"]) == ("PGD", "linf", 0.1, 4)


def test_other_weights_are_another_augmenter() -> None:
    model, attack = linear(), PGD(ThreatModel("linf", 0.1), steps=3)
    before = AdversarialAugmenter(attack, model).describe()
    with torch.no_grad():
        model[1].weight[0, 0] += 1e-6
    assert AdversarialAugmenter(attack, model).describe()["model"] != before["model"]
    assert AdversarialAugmenter(PGD(ThreatModel("linf", 0.2)), linear()).describe() != before
