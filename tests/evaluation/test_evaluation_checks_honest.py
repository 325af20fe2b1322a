"""No false alarm: networks trained on clean, PGD and TRADES images pass every check, in every norm; one with a fault
built in afterwards does not."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustaug.attacks import PGD, ThreatModel
from robustaug.data.imageset import ImageSet
from robustaug.evaluation import Protocol, Surrogate, check_arm, evaluate_arm

PROTOCOL = Protocol(
    samples=100, pgd_steps=20, pgd_restarts=2, noise_draws=3, curve_samples=30, curve_steps=10,
    transfer_samples=100,
)  # fmt: skip
THREATS = {"linf": ThreatModel("linf", 0.08), "l2": ThreatModel("l2", 0.6), "l1": ThreatModel("l1", 4.0)}
CLASSES, SIDE = 4, 8


def shapes(n: int, seed: int) -> ImageSet:
    """Four patterns, each moved by up to a pixel, in any colour and under noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = F.interpolate(torch.rand(CLASSES, 1, 4, 4, generator=torch.Generator().manual_seed(0)), (SIDE, SIDE))
    labels = torch.arange(n) % CLASSES
    moved = torch.stack(
        [
            pattern.roll(shift, (1, 2))
            for pattern, shift in zip(
                patterns[labels], torch.randint(-1, 2, (n, 2), generator=generator).tolist(), strict=True
            )
        ]
    )
    colour = 0.4 + 0.6 * torch.rand(n, 3, 1, 1, generator=generator)
    images = (moved * colour + 0.1 * torch.randn(n, 3, SIDE, SIDE, generator=generator)).clamp(0, 1)
    keys = tuple(f"{seed}/{i}" for i in range(n))
    return ImageSet((images * 255).round().byte(), labels, keys, keys, tuple("abcd"))


def pgd_loss(model, images, labels, threat):
    attacked = PGD(threat, steps=3).perturb(model, images, labels)
    return F.cross_entropy(model(attacked), labels)


def trades_loss(model, images, labels, threat):
    """TRADES (Zhang et al. 2019, equation 5) with a beta of 3; the inner attack climbs the cross-entropy."""
    attacked = PGD(threat, steps=3).perturb(model, images, labels)
    clean = model(images)
    apart = F.kl_div(model(attacked).log_softmax(1), clean.softmax(1), reduction="batchmean")
    return F.cross_entropy(clean, labels) + 3 * apart


LOSSES = {
    "clean": lambda model, images, labels, threat: F.cross_entropy(model(images), labels),
    "pgd": pgd_loss,
    "trades": trades_loss,
}


@functools.cache
def trained(kind: str, norm: str, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, stride=2, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * 16, CLASSES),
        )
        data = shapes(512, 100 + seed)
        images, labels = data.float_images(), data.labels
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(45):
            rows = torch.randperm(512)[:64]
            loss = LOSSES[kind](model, images[rows], labels[rows], THREATS[norm])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("kind", LOSSES)
def test_no_false_alarm(kind, norm):
    model, test = trained(kind, norm, 0), shapes(160, 7)
    surrogates = {other: Surrogate(trained(other, norm, 0)) for other in LOSSES if other != kind}
    evaluation = evaluate_arm(model, test, threat=THREATS[norm], protocol=PROTOCOL, surrogates=surrogates)
    assert evaluation.metrics["clean"].value > 0.9
    if kind != "clean":  # there is robustness to be doubted
        assert evaluation.metrics["pgd"].value > 0.5
    rows = check_arm(kind, model, test, evaluation)
    assert [row.to_dict() for row in rows if not row.passed] == []


FAULTS = {
    "probabilities": (lambda logits: logits.softmax(1), "the model returns logits, not probabilities"),
    "saturated": (lambda logits: 1e4 * logits, "input gradients are informative"),
    "random": (lambda logits: logits + torch.randn_like(logits), "predictions are repeatable"),
    "batch": (lambda logits: logits - logits.mean(0), "predictions do not depend on the batch"),
}


class Faulty(nn.Module):
    def __init__(self, inner, before=None, after=None):
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, images):
        logits = self.inner(images if self.before is None else self.before(images))
        return logits if self.after is None else self.after(logits)


@pytest.mark.parametrize(("after", "name"), FAULTS.values(), ids=FAULTS)
def test_a_fault_behind_a_robust_network(after, name):
    model, test = Faulty(trained("pgd", "linf", 0), after=after), shapes(160, 7)
    evaluation = evaluate_arm(model, test, threat=THREATS["linf"], protocol=PROTOCOL)
    assert name in {row.name for row in check_arm("a", model, test, evaluation) if not row.passed}


def test_a_clean_network_that_hides_behind_eight_levels():
    """Robust by PGD, and of none that holds: the list says so in several ways."""
    clean, test = trained("clean", "linf", 0), shapes(160, 7)
    model = Faulty(clean, before=lambda images: (images * 7).round() / 7)
    honest = evaluate_arm(clean, test, threat=THREATS["linf"], protocol=PROTOCOL)
    hidden = evaluate_arm(model, test, threat=THREATS["linf"], protocol=PROTOCOL)
    assert hidden.metrics["pgd"].value > honest.metrics["pgd"].value + 0.1
    names = {row.name for row in check_arm("a", model, test, hidden) if not row.passed}
    assert names >= {
        "input gradients are informative",
        "input gradients agree with finite differences",
        "accuracy falls to chance as eps grows",
    }
