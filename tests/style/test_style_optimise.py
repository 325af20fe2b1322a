"""The optimisers against closed forms and references, and images that stop on their own."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustaug.style.optimise import LBFGS, LOOK_EVERY, minimise


@dataclass(frozen=True)
class Bowl:
    """``sum of weights * (x - goal)^power`` of each image; keeps a list of the batch sizes it was asked about."""

    goal: Tensor
    weights: Tensor
    power: int = 2
    asked: list[int] = field(default_factory=list)

    def __call__(self, images: Tensor) -> Tensor:
        self.asked.append(len(images))
        return (self.weights * (images - self.goal) ** self.power).flatten(1).sum(1)

    def __getitem__(self, rows: Tensor) -> "Bowl":
        return replace(self, goal=self.goal[rows], weights=self.weights[rows])


def bowl(
    n: int = 3, seed: int = 0, condition: float = 1.0, power: int = 2, low: float = 0.0, high: float = 1.0
) -> Bowl:
    generator = torch.Generator().manual_seed(seed)
    goal = low + (high - low) * torch.rand(n, 3, 4, 4, generator=generator)
    return Bowl(goal, condition ** torch.rand(n, 3, 4, 4, generator=generator), power)


def grey(n: int = 3) -> Tensor:
    return torch.full((n, 3, 4, 4), 0.5)


def test_adam_is_torchs_adam_with_a_cosine() -> None:
    objective, start, steps, rate = bowl(2, power=4), grey(2), 7, 0.02
    expected = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([expected], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        objective(expected).sum().backward()
        optimiser.step()
        schedule.step()
        expected.data.clamp_(0, 1)
    torch.testing.assert_close(minimise(objective, start, steps, rate), expected.detach(), atol=1e-6, rtol=1e-5)


@given(seed=st.integers(0, 999), pairs=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_the_two_loops_multiply_with_the_inverse_hessian_of_bfgs(seed: int, pairs: int) -> None:
    """Equation 6.17 of Nocedal and Wright, as dense matrices."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3, 1, 2)

    def random() -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    state = LBFGS.at(grey(2)[..., :1, :2].double(), 0.1)
    state.gradient, state.scale = random(), torch.tensor([0.5, 2.0], dtype=torch.float64).view(-1, 1, 1, 1)
    inverse_hessian = torch.eye(6, dtype=torch.float64) * state.scale.view(-1, 1, 1)
    for _ in range(pairs):
        moved = random()
        change = moved + 0.3 * random()
        product = (moved * change).flatten(1).sum(1)
        inverse = torch.where(product > 0, 1 / product, 0)  # a pair without curvature changes nothing
        state.pairs.append((moved, change, inverse.view(-1, 1, 1, 1)))
        s, y, rho = moved.reshape(2, 6, 1), change.reshape(2, 6, 1), inverse.view(-1, 1, 1)
        left = torch.eye(6, dtype=torch.float64) - rho * s @ y.mT
        inverse_hessian = left @ inverse_hessian @ left.mT + rho * s @ s.mT
    expected = (inverse_hessian @ state.gradient.reshape(2, 6, 1)).view(shape)
    torch.testing.assert_close(state._direction(), expected)


def test_lbfgs_finds_the_bottom_of_a_narrow_valley_where_adam_is_far() -> None:
    objective, start = bowl(condition=100.0, low=0.1, high=0.9), grey()
    found, of_adam = minimise(objective, start, 60, 0.2, "lbfgs"), minimise(objective, start, 60, 0.1)
    assert (objective(found) < 1e-8 * objective(start)).all()
    assert (objective(of_adam) > 1e-5 * objective(start)).all()
    torch.testing.assert_close(found, objective.goal, atol=1e-5, rtol=0)


def test_lbfgs_stops_at_the_bounds() -> None:
    """The minimum of a separable bowl over the box is the goal, clamped."""
    objective = bowl(condition=50.0, low=-1.0, high=2.0)
    found = minimise(objective, grey(), 40, 0.2, "lbfgs")
    torch.testing.assert_close(found, objective.goal.clamp(0, 1), atol=1e-3, rtol=0)
    assert found.amin() == 0
    assert found.amax() == 1


@given(seed=st.integers(0, 999), rate=st.floats(1e-4, 10.0), steps=st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_lbfgs_never_ends_above_its_start(seed: int, rate: float, steps: int) -> None:
    objective, start = bowl(seed=seed, condition=100.0, power=4), grey()
    assert (objective(minimise(objective, start, steps, rate, "lbfgs")) <= objective(start)).all()


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("tolerance", [0.0, 0.2])
def test_an_image_does_not_depend_on_its_neighbours(optimizer: Any, tolerance: float) -> None:
    objective, start = bowl(5, condition=300.0, power=4), grey(5)
    objective.weights[1] = 0  # settled from the first look on
    together = minimise(objective, start, 35, 0.01, optimizer, tolerance)
    for rows in ([0, 0], [4, 2, 1], [1, 3]):
        index = torch.tensor(rows)
        assert torch.equal(minimise(objective[index], start[index], 35, 0.01, optimizer, tolerance), together[index])


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_settled_images_cost_nothing_more(optimizer: Any) -> None:
    """Images 0 and 1 lie at their minimum; image 2 alone is computed as a pair; at the end nobody is left."""
    objective, start = bowl(4, condition=300.0, power=4), grey(4)
    objective.goal[:2] = 0.5
    found = minimise(objective, start, 31, 0.01, optimizer, 1e-3)
    assert torch.equal(found[:2], start[:2])
    assert set(objective.asked[: LOOK_EVERY + 1]) == {4}
    assert set(objective.asked[LOOK_EVERY + 1 :]) == {2}
    objective.asked.clear()
    minimise(objective[torch.tensor([0, 1])], start[:2], 31, 0.01, optimizer, 1e-3)
    assert len(objective.asked) == LOOK_EVERY + 1


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_without_steps_nothing_moves_and_the_start_is_left_alone(optimizer: Any) -> None:
    objective, start = bowl(), grey()
    assert torch.equal(minimise(objective, start, 0, 0.1, optimizer), start)
    moved = minimise(objective, start, 4, 0.1, optimizer, 0.01)
    assert torch.equal(start, grey())
    assert not moved.requires_grad
    assert not torch.equal(moved, start)
