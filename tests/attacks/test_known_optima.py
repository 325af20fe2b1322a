"""On a linear model the best attack is known in closed form: the attacks must find it."""

import pytest
import torch
from attack_cases import Linear
from hypothesis import given, settings
from hypothesis import strategies as st

from robustaug.attacks import FGSM, PGD, ThreatModel

SHAPE = (3, 5, 5)


def linear_case(seed: int) -> tuple[Linear, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    model = Linear(torch.randn(SHAPE, generator=generator), bias=0.1)
    images = 0.4 + 0.2 * torch.rand(20, *SHAPE, generator=generator)  # far enough from the bounds for eps up to 0.3
    labels = torch.randint(2, (20,), generator=generator)
    return model, images, labels


def worst_score(model: Linear, images: torch.Tensor, labels: torch.Tensor, norm: str, eps: float) -> torch.Tensor:
    dual = model.weight.abs().sum() if norm == "linf" else model.weight.norm()
    score = model(images)[:, 1]
    return score + torch.where(labels == 1, -1.0, 1.0) * eps * dual


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "pgd without random start"])
@given(seed=st.integers(0, 10**6), eps=st.floats(0.001, 0.3))
@settings(max_examples=15, deadline=None)
def test_reaches_the_optimum_of_a_linear_model(norm: str, name: str, seed: int, eps: float) -> None:
    model, images, labels = linear_case(seed)
    threat = ThreatModel(norm, eps)
    attack = (
        FGSM(threat) if name == "fgsm" else PGD(threat, steps=30, step_size=eps, random_start="without" not in name)
    )
    result = attack(model, images, labels)
    expected = worst_score(model, images, labels, norm, eps)
    with torch.no_grad():
        torch.testing.assert_close(model(result.images)[:, 1], expected, atol=2e-4, rtol=1e-4)
    decided = expected.abs() > 1e-3
    assert torch.equal(result.success[decided], ((expected > 0).long() != labels)[decided])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_targeted_attack_reaches_the_same_optimum_on_two_classes(norm: str) -> None:
    model, images, labels = linear_case(0)
    threat = ThreatModel(norm, 0.05)
    targeted = PGD(threat, steps=30, step_size=0.05)(model, images, labels, targets=1 - labels)
    expected = worst_score(model, images, labels, norm, 0.05)
    with torch.no_grad():
        torch.testing.assert_close(model(targeted.images)[:, 1], expected, atol=2e-4, rtol=1e-4)
    assert torch.equal(targeted.success, targeted.predictions == 1 - labels)


def test_bounds_cut_the_ball() -> None:
    weight = torch.ones(SHAPE)
    model = Linear(weight, bias=-1.0)
    images = torch.full((1, *SHAPE), 0.02)  # only 0.02 of room below
    result = PGD(ThreatModel("linf", 0.1), steps=10)(model, images, torch.tensor([1]))
    assert torch.equal(result.images, torch.zeros_like(images))


def test_other_bounds_scale_everything() -> None:
    model, images, labels = linear_case(3)
    wide = Linear(model.weight.detach() / 255, bias=0.1)
    small = PGD(ThreatModel("linf", "8/255"), steps=5)(model, images, labels)
    large = PGD(ThreatModel("linf", 8, bounds=(0, 255)), steps=5)(wide, images * 255, labels)
    torch.testing.assert_close(small.images, large.images / 255, atol=1e-5, rtol=1e-5)


def test_per_sample_eps_gives_each_sample_its_own_radius() -> None:
    model, images, labels = linear_case(4)
    eps = torch.linspace(0, 0.3, 20)
    result = PGD(ThreatModel("linf", eps), steps=10)(model, images, labels)
    torch.testing.assert_close(result.distance, eps, atol=1e-6, rtol=0)
    assert torch.equal(result.images[0], images[0])
