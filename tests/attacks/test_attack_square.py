"""The Square Attack: near the optimum of linear models, as strong as the reference, within its budget of queries."""

from collections.abc import Callable

import pytest
import torch
from attack_cases import Linear, stripes
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import ThreatModel
from robustaug.attacks.ball import Ball
from robustaug.attacks.square import Square
from robustaug.attacks.square_proposals import L1Proposals, L2Proposals, _bumps
from robustaug.errors import RobustAugError

Samples = tuple[Tensor, Tensor]
NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
norms = pytest.mark.parametrize("norm", NORMS)


def linear_case(shape: tuple[int, int, int] = (3, 8, 8), n: int = 20) -> tuple[Linear, Tensor, Tensor]:
    """A linear model that no change within the bounds breaks, so that the search goes on to its last query."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    images = torch.rand((n, *shape), generator=generator)
    return Linear(weight, bias=2 * float(weight.abs().sum())), images, torch.ones(n, dtype=torch.int64)


def gain(model: nn.Module, images: Tensor, adversarial: Tensor) -> Tensor:
    """By how much the score of class 1 fell, (N,)."""
    with torch.no_grad():
        return model(images)[:, 1] - model(adversarial)[:, 1]


class ReferenceToTheEdge(SquareAttack):
    """The reference leaves out the last row and column of places for its squares. (On small images that costs much.)"""

    def random_int(self, low: int = 0, high: int = 1, shape: tuple[int, ...] = (1,)) -> Tensor:
        return super().random_int(low, high + 1, shape)


def reference(
    norm: str,
    eps: float,
    queries: int,
    model: nn.Module,
    samples: Samples,
    seed: int = 0,
    kind: type[SquareAttack] = SquareAttack,
) -> Tensor:
    settings = {"norm": NORMS[norm], "eps": eps, "n_queries": queries - 1, "resc_schedule": False, "device": "cpu"}
    attack = kind(model, seed=seed, **settings)
    attack.init_hyperparam(samples[0])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return attack.attack_single_run(*samples)[1]  # its last images, broken or not


class Counted(nn.Module):
    """Counts the images that it sees, and keeps how many there were in each call."""

    def __init__(self, inner: nn.Module, noise: float = 0.0) -> None:
        super().__init__()
        self.inner, self.noise, self.sizes = inner, noise, []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        logits = self.inner(images)
        return logits + self.noise * torch.randn(logits.shape)


def test_reaches_the_corner_of_the_ball_that_is_best_on_a_linear_model() -> None:
    model, images, labels = linear_case()
    result = Square(ThreatModel("linf", 0.1), queries=4000)(model, images, labels)
    best = gain(model, images, (images - 0.1 * model.weight.sign()).clamp(0, 1))
    share = gain(model, images, result.images) / best
    assert share.min() > 0.99
    assert share.max() <= 1 + 1e-5


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.5), ("l1", 3.0)])
def test_comes_at_least_as_close_to_the_optimum_of_a_linear_model_as_the_reference(norm: str, eps: float) -> None:
    model, images, labels = linear_case()
    images = 0.4 + 0.2 * images  # the optimum without bounds is then a bound for every attack
    result = Square(ThreatModel(norm, eps), queries=600)(model, images, labels)
    best = eps * (model.weight.norm() if norm == "l2" else model.weight.abs().max())
    ours = gain(model, images, result.images) / best
    there = reference(norm, eps, 600, model, (images, labels), kind=ReferenceToTheEdge)
    theirs = gain(model, images, there) / best
    assert ours.max() < 1
    assert ours.mean() > 0.4
    assert ours.mean() > theirs.mean() - 0.04
    torch.testing.assert_close(result.distance, torch.full((20,), eps), atol=0, rtol=0.01)  # nothing of eps is lost


@pytest.mark.parametrize(("norm", "eps"), [("l2", 1.0), ("l1", 6.0)])
def test_what_the_bounds_take_from_a_change_is_spent_elsewhere(norm: str, eps: float) -> None:
    model, images, labels = linear_case()
    images = 0.2 * images  # half of all changes would lead out of the bounds
    result = Square(ThreatModel(norm, eps), queries=300)(model, images, labels)
    assert result.distance.min() > 0.97 * eps


@given(seed=st.integers(0, 10**6), size=st.floats(0, 3))
@settings(max_examples=20, deadline=None)
def test_l1_changes_go_to_their_bounds_the_largest_first(seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand((2, 1, 3, 3), generator=generator)
    proposals = L1Proposals(Ball.around(images, ThreatModel("l1", 9)), images, 1.0, torch.arange(2), 1)
    change = torch.randn((2, 9), generator=generator)
    found = proposals._fitted(change, images.flatten(1), torch.full((2,), size))
    for row in range(2):
        left = size
        for place in change[row].abs().argsort(descending=True).tolist():
            value = float(images[row].flatten()[place])
            step = min(left, 1 - value if change[row, place] > 0 else value)
            left -= step
            assert abs(float(found[row, place]) - step * float(change[row, place].sign())) < 1e-6


class Watch(nn.Module):
    """Keeps the largest distance from the originals, exactly, of all that it is asked about."""

    def __init__(self, inner: nn.Module, originals: Tensor, norm: str) -> None:
        super().__init__()
        self.inner, self.originals, self.norm = inner, originals, norm
        self.low, self.high, self.farthest = 1.0, 0.0, torch.zeros(len(originals), dtype=torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        difference = (images - self.originals[: len(images)]).double().flatten(1)
        distance = difference.norm(p={"linf": torch.inf, "l2": 2, "l1": 1}[self.norm], dim=1)
        self.farthest[: len(images)] = self.farthest[: len(images)].maximum(distance)
        self.low, self.high = min(self.low, float(images.min())), max(self.high, float(images.max()))
        return self.inner(images)


@norms
@given(
    shape=st.sampled_from([(3, 8, 8), (1, 5, 12), (3, 13, 6), (2, 2, 3), (1, 1, 4), (1, 1, 1)]),
    eps=st.sampled_from([0.0, 1e-6, 0.03, 0.5, 1.0]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=8, deadline=None)
def test_every_query_is_inside_ball_and_bounds(norm: str, shape: tuple[int, int, int], eps: float, seed: int) -> None:
    model, images, labels = linear_case(shape, n=16)
    images = images.round(decimals=1)  # some at the bounds
    radii = torch.linspace(0, eps, 16)
    watch = Watch(model, images, norm)
    result = Square(ThreatModel(norm, radii), queries=40)(watch, images, labels, seeds=torch.arange(16) + seed)
    assert watch.low >= 0
    assert watch.high <= 1
    allowed = radii.double() if norm == "linf" else radii.double() * (1 + 1e-6) + 1e-6
    assert (watch.farthest <= allowed).all()
    assert torch.equal(result.images[0], images[0])


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 1.6), ("l1", 13.0)])
def test_robust_accuracy_agrees_with_the_reference(network: nn.Module, norm: str, eps: float) -> None:
    """Within five points. Over five seeds ours spread by 2 points (one standard deviation), and the reference's, whose
    squares are the same for a whole batch, by 4 to 6: in six batches with seeds of their own, by about 2. For l1 ours
    is 20 points stronger, and two batches are enough."""
    batches = 2 if norm == "l1" else 6
    images, labels = stripes(50 * batches, seed=5)
    ours = 1 - Square(ThreatModel(norm, eps), queries=200)(network, images, labels).success.float().mean()
    standing = 0
    for batch in range(batches):
        rows = slice(50 * batch, 50 * batch + 50)
        found = reference(norm, eps, 200, network, (images[rows], labels[rows]), batch, ReferenceToTheEdge)
        with torch.no_grad():
            standing += int((network(found).argmax(1) == labels[rows]).sum())
    theirs = standing / len(images)
    assert 0.2 < ours < 0.9  # an accuracy at either end would agree with anything
    assert ours <= theirs + 0.05
    assert norm == "l1" or ours >= theirs - 0.05


@norms
def test_a_sample_gets_the_same_bytes_in_any_batch(norm: str, network: nn.Module) -> None:
    images, labels = stripes(33, seed=4)
    seeds = randomness.sample_seeds(7, map(str, range(33)), "attack")
    attack = Square(ThreatModel(norm, {"linf": 0.06, "l2": 1.8, "l1": 14.0}[norm]), queries=60)
    whole = attack(network, images, labels, seeds=seeds)
    assert 0 < whole.success.sum() < 33  # some leave on the way
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(attack(network, images[order], labels[order], seeds=seeds[order]).images, whole.images[order])
    for size in (1, 2, 3, 7, 32):
        rows = slice(1, 1 + size)
        assert torch.equal(attack(network, images[rows], labels[rows], seeds=seeds[rows]).images, whole.images[rows])


@norms
def test_the_layout_of_the_images_changes_nothing(norm: str, network: nn.Module) -> None:
    images, labels = stripes(20, seed=4)
    attack = Square(ThreatModel(norm, {"linf": 0.06, "l2": 1.8, "l1": 14.0}[norm]), queries=30)
    channels_last = images.to(memory_format=torch.channels_last)
    assert torch.equal(attack(network, images, labels).images, attack(network, channels_last, labels).images)


@norms
@pytest.mark.parametrize("queries", [1, 2, 37])
def test_the_budget_of_queries_is_kept(norm: str, queries: int) -> None:
    model, images, labels = linear_case()
    counted = Counted(model)
    result = Square(ThreatModel(norm, 0.1), queries=queries)(counted, images, labels)
    # Two looks at 4 images (are these logits? do they repeat?), which are broken already?, the search, the verdict.
    assert counted.sizes == [4, 4, 20, *[20] * queries, 20]
    assert result.forward_passes == sum(counted.sizes)
    assert result.backward_passes == 0


def test_samples_that_are_broken_cost_no_more_queries() -> None:
    model, images, labels = linear_case()
    labels[:7] = 0  # the model says 1
    counted = Counted(model)
    result = Square(ThreatModel("linf", 0.1), queries=50)(counted, images, labels)
    assert counted.sizes[2:] == [20, *[16] * 50, 20]  # 13, padded
    assert torch.equal(result.images[:7], images[:7])
    assert result.success.tolist() == [True] * 7 + [False] * 13
    middle = Linear(model.weight, bias=-float((images * model.weight.detach()).sum((1, 2, 3)).min()) + 10.0)
    result = Square(ThreatModel("linf", 0.2), queries=500)(middle, images, torch.ones_like(labels))
    assert 0 < result.success.sum() < 20
    assert (gain(middle, images, result.images)[~result.success] > 5).all()  # each still has its own state


def test_no_sample_of_a_randomised_model_is_dropped() -> None:
    model, images, labels = linear_case()
    counted = Counted(model, noise=100.0)
    Square(ThreatModel("linf", 0.1), queries=30)(counted, images, labels)
    assert counted.sizes == [4, 4, *[20] * 30, 20]


@norms
def test_on_two_classes_the_target_is_the_other_class(norm: str) -> None:
    model, images, labels = linear_case()
    attack = Square(ThreatModel(norm, 0.1), queries=60)
    targeted = attack(model, images, labels, targets=1 - labels)
    assert torch.equal(targeted.images, attack(model, images, labels).images)


def test_a_targeted_search_climbs_to_its_target(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    targets = (labels + 1) % 5
    attack = Square(ThreatModel("linf", 0.08), queries=100)
    result = attack(network, images, labels, targets=targets)
    assert torch.equal(result.success, result.predictions == targets)
    by_chance = (attack(network, images, labels).predictions == targets).float().mean()
    assert result.success.float().mean() > by_chance + 0.2


def test_bfloat16_finds_what_float32_finds(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    threat = ThreatModel("linf", 0.05)
    exact = Square(threat, queries=150)(network, images, labels)
    fast = Square(threat, queries=150, precision="bfloat16")(network, images, labels)
    with torch.no_grad():
        assert torch.equal(fast.success, network(fast.images).argmax(1) != labels)
    assert abs(fast.success.float().mean() - exact.success.float().mean()) <= 0.04


@pytest.mark.parametrize("rescale", [False, True])
def test_the_schedule_of_sizes_is_the_references(rescale: bool) -> None:
    ours = Square(ThreatModel(), queries=2500, rescale_schedule=rescale)
    theirs = SquareAttack(None, n_queries=2500, p_init=0.8, resc_schedule=rescale)
    blocks = [share for _, count, share in ours._blocks() for _ in range(count)]
    assert blocks == [theirs.p_selection(number) for number in range(2499)]


@pytest.mark.parametrize("kind", [L1Proposals, L2Proposals])
@pytest.mark.parametrize("side", [2, 3, 5, 8, 13])
def test_the_bumps_are_those_of_the_reference(kind: type[L2Proposals], side: int) -> None:
    with torch.random.fork_rng():
        theirs = SquareAttack(None, norm=f"L{kind.order}", eps=1, device="cpu").eta(side)
    ours = _bumps(side, kind.order, kind.decay)
    torch.testing.assert_close(ours if torch.allclose(ours, theirs, atol=1e-6) else ours.T, theirs, atol=1e-6, rtol=0)
    assert ours.sum().abs() < 1e-5 or side % 2  # as much up as down


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Square(ThreatModel(), queries=0), "queries is 0; it must be a whole number, at least 1"),
        (lambda: Square(ThreatModel(), queries=1.5), "queries is 1.5; it must be a whole number"),
        (lambda: Square(ThreatModel(), p_init=0), "p_init is 0; it must be above 0 and at most 1"),
        (lambda: Square(ThreatModel(), p_init=1.2), "p_init is 1.2; it must be above 0"),
        (lambda: Square(ThreatModel(), p_init="half"), "p_init is 'half'; write a number"),
    ],
)
def test_bad_input_gets_one_clear_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(RobustAugError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
