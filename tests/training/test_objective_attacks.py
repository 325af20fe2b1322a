"""The inner maximisations: exact values, the right mode, and nothing left behind."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from objective_cases import learning, linear, task
from torch import Tensor, nn
from torch.nn import functional as F
from training_cases import THREAT, Planted, network

from robustaug.attacks import FGSM, PGD, ThreatModel
from robustaug.attacks.oracle import Oracle
from robustaug.errors import RobustAugError
from robustaug.randomness import fold, normal, uniform
from robustaug.training.objectives import (
    MART,
    TRADES,
    AdversarialTraining,
    AuxiliaryNorms,
    NoiseFGSM,
    Objective,
    RandomStartFGSM,
    Task,
)

EPS = 0.1
EVERY = [AdversarialTraining(), RandomStartFGSM(), NoiseFGSM(), TRADES(), MART()]


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(images), labels, reduction="sum"), images)[0]


def start(given: Task, size: float) -> Tensor:
    """Uniform noise of the seeds, as every attack here draws it."""
    return (2 * uniform(fold(given.seeds, 0), (3, 8, 8)) - 1) * EPS * size


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_n_fgsm_is_noise_and_one_step(noise: float) -> None:
    model, given = linear(), task()
    found = NoiseFGSM(noise=noise).perturbed(learning(model), given)
    noisy = (given.images[given.rows] + start(given, noise)).clamp(0, 1)
    signs = input_gradient(model, noisy, given.labels[given.rows]).sign()
    assert torch.allclose(found, (noisy + EPS * signs).clamp(0, 1), atol=1e-7)


def test_n_fgsm_leaves_the_ball_but_not_the_bounds() -> None:
    given = replace(task(n=24, adversarial=24), attack=PGD(ThreatModel("linf", EPS)))
    found = NoiseFGSM().perturbed(learning(linear()), given)
    length = (found - given.images).abs().amax()
    assert 2.5 * EPS < length <= 3 * EPS + 1e-6
    assert found.min() == 0  # dark images: clipped
    assert found.max() <= 1


def test_rs_fgsm_is_a_start_in_the_ball_and_a_step_of_a_quarter_more_than_eps() -> None:
    model, given = linear(), task()
    x = given.images[given.rows]
    begun = (x + start(given, 1.0)).clamp(0, 1)
    signs = input_gradient(model, begun, given.labels[given.rows]).sign()
    expected = (x + (begun - x + 1.25 * EPS * signs).clamp(-EPS, EPS)).clamp(0, 1)
    assert torch.allclose(RandomStartFGSM().perturbed(learning(model), given), expected, atol=1e-6)


@pytest.mark.parametrize("eps", [0.0, 0.03])
def test_single_steps_follow_the_warmed_up_eps(eps: float) -> None:
    given = task(attack=PGD(ThreatModel("linf", eps), steps=2))
    for objective, reach in ((RandomStartFGSM(), 1), (NoiseFGSM(), 3)):
        moved = (objective.perturbed(learning(linear()), given) - given.images[given.rows]).abs().amax()
        assert 0.9 * reach * eps <= moved <= reach * eps + 1e-6


@pytest.mark.parametrize("step_size", [None, 0.03])
def test_trades_climbs_the_divergence_from_a_start_beside_the_image(step_size: float | None) -> None:
    model, given = linear(), task(attack=PGD(THREAT, steps=3, step_size=step_size))
    x = given.images[given.rows]
    natural = model(x).softmax(1).detach()
    images = (x + 0.001 * normal(given.seeds, (3, 8, 8))).clamp(0, 1)
    for _ in range(3):
        images.requires_grad_()
        divergence = (natural * (natural.log() - model(images).log_softmax(1))).sum()
        gradient = torch.autograd.grad(divergence, images)[0]
        images = images.detach() + (step_size or 2.5 * EPS / 3) * gradient.sign()
        images = torch.minimum(torch.maximum(images, x - EPS), x + EPS).clamp(0, 1)
    found = TRADES().perturbed(learning(model), given)
    assert torch.allclose(found, images, atol=1e-6)


def test_trades_needs_a_pgd_of_one_run() -> None:
    for attack in (FGSM(THREAT), PGD(THREAT, restarts=2), PGD(THREAT, early_exit=True)):
        with pytest.raises(RobustAugError, match="give it a PGD without restarts and early_exit") as caught:
            TRADES().check(attack)
        assert "\n" not in str(caught.value)
    TRADES().check(PGD(THREAT))


@pytest.mark.parametrize("objective", EVERY)
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("advprop", [False, True])
def test_the_model_is_as_before(objective: Objective, mode: Any, advprop: bool) -> None:
    model: Any = network()
    model[5].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    learner = learning(model, attack_mode=mode, auxiliary=AuxiliaryNorms(model) if advprop else None)
    model[4].eval()  # a layer that does not train inside a model that does
    before = {name: value.clone() for name, value in learner.trainable().state_dict().items()}
    modules, random = [*model.modules()], torch.get_rng_state()
    given = replace(task(), labels=torch.arange(8) % 2)
    objective.perturbed(learner, given)
    after = learner.trainable().state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [*model.modules()] == modules
    assert [module.training for module in model] == [True, True, True, True, False, True]
    assert [p.requires_grad for p in model.parameters()] == [True] * 5 + [False]
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_model_is_as_before_after_an_exception(mode: Any) -> None:
    def fail(oracle: Oracle) -> None:
        oracle.gradient(torch.rand(16, 3, 8, 8), lambda logits: logits[:, 0])
        raise KeyboardInterrupt

    model: Any = network()
    learner = learning(model, attack_mode=mode, auxiliary=AuxiliaryNorms(model))
    before, norm = {name: value.clone() for name, value in model.state_dict().items()}, model[1]
    with pytest.raises(KeyboardInterrupt):
        AdversarialTraining().perturbed(learner, task(attack=Planted(THREAT, look=fail)))
    assert model[1] is norm
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(module.training for module in model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_mode_of_the_attack_is_the_one_asked_for() -> None:
    """In training mode, a layer that is frozen stays so, and batch norms use the statistics of what they are given."""
    met: list[list[bool]] = []
    scales: list[Tensor] = []

    def look(oracle: Oracle) -> None:
        met.append([module.training for module in oracle.model])  # type: ignore[union-attr]
        images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        oracle.model[1].register_forward_hook(lambda module, _, out: scales.append(out.std((0, 2, 3))))  # type: ignore[index]
        oracle.gradient(images, lambda logits: logits[:, 0])

    for mode in ("eval", "train"):
        model: Any = network()
        learner = learning(model, attack_mode=mode)
        model[4].eval()
        AdversarialTraining().perturbed(learner, task(attack=Planted(THREAT, look=look)))
    assert met == [[False] * 6, [True, True, True, True, False, True]]
    assert not torch.allclose(scales[0], torch.ones(4), atol=0.05)
    assert torch.allclose(scales[1], torch.ones(4), atol=0.05)
