"""Weight perturbation in closed form on a linear model, weights that come back, and statistics that do not move."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_cases import learning, linear, shifted, task
from torch import Tensor, nn
from training_cases import THREAT, Planted, composite, network, run

from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.training.objectives import (
    AdversarialTraining,
    AuxiliaryNorms,
    Free,
    Learner,
    Objective,
    Task,
    Terms,
    WeightPerturbation,
)


def gradient_of(weight: Tensor, bias: Tensor, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of the mean cross-entropy of a linear model: mean of (softmax - onehot) x images."""
    error = (x @ weight.T + bias).softmax(1) - nn.functional.one_hot(labels, len(weight))
    return error.T @ x / len(x), error.mean(0)


@dataclass(frozen=True)
class Looking(AdversarialTraining):
    """Keeps the weights that each loss is taken at."""

    seen: tuple[list[Tensor], ...] = ([],)

    def terms(self, learner: Learner, task: Task, adversarial: Tensor) -> Terms:
        self.seen[0].append(next(learner.model.parameters()).detach().clone())
        return super().terms(learner, task, adversarial)


@pytest.mark.parametrize("gamma", [0.005, 0.3])
def test_the_perturbation_in_closed_form(gamma: float) -> None:
    """v = gamma |W| g / |g|: the weights alone, along the gradient at W."""
    model, given, looking = linear(), task(), Looking(seen=([],))
    weight, bias = model[1].weight.detach().clone(), model[1].bias.detach().clone()  # type: ignore[index,union-attr,operator]
    images = shifted(given)
    WeightPerturbation(looking, gamma).gradients(learning(model), given, images)
    x = given.images.clone()
    x[given.rows] = images
    gradient, _ = gradient_of(weight, bias, x.flatten(1), given.labels)
    move = gamma * weight.norm() * gradient / gradient.norm()
    assert torch.equal(looking.seen[0][0], weight)
    assert torch.allclose(looking.seen[0][1], weight + move, atol=1e-7)
    # The gradient that stays is that at W + v, and nothing of the first pass is added to it.
    expected = gradient_of(weight + move, bias, x.flatten(1), given.labels)
    assert torch.allclose(model[1].weight.grad, expected[0], atol=1e-6)  # type: ignore[index,union-attr,arg-type]
    assert torch.allclose(model[1].bias.grad, expected[1], atol=1e-6)  # type: ignore[index,union-attr,arg-type]
    assert torch.equal(model[1].weight, weight)  # type: ignore[index,union-attr,arg-type]


def test_a_step_of_sgd_by_hand(tmp_path: Path) -> None:
    """w <- w - rate (gradient at w + v, and the decay of w), with Nesterov's first step of 1.9 times that."""
    model: Any = linear(classes=2)
    weight, bias = model[1].weight.detach().clone(), model[1].bias.detach().clone()
    mix = Mix(0.5, 0, 0.5)
    attack = Planted(THREAT, make=lambda images, labels: (images + 0.05).clamp(0, 1))
    run(
        tmp_path, model, mix, steps=1, optimizer="sgd", warmup=1.0, learning_rate=0.5, weight_decay=0.1, awp=0.2,
        attack=attack,
    )  # fmt: skip
    batch = composite(mix).batch(0, 8)
    x = batch.images.clone()
    x[4:] = (x[4:] + 0.05).clamp(0, 1)
    gradient, _ = gradient_of(weight, bias, x.flatten(1), batch.labels)
    there = weight + 0.2 * weight.norm() * gradient / gradient.norm()
    slope, slope_bias = gradient_of(there, bias, x.flatten(1), batch.labels)
    assert torch.allclose(model[1].weight, weight - 0.5 * 1.9 * (slope + 0.1 * weight), atol=1e-6)
    assert torch.allclose(model[1].bias, bias - 0.5 * 1.9 * slope_bias, atol=1e-6)


def test_layers_move_by_their_own_size_and_norms_and_biases_not_at_all() -> None:
    model: Any = network(dropout=0.0)
    before = {name: value.clone() for name, value in model.named_parameters()}
    moved: list[dict[str, Tensor]] = []
    model.register_forward_pre_hook(
        lambda m, _: moved.append({n: p.detach() - before[n] for n, p in m.named_parameters()})
    )
    given = task(adversarial=0)
    given = replace(given, labels=given.labels % 2)
    WeightPerturbation(AdversarialTraining(), 0.01).gradients(learning(model), given, given.images[:0])
    sizes = {
        name: (move.norm() / before[name].norm()).item() for name, move in moved[1].items() if before[name].dim() > 1
    }
    assert sizes == {"0.weight": pytest.approx(0.01, rel=1e-4), "5.weight": pytest.approx(0.01, rel=1e-4)}
    assert all(not move.any() for name, move in moved[1].items() if before[name].dim() == 1)


@pytest.mark.parametrize("advprop", [False, True])
def test_statistics_see_the_second_pass_alone_and_both_draw_the_same_dropout(advprop: bool) -> None:
    model: Any = network()
    twin: Any = network()
    kept: list[Tensor] = []
    model[4].register_forward_hook(lambda module, _, out: kept.append(out != 0))
    learner = learning(model, auxiliary=AuxiliaryNorms(model) if advprop else None)
    twin_learner = learning(twin, auxiliary=AuxiliaryNorms(twin) if advprop else None)
    given = task()
    given = replace(given, labels=given.labels % 2)
    images = shifted(given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        WeightPerturbation(AdversarialTraining(), 1e-9).gradients(learner, given, images)
        after = torch.get_rng_state()
        torch.manual_seed(3)
        AdversarialTraining().gradients(twin_learner, given, images)
        assert torch.equal(after, torch.get_rng_state())
    state = twin_learner.trainable().state_dict()
    for name, value in learner.trainable().state_dict().items():
        assert torch.allclose(value, state[name], atol=1e-6), name
    half = len(kept) // 2
    assert all(torch.equal(a, b) for a, b in zip(kept[:half], kept[half:], strict=True))


@pytest.mark.parametrize("inner", [AdversarialTraining(), Free()])
def test_weights_come_back_after_an_exception(inner: Objective) -> None:
    model: Any = network()
    calls = [0]

    def fail(*_: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt

    before = [value.clone() for value in model.parameters()]
    given, learner = task(), learning(model)
    given = replace(given, labels=given.labels % 2)
    perturbation = WeightPerturbation(inner, 0.1)
    adversarial = perturbation.perturbed(learner, given)
    model[5].register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        perturbation.gradients(learner, given, adversarial)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_a_layer_without_a_gradient_stays() -> None:
    model: Any = linear()
    with torch.no_grad():
        model[1].weight.zero_()
    given = task(adversarial=0)
    black = replace(given, images=torch.zeros_like(given.images))
    looking = Looking(seen=([],))
    WeightPerturbation(looking, 0.1).gradients(learning(model), black, black.images[:0])
    assert not looking.seen[0][1].any()


def test_a_gradient_too_small_to_measure_moves_nothing() -> None:
    """1e-30 squared is 0 in float32, and the gradient divided by a norm of 0 would be infinite."""
    model: Any = linear()
    given, looking = task(adversarial=0), Looking(seen=([],))
    faint = replace(given, images=given.images * 1e-30)
    WeightPerturbation(looking, 0.1).gradients(learning(model), faint, faint.images[:0])
    assert torch.equal(looking.seen[0][0], looking.seen[0][1])


@pytest.mark.parametrize("gamma", [-0.1, 1.0, float("nan"), float("inf")])
def test_gamma_out_of_range(gamma: float) -> None:
    with pytest.raises(RobustAugError, match="it is a share of the weights' size, 0 to below 1"):
        WeightPerturbation(AdversarialTraining(), gamma)
