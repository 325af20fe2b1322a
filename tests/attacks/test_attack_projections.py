"""The projections are the optima that general solvers find, keep every constraint, and survive every odd input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack import fab_projections
from pyautoattack.autopgd_base import L1_projection
from scipy.optimize import LinearConstraint, linprog, minimize
from torch import Tensor

from robustaug.attacks.projections import onto_hyperplane_in_box, onto_l1_ball_in_box

NORMS = ("linf", "l2", "l1")
norms = pytest.mark.parametrize("norm", NORMS)
seeds = st.integers(0, 2**31)


def random_images(seed: int, shape: tuple[int, ...]) -> tuple[Tensor, torch.Generator]:
    """Images with a third of their values at the bounds, and the generator that goes on from there."""
    generator = torch.Generator().manual_seed(seed)
    images = (3 * torch.rand(shape, generator=generator) - 1).clamp(0, 1)
    return images, generator


def length(norm: str, steps: Tensor) -> Tensor:
    return steps.double().flatten(1).norm(p={"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)


# ---- the l1 ball and the box ----


def l1_case(seed: int, n: int = 3, values: int = 6, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    images, generator = random_images(seed, (n, 1, 1, values))
    delta = scale * torch.randn(images.shape, generator=generator)
    delta[0] = delta[0].round(decimals=0)  # ties and zeros
    eps = 1.5 * torch.rand((n, 1, 1, 1), generator=generator)
    return delta, eps, -images, 1 - images


def solved_l1(delta: Tensor, eps: float, low: Tensor, high: Tensor) -> Tensor:
    """min |p - n - u|^2 with p in [0, high], n in [0, -low], sum(p + n) <= eps."""
    u, d = delta.double().numpy().ravel(), delta.numel()
    upper = np.concatenate([high.double().numpy().ravel(), -low.double().numpy().ravel()])
    found = minimize(
        lambda z: ((z[:d] - z[d:] - u) ** 2).sum(),
        np.zeros(2 * d),
        jac=lambda z: 2 * np.concatenate([z[:d] - z[d:] - u, u - z[:d] + z[d:]]),
        bounds=list(zip(np.zeros(2 * d), upper, strict=True)),
        constraints=LinearConstraint(np.ones((1, 2 * d)), -np.inf, eps),
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.success
    return torch.from_numpy(found.x[:d] - found.x[d:]).view_as(delta)


@pytest.mark.parametrize("seed", range(12))
def test_the_l1_projection_is_the_one_that_scipy_finds(seed: int) -> None:
    delta, eps, low, high = l1_case(seed)
    ours = onto_l1_ball_in_box(delta, eps, low, high)
    for i in range(len(delta)):
        expected = solved_l1(delta[i], float(eps[i]), low[i], high[i])
        torch.testing.assert_close(ours[i].double(), expected, atol=2e-5, rtol=0)


@given(seed=seeds, scale=st.sampled_from([1e-30, 1e-6, 0.01, 1, 100, 1e6]), values=st.integers(1, 400))
@settings(max_examples=80, deadline=None)
def test_the_l1_projection_is_inside_idempotent_and_nearest(seed: int, scale: float, values: int) -> None:
    delta, eps, low, high = l1_case(seed, values=values, scale=scale)
    ours = onto_l1_ball_in_box(delta, eps, low, high)
    assert ours.isfinite().all()
    assert ((ours >= low) & (ours <= high)).all()
    assert (length("l1", ours) <= eps.flatten().double() * (1 + 1e-6) + 1e-6).all()
    torch.testing.assert_close(onto_l1_ball_in_box(ours, eps, low, high), ours, atol=1e-6, rtol=1e-6)
    # For a convex set the nearest point z to u is the one with (u - z).(y - z) <= 0 for every y in the set.
    generator = torch.Generator().manual_seed(seed)
    for _ in range(5):
        other = low + (high - low) * torch.rand(delta.shape, generator=generator)
        other *= (eps / other.abs().flatten(1).sum(1).view_as(eps)).clamp_max(1)
        outward = (delta.double() - ours.double()).flatten(1)
        inward = (other.double() - ours.double()).flatten(1)
        rounding = 2e-6 + 3e-7 * delta.abs().flatten(1).amax(1).double()
        assert ((outward * inward).sum(1) <= rounding * outward.norm(dim=1)).all()


def test_the_l1_projection_of_perturbations_far_longer_than_their_room() -> None:
    """Newton's method has no slope to follow until the multiplier comes near to the values themselves."""
    delta = torch.tensor([-214.0, -55.0, 3e5, 2.0]).view(2, 1, 1, 2)
    low, high = torch.tensor([-0.8, -0.1, -0.2, -0.5]).view_as(delta), torch.tensor([0.2, 0.9, 0.8, 0.5]).view_as(delta)
    ours = onto_l1_ball_in_box(delta, torch.tensor([0.5, 0.9]).view(2, 1, 1, 1), low, high)
    torch.testing.assert_close(ours.flatten(), torch.tensor([-0.5, 0, 0.8, 0.1]))


def test_the_l1_projection_of_values_on_many_scales() -> None:
    generator = torch.Generator().manual_seed(0)
    delta = (
        torch.randn(20, 3, 16, 16, generator=generator) * torch.randn(20, 3, 16, 16, generator=generator).mul(3).exp()
    )
    delta *= 1e-3
    images = torch.rand(delta.shape, generator=generator)
    for eps in (0.3, 1.0, 10.0):
        boxed = torch.minimum(torch.maximum(delta, -images), 1 - images)
        ours = onto_l1_ball_in_box(delta, torch.full((20, 1, 1, 1), eps), -images, 1 - images)
        expected = length("l1", boxed).clamp_max(eps)
        # The next float32 multiplier would give a norm on the other side of eps.
        rounding = 1.2e-7 * delta.abs().flatten(1).amax(1) * 768
        assert (length("l1", ours) <= eps * (1 + 1e-6)).all()
        assert (length("l1", ours) >= expected * (1 - 1e-6) - rounding).all()
        assert (rounding < 0.1 * eps).all()


def test_no_l1_radius_leaves_no_perturbation_and_a_wide_one_only_the_box() -> None:
    delta, _, low, high = l1_case(0, n=4)
    zero = torch.zeros(4, 1, 1, 1)
    assert torch.equal(onto_l1_ball_in_box(delta, zero, low, high), torch.zeros_like(delta))
    assert torch.equal(onto_l1_ball_in_box(torch.zeros_like(delta), zero, low, high), torch.zeros_like(delta))
    boxed = torch.minimum(torch.maximum(delta, low), high)
    assert torch.equal(onto_l1_ball_in_box(delta, zero + 100, low, high), boxed)


@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0])
def test_the_l1_projection_agrees_with_the_reference(scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(16, 3, 12, 12, generator=generator)
    delta = scale * torch.randn(images.shape, generator=generator)
    reference = delta.flatten(1) + L1_projection(images.flatten(1), delta.flatten(1), 4.0)
    ours = onto_l1_ball_in_box(delta, torch.full((16, 1, 1, 1), 4.0), -images, 1 - images)
    torch.testing.assert_close(ours.flatten(1), reference, atol=3e-5, rtol=0)


def test_bounds_of_the_l1_projection_broadcast() -> None:
    delta = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    eps = torch.full((3, 1, 1, 1), 2.0)
    one = onto_l1_ball_in_box(delta, eps, torch.tensor(-0.5), torch.tensor(0.25))
    assert torch.equal(one, onto_l1_ball_in_box(delta, eps, torch.full_like(delta, -0.5), torch.full_like(delta, 0.25)))


# ---- the hyperplane and the box ----


def hyperplane_case(seed: int, n: int = 4, values: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Points, normals and gaps, some of them out of reach."""
    points, generator = random_images(seed, (n, values))
    normal = torch.randn((n, values), generator=generator)
    normal[:, 0] = 0
    normal[0] = normal[0].round(decimals=0)
    return points, normal, torch.randn((n,), generator=generator) * values / 4


def reach(points: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
    """The largest change of normal . point towards the gap's sign that the box [0, 1] allows."""
    toward = normal.double() * gap.double().sign()[:, None]
    return (toward.clamp_min(0) * (1 - points.double()) - toward.clamp_max(0) * points.double()).sum(1)


def solved(norm: str, point: Tensor, normal: Tensor, gap: float) -> float:
    """The smallest norm of a step, by a linear program (linf, l1) or sequential quadratic programming (l2)."""
    x, w, d = point.double().numpy(), normal.double().numpy(), len(point)
    box = list(zip(-x, 1 - x, strict=True))
    if norm == "l2":
        found = minimize(
            lambda z: (z**2).sum(),
            np.zeros(d),
            jac=lambda z: 2 * z,
            bounds=box,
            constraints=LinearConstraint(w[None], gap, gap),
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert found.success
        return float(np.linalg.norm(found.x))
    sizes = 1 if norm == "linf" else d  # steps d and their sizes: |d_i| <= size
    ones = np.ones((d, 1)) if norm == "linf" else np.eye(d)
    program = linprog(
        np.concatenate([np.zeros(d), np.ones(sizes)]),
        A_ub=np.block([[np.eye(d), -ones], [-np.eye(d), -ones]]),
        b_ub=np.zeros(2 * d),
        A_eq=np.concatenate([w, np.zeros(sizes)])[None],
        b_eq=[gap],
        bounds=box + [(0, None)] * sizes,
    )
    assert program.success
    return float(program.fun)


@norms
@pytest.mark.parametrize("seed", range(12))
def test_no_solver_finds_a_shorter_step_to_the_hyperplane(norm: str, seed: int) -> None:
    points, normal, gap = hyperplane_case(seed)
    steps = onto_hyperplane_in_box(norm, points, normal, gap, (0, 1))
    within = reach(points, normal, gap) > 1.001 * gap.abs()
    for i in within.nonzero().flatten().tolist():
        expected = solved(norm, points[i], normal[i], float(gap[i]))
        assert length(norm, steps[i : i + 1]).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@norms
@given(
    seed=seeds, values=st.sampled_from([1, 2, 7, 300, 700]), scale=st.sampled_from([1e-38, 1e-20, 1e-3, 1, 1e6, 1e30])
)
@settings(max_examples=60, deadline=None)
def test_steps_reach_the_hyperplane_or_the_nearest_corner_and_stay_in_the_box(
    norm: str, seed: int, values: int, scale: float
) -> None:
    points, normal, gap = hyperplane_case(seed, n=6, values=values)
    normal, gap = normal * scale, gap * scale
    steps = onto_hyperplane_in_box(norm, points, normal, gap, (0, 1))
    assert steps.isfinite().all()
    assert (points + steps).min() >= -1e-7
    assert (points + steps).max() <= 1 + 1e-7
    made = (normal.double() * steps.double()).sum(1)
    allowed = reach(points, normal, gap)
    expected = gap.double().sign() * torch.minimum(gap.double().abs(), allowed)
    sums = (normal.double() * steps.double()).abs().sum(1)
    assert ((made - expected).abs() <= 3e-6 * sums + 1e-44).all()
    assert (steps[normal == 0] == 0).all()


@norms
@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_no_other_point_of_hyperplane_and_box_is_nearer(norm: str, seed: int) -> None:
    points, normal, gap = hyperplane_case(seed, values=9)
    steps = onto_hyperplane_in_box(norm, points, normal, gap, (0, 1))
    generator = torch.Generator().manual_seed(seed)
    # Other feasible points: towards a random point of the box, from there along one of the three norms' steps.
    for other_norm in NORMS:
        start = points + torch.rand(len(points), 1, generator=generator) * (
            torch.rand(points.shape, generator=generator) - points
        )
        rest = gap - (normal * (start - points)).sum(1)
        other = start - points + onto_hyperplane_in_box(other_norm, start, normal, rest, (0, 1))
        feasible = ((normal * other).sum(1) - gap).abs() < 1e-5
        assert (length(norm, steps) <= length(norm, other) + 1e-4)[feasible].all()


@norms
@pytest.mark.parametrize("gap", [0.0, 1.0, -1e-30, 3e38])
def test_a_normal_of_zeros_gives_no_step(norm: str, gap: float) -> None:
    steps = onto_hyperplane_in_box(norm, torch.rand(2, 5), torch.zeros(2, 5), torch.full((2,), gap), (0, 1))
    assert torch.equal(steps, torch.zeros(2, 5))


@norms
def test_no_gap_gives_no_step(norm: str) -> None:
    points, normal, gap = hyperplane_case(0)
    assert torch.equal(onto_hyperplane_in_box(norm, points, normal, 0 * gap, (0, 1)), torch.zeros_like(points))


@norms
def test_a_hyperplane_out_of_reach_gives_the_corner_that_is_closest(norm: str) -> None:
    points = torch.tensor([[0.2, 0.5, 1.0, 0.0]])
    normal = torch.tensor([[1.0, -1e-3, 2.0, 0.0]])
    steps = onto_hyperplane_in_box(norm, points, normal, torch.tensor([1e30]), (0, 1))
    torch.testing.assert_close(points + steps, torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    steps = onto_hyperplane_in_box(norm, points, normal, torch.tensor([-50.0]), (-1, 3))
    torch.testing.assert_close(points + steps, torch.tensor([[-1.0, 3.0, -1.0, 0.0]]))


@norms
@pytest.mark.parametrize("gap", [0.1, 3.0, 60.0])
def test_steps_agree_with_the_reference(norm: str, gap: float) -> None:
    generator = torch.Generator().manual_seed(2)
    points = torch.rand(16, 500, generator=generator)
    normal = torch.randn(16, 500, generator=generator)
    gaps = gap * torch.randn(16, generator=generator)
    reference = getattr(fab_projections, f"projection_{norm}")(points, normal, (normal * points).sum(1) + gaps)
    ours = onto_hyperplane_in_box(norm, points, normal, gaps, (0, 1))
    torch.testing.assert_close(ours, reference, atol=3e-5, rtol=1e-4)


@norms
def test_a_row_is_the_same_in_any_batch(norm: str) -> None:
    points, normal, gap = hyperplane_case(3, n=40, values=700)
    gap[::2] *= 1e-4
    together = onto_hyperplane_in_box(norm, points, normal, gap, (0, 1))
    for i in range(40):
        alone = onto_hyperplane_in_box(norm, points[i : i + 1], normal[i : i + 1], gap[i : i + 1], (0, 1))
        assert torch.equal(alone[0], together[i])
    delta, eps, low, high = l1_case(3, n=40, values=700)
    together = onto_l1_ball_in_box(delta, eps, low, high)
    for i in range(40):
        rows = slice(i, i + 1)
        assert torch.equal(onto_l1_ball_in_box(delta[rows], eps[rows], low[rows], high[rows])[0], together[i])
