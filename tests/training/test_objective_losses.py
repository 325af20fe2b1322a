"""The outer losses against the papers' formulas in numpy, their gradients against differences, and passes counted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from objective_cases import CLASSES, Array, Counting, learning, linear, log_probabilities, shifted, task
from torch import Tensor, nn
from training_cases import network

from robustaug.training.objectives import (
    MART,
    TRADES,
    AdversarialTraining,
    AuxiliaryNorms,
    Free,
    NoiseFGSM,
    Objective,
    RandomStartFGSM,
    Task,
    WeightPerturbation,
)


def adversarial_training(model: nn.Module, given: Task, images: Tensor, weight: Array | None = None) -> float:
    mixed = given.images.clone()
    mixed[given.rows] = images
    rows = log_probabilities(model, mixed, weight)
    return float(-rows[np.arange(len(rows)), given.labels.numpy()].mean())


def trades(model: nn.Module, given: Task, images: Tensor, weight: Array | None = None, beta: float = 6.0) -> float:
    natural, attacked = log_probabilities(model, given.images, weight), log_probabilities(model, images, weight)
    total = -natural[np.arange(len(natural)), given.labels.numpy()].sum()
    for row, q in zip(given.rows.tolist(), attacked, strict=True):
        p = natural[row]
        total += beta * (np.exp(p) * (p - q)).sum()
    return float(total / len(natural))


def mart(model: nn.Module, given: Task, images: Tensor, weight: Array | None = None, beta: float = 5.0) -> float:
    natural, attacked = log_probabilities(model, given.images, weight), log_probabilities(model, images, weight)
    total = 0.0
    for row, label in enumerate(given.labels.tolist()):
        if row not in given.rows.tolist():
            total -= natural[row, label]
            continue
        p, q = natural[row], attacked[given.rows.tolist().index(row)]
        other = max(np.exp(q[k]) for k in range(CLASSES) if k != label)
        boosted = -q[label] - np.log(1.0001 - other)
        total += boosted + beta * (np.exp(p) * (p - q)).sum() * (1 - np.exp(p[label]))
    return float(total / len(natural))


CASES: list[tuple[Objective, Callable[..., float]]] = [
    (AdversarialTraining(), adversarial_training),
    (TRADES(), trades),
    (TRADES(beta=1.5), lambda *given: trades(*given, beta=1.5)),
    (MART(), mart),
    (MART(beta=2.5), lambda *given: mart(*given, beta=2.5)),
]


@pytest.mark.parametrize(("objective", "formula"), CASES)
@pytest.mark.parametrize("adversarial", [0, 3, 8])
def test_the_loss_is_the_formula(objective: Objective, formula: Callable[..., float], adversarial: int) -> None:
    model, given = linear(), task(adversarial=adversarial)
    images = shifted(given)
    terms = objective.terms(learning(model), given, images)
    assert terms.loss.dtype == torch.float32
    assert terms.loss.item() == pytest.approx(formula(model, given, images), rel=1e-5)
    # Logits for the running accuracy: of the images that the loss is about, in the labels' order, without a graph.
    with torch.no_grad():
        shown = model(torch.cat([given.images[: 8 - adversarial], images]))
    assert torch.allclose(terms.logits, shown, atol=1e-6)
    assert not terms.logits.requires_grad


@pytest.mark.parametrize(("objective", "formula"), CASES)
def test_the_gradient_is_that_of_the_formula(objective: Objective, formula: Callable[..., float]) -> None:
    """Of the whole formula: neither the natural probabilities nor MART's weights are constants."""
    model, given = linear(), task()
    images = shifted(given)
    objective.gradients(learning(model), given, images)
    gradient = model[1].weight.grad.double().numpy()  # type: ignore[index,union-attr,operator]
    weight = model[1].weight.detach().double().numpy()  # type: ignore[index,union-attr]
    for seed in range(3):
        way = np.random.default_rng(seed).standard_normal(weight.shape)
        slope = (
            formula(model, given, images, weight + 1e-4 * way) - formula(model, given, images, weight - 1e-4 * way)
        ) / 2e-4
        assert (gradient * way).sum() == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_label_smoothing_is_in_the_cross_entropies() -> None:
    """CE with smoothing s = (1 - s) CE + s times the mean over classes of -log p."""
    model, given = linear(), task()
    images, learner = shifted(given), learning(model)
    natural = log_probabilities(model, given.images)
    mixed = np.concatenate([natural[:5], log_probabilities(model, images)])
    labels = given.labels.numpy()
    for kind, shown in ((AdversarialTraining, mixed), (TRADES, natural), (MART, mixed)):
        plain = kind().terms(learner, given, images).loss.item()
        smoothed = kind(label_smoothing=0.2).terms(learner, given, images).loss.item()
        change = 0.2 * (-shown.mean(1) + shown[np.arange(8), labels]).mean()
        assert smoothed - plain == pytest.approx(change, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("objective", "eval_passes", "train_passes"),
    [
        (AdversarialTraining(), [16, 16], [8]),  # PGD takes two steps; an attack pads a batch of three to 16
        (RandomStartFGSM(), [16], [8]),
        (NoiseFGSM(), [16], [8]),
        (Free(), [], [8]),
        (TRADES(), [16, 16, 16], [8, 3]),  # the natural pass once inside and once outside
        (MART(), [16, 16], [8, 3]),
        (WeightPerturbation(AdversarialTraining()), [16, 16], [8, 8]),
        (WeightPerturbation(TRADES()), [16, 16, 16], [8, 3, 8, 3]),
    ],
)
def test_passes_are_counted(objective: Objective, eval_passes: list[int], train_passes: list[int]) -> None:
    model = Counting(linear())
    learner, given = learning(model), task()
    objective.gradients(learner, given, objective.perturbed(learner, given))
    assert model.passes == {"eval": eval_passes, "train": train_passes}


def test_advprop_sends_the_kinds_through_separately() -> None:
    model = Counting(network())
    learner = learning(model, auxiliary=AuxiliaryNorms(model))
    given = replace(task(), labels=torch.arange(8) % 2)
    AdversarialTraining().terms(learner, given, shifted(given))
    assert model.passes["train"] == [5, 3]


@pytest.mark.parametrize("objective", [each for each, _ in CASES] + [Free(), NoiseFGSM(), RandomStartFGSM()])
def test_without_adversarial_rows_all_are_plain_cross_entropy(objective: Objective) -> None:
    model, given = linear(), task(adversarial=0)
    learner = learning(model)
    adversarial = objective.perturbed(learner, given)
    assert adversarial.shape == (0, 3, 8, 8)
    terms = objective.gradients(learner, given, adversarial)
    assert terms.loss.item() == pytest.approx(adversarial_training(model, given, adversarial), rel=1e-5)
    assert model[1].weight.grad is not None  # type: ignore[index,union-attr]


def test_bfloat16_gives_float32_losses() -> None:
    model: Any = linear()
    for objective, formula in CASES:
        given = task()
        images = shifted(given)
        terms = objective.terms(learning(model, dtype=torch.bfloat16), given, images)
        assert terms.loss.dtype == terms.logits.dtype == torch.float32
        assert terms.loss.item() == pytest.approx(formula(model, given, images), rel=0.03)
