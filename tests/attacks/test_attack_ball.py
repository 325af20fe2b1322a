"""The balls: float32 corners, uniform samples, the extreme of a linear function."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from robustaug.attacks import ThreatModel
from robustaug.attacks.ball import Ball

BOUNDS = (0.0, 1.0)


@given(seed=st.integers(0, 10**6), eps=st.sampled_from([1 / 255, 8 / 255, 0.1, 0.3]))
@settings(max_examples=20, deadline=None)
def test_linf_corners_are_inside_by_float32_arithmetic_too(seed: int, eps: float) -> None:
    """(x + eps) - x is larger than eps for one float32 value in 50 to 500: such corners are one float further in."""
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    ball = Ball.around(images, ThreatModel("linf", eps))
    for sign in (-1, 1):
        corner = ball.project(images + sign)
        assert (ball.distance(corner) <= torch.tensor(eps)).all()
        expected = (images.double() + sign * eps).clamp(0, 1)
        torch.testing.assert_close(corner.double(), expected, atol=1e-7, rtol=0)
    naive = (images + eps) - images
    assert (naive > torch.tensor(eps)).any()  # the defect exists


def test_random_l1_points_are_uniform_in_the_ball() -> None:
    """In dimension d the share within r of the centre is r^d, and all orthants are alike."""
    images = torch.full((6000, 1, 1, 3), 0.5)
    ball = Ball.around(images, ThreatModel("l1", 0.4))
    delta = (ball.random_point(torch.arange(6000)) - images).flatten(1)
    distance = delta.abs().sum(1) / 0.4
    for radius in (0.3, 0.5, 0.8):
        assert abs((distance < radius).float().mean() - radius**3) < 0.03
    orthant = ((delta > 0).long() * torch.tensor([1, 2, 4])).sum(1)
    assert (torch.bincount(orthant, minlength=8) / 6000 - 1 / 8).abs().max() < 0.02
    # Uniform on a simplex: the mean share of each coordinate is 1/d, its variance (d - 1) / (d^2 (d + 1)).
    share = delta.abs() / delta.abs().sum(1, keepdim=True)
    torch.testing.assert_close(share.mean(0), torch.full((3,), 1 / 3), atol=0.01, rtol=0)
    torch.testing.assert_close(share.var(0), torch.full((3,), 2 / (9 * 4)), atol=0.005, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l1"])
@given(seed=st.integers(0, 10**6), eps=st.floats(0.01, 2))
@settings(max_examples=25, deadline=None)
def test_the_extreme_of_a_linear_function_is_that_of_a_linear_program(norm: str, seed: int, eps: float) -> None:
    """Within ball and bounds, exactly: max g.z, |z| in the ball, x + z in [0, 1]."""
    eps = min(eps, 0.9) if norm == "linf" else eps
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(1, 1, 2, 3, generator=generator).round(decimals=1)  # some at the bounds
    gradient = torch.randn(1, 1, 2, 3, generator=generator)
    found = Ball.around(images, ThreatModel(norm, eps)).extreme(gradient)
    g, x = gradient.double().flatten().numpy(), images.double().flatten().numpy()
    if norm == "linf":
        room = [(max(-eps, -a), min(eps, 1 - a)) for a in x]
        best = -linprog(-g, bounds=room).fun
    else:  # z = p - n with p, n >= 0 and sum(p + n) <= eps
        both = [(0, 1 - a) for a in x] + [(0, a) for a in x]
        best = -linprog([*-g, *g], A_ub=[[1] * 12], b_ub=[eps], bounds=both).fun
    assert float((gradient * (found - images)).sum()) == pytest.approx(best, abs=2e-5)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_directions_have_norm_one_and_zero_gradients_move_nothing(norm: str) -> None:
    images = torch.full((3, 3, 8, 8), 0.5)
    gradient = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    gradient[2] = 0
    ball = Ball.around(images, ThreatModel(norm, 0.1))
    direction = ball.direction(images, gradient)
    torch.testing.assert_close(ball.length(direction), torch.tensor([1.0, 1.0, 0.0]))
    assert ((direction * gradient).flatten(1).sum(1)[:2] > 0).all()
    assert torch.equal(ball.extreme(torch.zeros_like(images)), images)


def test_l1_steps_go_where_there_is_room() -> None:
    images = torch.full((1, 1, 10, 10), 0.5)
    images[0, 0, 0, 0] = 1.0
    gradient = torch.ones(1, 1, 10, 10)
    gradient[0, 0, 0, 0], gradient[0, 0, 0, 1] = 9, 8
    direction = Ball.around(images, ThreatModel("l1", 5)).direction(images, gradient)
    assert direction[0, 0, 0, 0] == 0  # the largest gradient, but the value is at its bound
    assert direction[0, 0, 0, 1] == 1


@pytest.mark.parametrize(("norm", "largest"), [("linf", 2.0), ("l2", 2 * math.sqrt(48)), ("l1", 2 * 48.0)])
def test_the_largest_distance_is_the_diagonal_of_the_bounds(norm: str, largest: float) -> None:
    threat = ThreatModel(norm, 0.1, bounds=(-1, 1))
    assert threat.largest_distance(48) == pytest.approx(largest)
    corners = torch.full((1, 3, 4, 4), -1.0)
    assert float(Ball.around(corners, threat).distance(-corners)) == pytest.approx(largest)
