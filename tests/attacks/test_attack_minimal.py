"""The smallest eps: the closed form on linear models, and what holds for attacks that find it or do not."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from attack_cases import Linear, stripes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import FGSM, PGD, Attack, MinimalEps, Square, ThreatModel, from_foolbox, minimal_eps
from robustaug.attacks.ball import Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.errors import RobustAugError

norms = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
SHAPE = (3, 5, 5)


def linear_case(n: int = 24) -> tuple[Linear, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = Linear(torch.randn(SHAPE, generator=generator))
    images = 0.45 + 0.1 * torch.rand((n, *SHAPE), generator=generator)
    shift = torch.linspace(-0.3, 0.3, n).view(-1, 1, 1, 1) ** 3 * 10  # most near the boundary, some far
    return model, images + shift * model.weight.detach().sign(), torch.arange(n) % 2


def true_distance(model: Linear, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """|w.x + b| over the dual norm of w; for l1, where single values reach their bounds, value by value."""
    with torch.no_grad():
        score = (images * model.weight).flatten(1).sum(1) + model.bias
    weight = model.weight.detach()
    if norm != "l1":
        distance = score.abs() / (weight.abs().sum() if norm == "linf" else weight.norm())
    else:
        downhill = -score.sign().view(-1, 1, 1, 1) * weight
        room = torch.where(downhill > 0, 1 - images, images).flatten(1)
        size, place = weight.abs().flatten().sort(descending=True)
        room = room[:, place]
        removed = (room * size).cumsum(1)
        last = (removed < score.abs()[:, None]).sum(1, keepdim=True)
        before = torch.cat([torch.zeros(len(images), 1), removed], 1).gather(1, last).squeeze(1)
        used = torch.cat([torch.zeros(len(images), 1), room.cumsum(1)], 1).gather(1, last).squeeze(1)
        distance = used + (score.abs() - before) / size[last.squeeze(1)]
    return torch.where((score > 0).long() == labels, distance, 0)


@norms
@pytest.mark.parametrize("guess", [0.0, 0.003, 0.5])
def test_finds_the_distance_from_a_linear_boundary(norm: str, guess: float) -> None:
    model, images, labels = linear_case()
    attack = FGSM(ThreatModel(norm, guess), loss="margin")  # the gradient of the cross-entropy vanishes far away
    found = minimal_eps(attack, model, images, labels, tolerance=0.01)
    true = true_distance(model, images, labels, norm)
    assert (true == 0).any()
    assert true.max() > 10 * true[true > 0].min()
    assert torch.equal(found.eps == 0, true == 0)
    assert (found.eps >= true * (1 - 1e-5)).all()
    assert (found.eps <= true + 0.011 * true.clamp_min(guess)).all()


@norms
def test_the_evidence_is_an_adversarial_image_at_that_distance(norm: str, network: nn.Module) -> None:
    images, labels = stripes(40, seed=6)
    labels[0] = (labels[0] + 1) % 5
    found = minimal_eps(PGD(ThreatModel(norm, 0.05), steps=5, early_exit=True), network, images, labels, eps_max=1.0)
    with torch.no_grad():
        predictions = network(found.images).argmax(1)
    assert torch.equal(found.predictions, predictions)
    broken = found.eps.isfinite()
    assert torch.equal(broken, predictions != labels)
    distance = (found.images - images).flatten(1).norm(p={"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)
    torch.testing.assert_close(found.eps[broken], distance[broken], atol=1e-6, rtol=1e-6)
    assert found.eps[0] == 0
    assert found.eps[broken].max() <= 1
    assert torch.equal(found.images[~broken], images[~broken])
    assert bool(broken.all()) == (norm == "linf")  # the other two give up at 1


def test_targeted_evidence_is_the_target(network: nn.Module) -> None:
    images, labels = stripes(20, seed=6)
    targets = (labels + 1) % 5
    attack = PGD(ThreatModel("linf", 0.05), steps=10)
    found = minimal_eps(attack, network, images, labels, targets=targets)
    assert torch.equal(found.predictions, targets)
    other = minimal_eps(attack, network, images, labels, targets=(labels + 2) % 5)
    assert not torch.equal(other.eps, found.eps)


@norms
def test_a_sample_gets_the_same_result_in_any_batch(norm: str, network: nn.Module) -> None:
    images, labels = stripes(20, seed=4)
    seeds = randomness.sample_seeds(7, map(str, range(20)), "attack")
    attack = PGD(ThreatModel(norm, 0.05 if norm == "linf" else 0.5), steps=3, early_exit=True)
    whole = minimal_eps(attack, network, images, labels, seeds=seeds, tolerance=0.1)
    for rows in (slice(3, 4), slice(2, 9)):
        part = minimal_eps(attack, network, images[rows], labels[rows], seeds=seeds[rows], tolerance=0.1)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.eps, whole.eps[rows])
    pieces = minimal_eps(attack, network, images, labels, seeds=seeds, tolerance=0.1, batch_size=7)
    assert torch.equal(pieces.images, whole.images)


def test_nearer_than_deepfool(network: nn.Module) -> None:
    images, labels = stripes(60, seed=7)
    found = minimal_eps(PGD(ThreatModel("linf", 0.03), steps=20), network, images, labels)
    theirs = from_foolbox("LinfDeepFoolAttack", ThreatModel("linf", 1)).minimal_distance(network, images, labels)
    assert theirs.success.all()
    assert (found.eps <= theirs.distance * 1.02).float().mean() > 0.95
    assert found.eps.median() < theirs.distance.median()
    assert found.eps.median() > 0.5 * theirs.distance.median()


@pytest.mark.parametrize(
    "make",
    [
        lambda threat: from_foolbox("LinfFastGradientAttack", threat, random_start=False),
        lambda threat: Square(threat, queries=20),
    ],
)
def test_takes_any_attack(make: Callable[[ThreatModel], Attack]) -> None:
    model, images, labels = linear_case()
    images, labels = images[6:18], labels[6:18]  # near enough for the cross-entropy to have a gradient
    found = minimal_eps(make(ThreatModel("linf", 0.01)), model, images, labels, tolerance=0.1)
    true = true_distance(model, images, labels, "linf")
    assert found.eps.isfinite().all()
    assert (found.eps >= true * (1 - 1e-5)).all()
    assert torch.equal(found.eps == 0, true == 0)


@dataclass(frozen=True)
class Planted(Attack):
    """Breaks a ``Switch`` at the radii that it is told, with a change of the size that it is told."""

    breaks: Callable[[float], bool] = field(kw_only=True)
    size: Callable[[float], float] = field(default=lambda eps: eps, kw_only=True)
    log: list[list[float]] = field(default_factory=list, kw_only=True)

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        radii = ball.eps.flatten().tolist()
        self.log.append(radii)
        change = torch.tensor([self.size(eps) if self.breaks(eps) else 0.0 for eps in radii])
        return ball.project(ball.center + change.view(-1, 1, 1, 1))


class Switch(nn.Module):
    """Right on the image that is 0.25 everywhere, wrong on any other."""

    def forward(self, images: Tensor) -> Tensor:
        off = (images != 0.25).flatten(1).any(1).float()
        return torch.stack([1 - off, off], 1)


def planted(attack: Planted, n: int = 1, **parameters: object) -> MinimalEps:
    return minimal_eps(attack, Switch(), torch.full((n, 3, 4, 4), 0.25), torch.zeros(n).long(), **parameters)


def test_an_attack_that_fails_at_larger_radii_keeps_the_smallest_that_worked() -> None:
    def in_two_places(eps: float) -> bool:
        return 0.02 <= eps <= 0.05 or eps >= 0.2

    near = planted(Planted(ThreatModel("linf", 0.04), breaks=in_two_places))
    assert 0.02 <= near.eps <= 0.0205
    far = planted(Planted(ThreatModel("linf", 0.1), breaks=in_two_places))  # sees nothing below 0.1, where it failed
    assert 0.1999 <= far.eps <= 0.202


def test_the_distance_of_the_evidence_counts_and_not_the_radius() -> None:
    def size(eps: float) -> float:
        return 0.03125

    at_once = planted(Planted(ThreatModel("linf", 0.1), breaks=lambda eps: eps >= 0.08, size=size))
    assert at_once.eps == 0.03125
    after_a_failure = Planted(ThreatModel("linf", 0.05), breaks=lambda eps: eps >= 0.08, size=size)
    assert planted(after_a_failure).eps == 0.03125
    assert after_a_failure.log[0] == pytest.approx([0.05])
    assert after_a_failure.log[1] == pytest.approx([0.1])  # and 0.03125 < 0.05 leaves nothing to look for
    assert len(after_a_failure.log) == 2


def test_an_attack_that_always_breaks_ends_near_zero_and_one_that_never_does_at_the_limit() -> None:
    always = Planted(ThreatModel("linf", 0.1), breaks=lambda eps: eps > 0)
    assert 0 < planted(always).eps <= 0.001
    assert len(always.log) == 8  # each halves the bracket: 2^-7 is the first below 0.01
    far = Planted(ThreatModel("linf", 0.001), breaks=lambda eps: eps > 0.3)
    assert 0.3 < planted(far).eps <= 0.303
    assert len(far.log) == 10 + 7  # doubled nine times to 0.512; then 0.256 halved to less than 0.01 of 0.3
    never = Planted(ThreatModel("linf", 0.1), breaks=lambda eps: False)
    assert planted(never).eps == torch.inf
    assert [round(radii[0], 6) for radii in never.log] == [0.1, 0.2, 0.4, 0.8, 1.0]
    limited = Planted(ThreatModel("linf", 0.1), breaks=lambda eps: False)
    assert planted(limited, eps_max="64/255").eps == torch.inf
    assert limited.log[-1] == pytest.approx([64 / 255])


def test_only_samples_with_open_brackets_are_attacked() -> None:
    attack = Planted(ThreatModel("linf", (0.02, 0.4, 0.1)), breaks=lambda eps: eps >= 0.3)
    found = planted(attack, n=3, tolerance=0.1)
    assert ((found.eps >= 0.3) & (found.eps <= 0.34)).all()
    sizes = [len(radii) for radii in attack.log]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 3
    assert sizes[-1] == 1
    assert found.forward_passes >= 2 * sum(sizes)


@given(
    eps=st.lists(st.one_of(st.just(0.0), st.just(torch.inf), st.floats(0, 1, width=32)), min_size=1, max_size=20),
    grid=st.lists(st.floats(0, 1, width=32), max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_the_curve_counts_and_never_rises(eps: list[float], grid: list[float]) -> None:
    values = torch.tensor(eps)
    found = MinimalEps(values, torch.zeros(len(eps), 1, 1, 1), torch.zeros(len(eps)).long(), 0, 0)
    curve = found.accuracy_at(sorted(grid))
    expected = [(values > radius).float().mean().item() for radius in sorted(grid)]
    torch.testing.assert_close(curve, torch.tensor(expected), atol=1e-6, rtol=0)
    assert (curve.diff() <= 0).all()
    assert found.accuracy_at(0.0).shape == ()
    assert found.accuracy_at(torch.rand(2, 3)).shape == (2, 3)
    assert found.accuracy_at(found.median) <= 0.5 or found.median == torch.inf
    below = values[values < found.median]
    assert len(below) == 0 or found.accuracy_at(below.max()) > 0.5


def test_the_curve_is_the_accuracy_that_the_attack_itself_leaves(network: nn.Module) -> None:
    images, labels = stripes(60, seed=8)
    attack = PGD(ThreatModel("linf", 0.03), steps=20)
    found = minimal_eps(attack, network, images, labels)
    for eps in (0.02, 0.035, 0.05):
        left = 1 - replace(attack, threat=ThreatModel("linf", eps))(network, images, labels).success.float().mean()
        assert abs(found.accuracy_at(eps) - left) <= 2.5 / 60  # a sample or two within 1% of eps


def test_an_empty_batch() -> None:
    found = minimal_eps(FGSM(ThreatModel()), linear_case()[0], torch.zeros(0, *SHAPE), torch.zeros(0).long())
    assert found.eps.shape == (0,)
    assert found.images.shape == (0, *SHAPE)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tolerance": 0}, "tolerance is 0; it must be above 0 and below 1"),
        ({"tolerance": 1}, "tolerance is 1; it must be above 0"),
        ({"tolerance": "small"}, "tolerance is 'small'; write a number"),
        ({"eps_max": -1}, "eps is -1; it must be 0 or larger"),
        ({"eps_max": 8}, "did you mean 8/255"),
        ({"seeds": torch.zeros(3).long()}, "seeds are"),
        ({"targets": torch.arange(24) % 2}, "is its own label"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_input_gets_one_clear_line(parameters: dict[str, object], message: str) -> None:
    model, images, labels = linear_case()
    with pytest.raises(RobustAugError, match=message) as caught:
        minimal_eps(FGSM(ThreatModel("linf", 0.1)), model, images, labels, **parameters)
    assert "\n" not in str(caught.value)
