"""APGD finds known optima, moves as its paper and the reference do, and keeps what it should."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from attack_cases import Linear, small_network, stripes
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import ThreatModel
from robustaug.attacks.apgd import APGD, _HalvingClimb, _SparseClimb
from robustaug.attacks.ball import Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Evaluation, Oracle
from robustaug.errors import RobustAugError

Samples = tuple[Tensor, Tensor]
norms = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
REFERENCE_NORM = {"linf": "Linf", "l2": "L2", "l1": "L1"}


# ---- optima ----


def greedy_l1(images: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The largest change of weight . image in the l1 ball and the box: fill the largest weights first, one by one."""
    gains = []
    for image in images:
        left, gain = eps, 0.0
        for i in weight.abs().flatten().argsort(descending=True).tolist():
            w, x = float(weight.flatten()[i]), float(image.flatten()[i])
            change = min(left, 1 - x if w > 0 else x)
            left, gain = left - change, gain + change * abs(w)
        gains.append(gain)
    return torch.tensor(gains)


@norms
@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
def test_reaches_the_optimum_of_a_linear_model(norm: str, loss: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 12, 12, generator=generator) / 20  # logits on which the cross-entropy does not round to 0
    images = (1.5 * torch.rand(24, 3, 12, 12, generator=generator) - 0.25).clamp(0, 1)  # a third at the bounds
    if norm == "l2":
        images = 0.4 + 0.2 * images  # the optimum is known where the bounds do not cut the ball
    eps = {"linf": 0.2, "l2": 0.3, "l1": 12.0}[norm]
    room = torch.where(weight > 0, 1 - images, images)
    gain = {
        "linf": lambda: (weight.abs() * room.clamp_max(eps)).flatten(1).sum(1),
        "l2": lambda: (eps * weight.norm()).expand(24),
        "l1": lambda: greedy_l1(images, weight, eps),
    }[norm]()
    score = (weight * images).flatten(1).sum(1)
    model = Linear(weight, bias=-float((score + gain).max()) - 0.5)  # class 0 to the end: no sample leaves before it
    result = APGD(ThreatModel(norm, eps), loss=loss)(model, images, torch.zeros(24).long())
    assert not result.success.any()
    with torch.no_grad():
        reached = model(result.images)[:, 1] - model(images)[:, 1]
    share = reached / gain
    assert share.max() <= 1 + 1e-4
    assert share.mean() > 0.995
    assert share.min() > (0.985 if norm == "l1" else 0.999)


@norms
def test_targets_of_the_caller_are_climbed_towards(norm: str) -> None:
    generator = torch.Generator().manual_seed(1)
    model = Linear(torch.randn(3, 6, 6, generator=generator))
    images = 0.4 + 0.2 * torch.rand(24, 3, 6, 6, generator=generator)
    labels = torch.arange(24) % 2
    eps = {"linf": 0.02, "l2": 0.2, "l1": 0.3}[norm]
    result = APGD(ThreatModel(norm, eps), steps=50, loss="dlr", targets_tried=9)(
        model, images, labels, targets=1 - labels
    )
    assert torch.equal(result.success, result.predictions == 1 - labels)
    dual = {"linf": model.weight.abs().sum(), "l2": model.weight.norm(), "l1": model.weight.abs().max()}[norm]
    with torch.no_grad():
        lead = torch.where(labels == 0, 1, -1) * model(images)[:, 1] + eps * dual
    decided = lead.abs() > 0.05
    assert torch.equal(result.success[decided], (lead > 0)[decided])
    assert 0 < result.success.float().mean() < 1


# ---- the algorithm ----


class Scripted:
    """An oracle whose losses and gradients are written down beforehand, whatever the images; none is adversarial."""

    is_randomised = False

    def __init__(self, losses: Tensor, gradients: Tensor, margins: Tensor | None = None) -> None:
        self.losses, self.gradients, self.margins = losses, gradients, margins
        self.seen: list[Tensor] = []
        self.confirms = True

    def gradient(self, images: Tensor, loss: Callable[[Tensor], Tensor]) -> Evaluation:
        step = len(self.seen)
        self.seen.append(images.clone())
        logits = torch.zeros(len(images), 2)
        logits[:, 1] = -1.0 if self.margins is None else self.margins[step]
        return Evaluation(self.gradients[step].expand(images.shape).clone(), self.losses[step].clone(), logits)

    def confirm(self, images: Tensor, goal: Goal, suspects: Tensor) -> Tensor:
        return suspects & self.confirms


def climb(
    oracle: Scripted, steps: int, norm: str = "linf", eps: float = 0.25, rho: float = 0.75
) -> tuple[Tensor, Tensor, Tensor]:
    n = oracle.losses.shape[1]
    shape = oracle.gradients.shape[1:]
    ball = Ball.around(torch.full((n, *shape[1:]), 0.5), ThreatModel(norm, eps))
    goal = Goal(torch.zeros(n).long())
    attack = APGD(ThreatModel(norm, eps), steps=steps, rho=rho)
    return attack._climb(oracle, ball, goal, goal, ball.center.clone(), steps)  # type: ignore[arg-type]


def algorithm_1(losses: list[float], gradients: list[float], eps: float, rho: float) -> tuple[list[float], float]:
    """One number under linf, line by line, checkpoints from the recurrence of section 3; the iterates, and x_max."""
    n = len(losses) - 1
    p = [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    checkpoints = [int(np.ceil(share * n - 1e-9)) for share in p]

    def project(x: float) -> float:
        return min(max(x, 0.5 - eps, 0.0), 0.5 + eps, 1.0)

    def sign(g: float) -> float:
        return (g > 0) - (g < 0)

    x, before, step, g = 0.5, 0.5, 2 * eps, gradients[0]
    best, best_g, f_max = x, g, losses[0]
    seen, step_then, f_then = [x], None, None
    for k in range(n):
        z = project(x + step * sign(g))
        alpha = 1.0 if k == 0 else 0.75
        x, before = project(x + alpha * (z - x) + (1 - alpha) * (x - before)), x
        g = gradients[k + 1]
        seen.append(x)
        if losses[k + 1] > f_max:
            best, best_g, f_max = x, g, losses[k + 1]
        if k + 1 in checkpoints:
            start = checkpoints[checkpoints.index(k + 1) - 1]
            rises = sum(losses[i + 1] > losses[i] for i in range(start, k + 1))
            condition_1 = rises <= rho * (k + 1 - start)
            condition_2 = step == step_then and f_max == f_then
            step_then, f_then = step, f_max
            if condition_1 or condition_2:
                step, x, g = step / 2, best, best_g
    return seen, best


@given(seed=st.integers(0, 10**6), rise=st.sampled_from([0.3, 0.7, 0.8, 0.95]))
@settings(max_examples=12, deadline=None)
def test_every_iterate_is_the_one_of_algorithm_1(seed: int, rise: float) -> None:
    """Losses that rise more or less often, and stand still at times, so that both conditions halve and do not halve."""
    generator = np.random.default_rng(seed)
    n, samples, eps = 100, 3, 0.25
    signs = np.where(generator.random((n + 1, samples)) < rise, 1.0, -1.0)
    losses = np.cumsum(signs * generator.integers(0, 3, (n + 1, samples)), 0)
    gradients = generator.normal(size=n + 1)
    oracle = Scripted(torch.tensor(losses).float(), torch.tensor(gradients).float().view(-1, 1, 1, 1, 1))
    end, _, _ = climb(oracle, n, eps=eps)
    for sample in range(samples):
        expected, best = algorithm_1(losses[:, sample].tolist(), gradients.tolist(), eps, 0.75)
        seen = torch.stack(oracle.seen)[:, sample].flatten()
        torch.testing.assert_close(seen, torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0)
        assert float(end[sample]) == pytest.approx(best, abs=1e-5)


def test_checkpoints_are_those_of_the_paper() -> None:
    assert list(_HalvingClimb.checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(_HalvingClimb.checkpoints(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert list(_SparseClimb.checkpoints(100)) == list(range(4, 101, 4))
    assert list(_HalvingClimb.checkpoints(3)) == [1, 2, 3]  # a run of few steps still adapts


def test_the_step_is_halved_when_the_loss_rises_too_seldom_or_not_at_all() -> None:
    """Four samples: one rises at every step, one at none, one in 17 of 22 steps (77%) and one in 16 (73%)."""
    ball = Ball.around(torch.full((4, 1, 1, 1), 0.5), ThreatModel("linf", 0.1))
    goal = Goal(torch.zeros(4).long())
    state = _HalvingClimb(ball, goal, goal, ball.center)
    zero = torch.zeros(4, 1, 1, 1)
    loss, logits = torch.zeros(4), torch.tensor([[0.0, -1.0]] * 4)
    state.take_in(Evaluation(zero, loss, logits))
    for step in range(22):
        loss = loss + torch.tensor([1.0, 0.0, 1.0 if step < 17 else -1.0, 1.0 if step < 16 else -1.0])
        state.take_in(Evaluation(zero, loss, logits))
    state.adapt(0.75 * 22)
    torch.testing.assert_close(state.step_size.flatten(), torch.tensor([0.2, 0.1, 0.2, 0.1]))
    # From now on nothing rises above the best: condition 2 halves where condition 1 did not the last time.
    for step in range(19):
        state.take_in(Evaluation(zero, torch.full((4,), -50.0 + step), logits))
    state.adapt(0.75 * 19)
    torch.testing.assert_close(state.step_size.flatten(), torch.tensor([0.1, 0.1, 0.1, 0.1]))
    # Condition 2 leaves alone what has just been halved: without it, 19 rises of 19 halve nothing.
    for step in range(16):
        state.take_in(Evaluation(zero, torch.full((4,), -30.0 + step), logits))
    state.adapt(0.75 * 16)
    torch.testing.assert_close(state.step_size.flatten(), torch.tensor([0.1, 0.05, 0.1, 0.05]))


def test_l1_steps_are_as_sparse_as_the_best_point_and_grow_again_when_it_becomes_sparser() -> None:
    ball = Ball.around(torch.full((1, 1, 10, 10), 0.5), ThreatModel("l1", 1.0))
    goal = Goal(torch.zeros(1).long())
    start = ball.center.clone()
    start.view(-1)[:30] += 1 / 30
    state = _SparseClimb(ball, goal, goal, start)
    gradient = torch.linspace(1, 2, 100).view(1, 1, 10, 10)
    logits = torch.tensor([[0.0, -1.0]])
    state.take_in(Evaluation(gradient, torch.tensor([0.0]), logits))
    state.move(1.0)  # 30 / 1.5 = 20 values of equal size, those with the largest gradient, then the projection
    moved = (state.images - start).flatten()
    assert (moved[80:] > 0).all()
    assert (moved[30:80] == 0).all()
    torch.testing.assert_close(moved[80:], moved[80:81].expand(20))
    state.adapt(0.0)  # the best point is still the start: not sparser
    torch.testing.assert_close(state.step_size.flatten(), torch.tensor([1 / 1.5]))
    for _ in range(9):
        state.adapt(0.0)
    torch.testing.assert_close(state.step_size.flatten(), torch.tensor([0.1]))  # never shorter than eps / 10
    state.images = ball.center.clone()
    state.images.view(-1)[:28] += 1 / 28  # 28 of 30: sparser by more than 5%
    state.take_in(Evaluation(gradient, torch.tensor([1.0]), logits))
    state.images = start
    state.adapt(0.0)
    torch.testing.assert_close(state.step_size.flatten(), torch.tensor([1.0]))
    assert int((state.images != 0.5).sum()) == 28  # back at the best point


@norms
def test_the_last_iterate_counts(norm: str) -> None:
    """Its loss is the highest: it must be returned."""
    steps = 7
    losses = torch.zeros(steps + 1, 2)
    losses[-1] = 1
    generator = torch.Generator().manual_seed(0)
    oracle = Scripted(losses, torch.randn(steps + 1, 1, 1, 4, 4, generator=generator))
    end, _, broken = climb(oracle, steps, norm)
    assert len(oracle.seen) == steps + 1
    assert torch.equal(end, oracle.seen[-1])
    assert not broken.any()


@norms
def test_a_sample_that_only_the_last_iterate_breaks_is_broken(norm: str) -> None:
    steps = 7
    margins = torch.full((steps + 1,), -1.0)
    margins[-1] = 1
    oracle = Scripted(torch.zeros(steps + 1, 2), torch.ones(steps + 1, 1, 1, 4, 4), margins)
    end, _, broken = climb(oracle, steps, norm)
    assert broken.all()
    assert torch.equal(end, oracle.seen[-1])


def test_one_step_reaches_the_corner_of_a_linear_model() -> None:
    """As every gradient is at the start, an attack that never looks at its last iterate returns the start."""
    model = Linear(torch.ones(1, 4, 4), bias=-100.0)
    images = torch.full((3, 1, 4, 4), 0.5)
    result = APGD(ThreatModel("linf", 0.1), steps=1, loss="margin")(model, images, torch.zeros(3).long())
    torch.testing.assert_close(result.images, torch.full_like(images, 0.6))


def test_a_broken_iterate_between_two_looks_is_not_forgotten() -> None:
    steps = 10
    margins = torch.full((steps + 1,), -1.0)
    margins[6] = 0.5
    oracle = Scripted(torch.zeros(steps + 1, 2), torch.randn(steps + 1, 1, 1, 4, 4), margins)
    end, _, broken = climb(oracle, steps)
    assert broken.all()
    assert torch.equal(end, oracle.seen[6])
    assert len(oracle.seen) == 9  # it left at the next look, after step 8


def test_what_float32_refutes_is_no_result_and_the_climb_goes_on() -> None:
    steps = 10
    margins = torch.full((steps + 1,), -1.0)
    margins[2] = 9.0
    losses = torch.arange(steps + 1.0)[:, None].expand(-1, 2)
    oracle = Scripted(losses, torch.randn(steps + 1, 1, 1, 4, 4), margins)
    oracle.confirms = False
    end, margin, broken = climb(oracle, steps)
    assert not broken.any()
    assert torch.equal(end, oracle.seen[-1])
    assert (margin == -1).all()


# ---- beside the reference ----


class Recording(nn.Module):
    """A model, and all that it has seen."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.seen = inner, []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        return self.inner(images)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.012), ("l2", 0.25), ("l1", 2.0)])
@pytest.mark.parametrize("loss", ["cross_entropy", "dlr"])
def test_same_iterates_as_the_reference_from_the_same_start(
    network: nn.Module, samples: Samples, norm: str, eps: float, loss: str
) -> None:
    """No sample is broken at these radii. Values whose gradient is a rounding error away from 0 may differ, and become
    more. After the first checkpoint of linf and l2, whole samples may: the reference compares the first loss with 0,
    and not with that of the start."""
    images, labels = samples[0][:32], samples[1][:32]
    attack = APGD(ThreatModel(norm, eps), loss=loss)
    ball, goal = Ball.around(images, attack.threat), Goal(labels)
    start = attack._random_start(ball, torch.arange(len(images)))
    ours, theirs = Recording(network), Recording(network)
    end = attack._climb(Oracle(ours), ball, goal, goal, start, 100)
    short = "ce" if loss == "cross_entropy" else loss
    reference = APGDAttack(theirs, norm=REFERENCE_NORM[norm], eps=eps, loss=short, device="cpu")
    reference.init_hyperparam(images)
    best, correct, _, _ = reference.attack_single_run(images, labels, x_init=start)
    assert correct.all()
    assert not end.broken.any()
    assert len(ours.seen) == len(theirs.seen) == 101
    for step in range(22):
        differs = (ours.seen[step] - theirs.seen[step]).abs() > (1e-5 if norm == "l1" else 2e-6)
        assert differs.float().mean() < (1e-6 if step < 6 else 0.02), step
    margins = [goal.margin(Oracle(network).logits(found)) for found in (end.images, best)]
    torch.testing.assert_close(*margins, atol=0.01, rtol=0)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.031), ("l2", 0.6)])
def test_robust_accuracy_within_half_a_point_of_the_reference(network: nn.Module, norm: str, eps: float) -> None:
    """Not for l1, where the random start matters more; there the iterates above are the same throughout."""
    images, labels = stripes(200, seed=5)
    ours = APGD(ThreatModel(norm, eps), steps=20, loss="dlr", targets_tried=2)(network, images, labels)
    reference = APGDAttack_targeted(network, 20, REFERENCE_NORM[norm], eps=eps, n_target_classes=2, device="cpu")
    accuracy = 1 - ours.success.float().mean()
    with torch.no_grad():
        theirs = (network(reference.perturb(images, labels)).argmax(1) == labels).float().mean()
    assert 0.1 < accuracy < 0.9  # an accuracy at either end would agree with anything
    assert abs(accuracy - theirs) <= 0.005 + 1e-6


def test_l1_begins_in_larger_balls(network: nn.Module, samples: Samples) -> None:
    """30% of the steps in 3 eps, 30% in 2 eps and 40% in eps, as in the reference; only the last is a result."""
    images, labels = samples[0][:20], samples[1][:20]
    attack = APGD(ThreatModel("l1", 1.0), steps=20)
    ball, goal, recording = Ball.around(images, attack.threat), Goal(labels), Recording(network)
    end = attack._run(Oracle(recording), ball, goal, goal, torch.arange(20))
    assert not end.broken.any()
    radii = torch.stack([ball.distance(seen).amax() for seen in recording.seen])
    expected = torch.tensor([3.0] * 7 + [2.0] * 7 + [1.0] * 9)  # every phase sees its start as well
    torch.testing.assert_close(radii, expected, atol=1e-4, rtol=0)
    recording.seen.clear()
    wide = APGD(ThreatModel("l1", 4.0), steps=20)
    end = wide._run(Oracle(recording), Ball.around(images, wide.threat), goal, goal, torch.arange(20))
    assert [len(seen) for seen in recording.seen[:14]] == [20] * 14  # none leaves before the last ball
    seen = APGD(ThreatModel("l1", 12.0), steps=20)(network, images, labels).success
    assert (seen & ~end.broken).any()  # broken in the ball of 3 eps, and rightly not reported


# ---- what is kept, and what leaves ----


@norms
def test_a_sample_gets_the_same_bytes_in_any_batch(norm: str, network: nn.Module) -> None:
    images, labels = stripes(33, seed=4)
    seeds = randomness.sample_seeds(7, map(str, range(33)), "attack")
    eps = {"linf": 0.03, "l2": 0.55, "l1": 5.0}[norm]
    attack = APGD(ThreatModel(norm, eps), steps=9, loss="dlr", targets_tried=2)
    whole = attack(network, images, labels, seeds=seeds)
    assert 0 < whole.success.float().mean() < 1
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(attack(network, images[order], labels[order], seeds=seeds[order]).images, whole.images[order])
    for size in (1, 7, 32):
        rows = slice(1, 1 + size)
        part = attack(network, images[rows], labels[rows], seeds=seeds[rows])
        assert torch.equal(part.images, whole.images[rows]), size


def test_broken_samples_leave_and_those_wrong_from_the_start_are_untouched(network: nn.Module) -> None:
    images, labels = stripes(60, seed=3)
    with torch.no_grad():
        predictions = network(images).argmax(1)
    labels[:10] = (predictions[:10] + 1) % 5
    wrong = predictions != labels
    result = APGD(ThreatModel("linf", 0.2), steps=50)(network, images, labels)
    assert result.success.all()
    assert torch.equal(result.images[wrong], images[wrong])
    assert result.backward_passes <= 5 * int((~wrong).sum())


def test_restarts_keep_the_worst_result_not_the_last(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    attack = APGD(ThreatModel("linf", 0.035), steps=3)
    seeds, ball, goal = torch.arange(len(images)), Ball.around(images, attack.threat), Goal(labels)
    runs = [attack._run(Oracle(network), ball, goal, goal, randomness.fold(seeds, restart)) for restart in range(4)]
    broken = torch.stack([run.broken for run in runs]).any(0)
    margins = torch.stack([run.margin for run in runs])
    result = APGD(attack.threat, steps=3, restarts=4)(network, images, labels, seeds=seeds)
    assert torch.equal(result.success, broken)
    kept = goal.margin(Oracle(network).logits(result.images))
    torch.testing.assert_close(kept[~broken], margins.amax(0)[~broken], atol=1e-5, rtol=1e-5)
    assert (runs[-1].margin < margins.amax(0))[~broken].any()  # keeping the last would be seen
    assert runs[-1].broken.sum() < broken.sum()


class Aimed(nn.Module):
    """Logits that hardly change with the image: which target a run aims at shows in the images."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, : self.classes] * 0.1 + torch.arange(self.classes, 0, -1)


@pytest.mark.parametrize(("classes", "tried", "runs"), [(2, 9, 1), (3, 9, 2), (4, 9, 3), (10, 9, 9), (10, 4, 4)])
def test_targets_are_tried_from_the_second_largest_logit_down(classes: int, tried: int, runs: int) -> None:
    model, images = Aimed(classes), torch.rand(5, 1, 4, 4)
    labels = torch.tensor([0, 1, 0, 1, 1]).clamp_max(classes - 1)
    attack = APGD(ThreatModel("linf", 0.1), loss="dlr", targets_tried=tried, steps=4)
    aims = list(attack._aims(Goal(labels), model(images)))
    assert len(aims) == runs
    for i, label in enumerate(labels.tolist()):
        others = [k for k in range(classes) if k != label]  # in the order of their logits
        assert [int(aim.targets[i]) for aim in aims] == others[:runs]
    result = attack(model, images, torch.zeros(5).long())
    assert result.backward_passes == 5 * runs * 5
    assert result.images.isfinite().all()


def test_any_wrong_class_is_a_success_on_the_way_to_a_target(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    attack = APGD(ThreatModel("linf", 0.05), steps=20, loss="dlr", targets_tried=1)
    result = attack(network, images, labels)
    with torch.no_grad():
        target = network(images).scatter(1, labels[:, None], -torch.inf).argmax(1)
    assert (result.success & (result.predictions != target)).any()
    assert torch.equal(result.success, result.predictions != labels)


@norms
def test_a_randomised_models_samples_never_leave(norm: str) -> None:
    class Noisy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :3] + 0.1 * torch.randn(len(images), 3)

    images = torch.rand(20, 1, 4, 4)
    result = APGD(ThreatModel(norm, 0.3), steps=10, restarts=2, eot_samples=3)(Noisy(), images, torch.zeros(20).long())
    gradients = 11 if norm != "l1" else 13
    assert result.backward_passes == 20 * 2 * 3 * gradients


def test_of_a_randomised_model_the_iterate_that_is_wrong_on_average_is_kept() -> None:
    """The highest loss is at another one."""
    losses = torch.tensor([0.0, 1, 0, 5, 0])[:, None].expand(-1, 2)
    margins = torch.tensor([-1.0, -1, 0.5, -1, 0.2])
    oracle = Scripted(losses, torch.randn(5, 1, 1, 4, 4), margins)
    oracle.is_randomised = True
    end, margin, broken = climb(oracle, 4)
    assert len(oracle.seen) == 5
    assert torch.equal(end, oracle.seen[2])
    assert (margin == 0.5).all()
    assert not broken.any()


@norms
def test_each_sample_has_its_own_radius_and_0_moves_nothing(norm: str, network: nn.Module) -> None:
    images, labels = stripes(12, seed=8)
    eps = torch.linspace(0, 0.01, 12) * (1 if norm == "linf" else 20)
    result = APGD(ThreatModel(norm, eps), steps=12)(network, images, labels)
    stands = ~result.success
    assert (result.distance <= eps + 1e-6).all()
    assert torch.equal(result.images[0], images[0])
    torch.testing.assert_close(result.distance[stands], eps[stands], atol=2e-6, rtol=0.02)
    assert stands[1:].any()


@norms
def test_zero_gradients_are_no_error(norm: str) -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :4] * 0 + torch.tensor([0.0, 1.0, 1.0, 2.0])

    images = torch.rand(4, 1, 4, 4)
    for loss in ("cross_entropy", "dlr", "margin"):
        result = APGD(ThreatModel(norm, 0.2), steps=9, loss=loss)(Constant(), images, torch.full((4,), 3))
        assert result.images.isfinite().all()
        assert (result.distance <= 0.2 + 1e-6).all()
        assert not result.success.any()


@norms
@given(seed=st.integers(0, 10**6), eps=st.sampled_from([0.0, 1e-6, 0.03, 0.3, 1.0]), steps=st.integers(1, 12))
@settings(max_examples=8, deadline=None)
def test_inside_ball_and_bounds_and_never_nan(norm: str, seed: int, eps: float, steps: int) -> None:
    model = small_network(seed % 7).eval()
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(6, 3, 16, 16, generator=generator).round(decimals=1)  # some at the bounds
    attack = APGD(ThreatModel(norm, eps), steps=steps, loss="dlr", targets_tried=2)
    result = attack(model, images, torch.arange(6) % 5)
    assert result.images.isfinite().all()
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    difference = (result.images.double() - images.double()).flatten(1)
    assert (difference.norm(p={"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1) <= eps + 1e-6).all()


@norms
def test_other_bounds_scale_everything(norm: str, network: nn.Module) -> None:
    class Scaled(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return network(images / 255)

    images, labels = stripes(40, seed=9)
    eps = {"linf": 0.035, "l2": 0.6, "l1": 5.0}[norm]
    small = APGD(ThreatModel(norm, eps), steps=10)(network, images, labels)
    large = APGD(ThreatModel(norm, eps * 255, bounds=(0, 255)), steps=10)(Scaled(), images * 255, labels)
    differs = (small.images - large.images / 255).abs() > 1e-4  # rounding grows where a step depends on a sign
    assert differs.flatten(1).any(1).float().mean() < 0.2


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be a whole number, at least 1"),
        ({"restarts": 1.5}, "restarts is 1.5"),
        ({"targets_tried": 0}, "targets_tried is 0"),
        ({"rho": 1.5}, "rho is 1.5; it must be between 0 and 1"),
        ({"rho": "much"}, "rho is 'much'; write a number"),
        ({"loss": "ce"}, "loss 'ce' is unknown"),
        ({"eot_samples": 0}, "eot_samples is 0"),
    ],
)
def test_bad_settings_get_one_clear_line(settings_: dict[str, object], message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        APGD(ThreatModel("linf", 0.1), **settings_)  # type: ignore[arg-type]
