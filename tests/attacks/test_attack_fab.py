"""FAB finds the known minimal distances of linear models, and at least what the reference finds on a network."""

import math

import pytest
import torch
from attack_cases import Linear, stripes
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks.fab import FAB
from robustaug.attacks.threat import ThreatModel
from robustaug.errors import RobustAugError

Samples = tuple[Tensor, Tensor]
EPS = {"linf": 0.037, "l2": 0.6, "l1": 6.0}  # about a third to three quarters of the stripes break
DUAL = {"linf": 1, "l2": 2, "l1": math.inf}
norms = pytest.mark.parametrize("norm", EPS)


def fab(norm: str, eps: float | None = None, **parameters: object) -> FAB:
    return FAB(ThreatModel(norm, EPS[norm] if eps is None else eps), **parameters)  # type: ignore[arg-type]


class LinearClasses(nn.Module):
    """Logits W x + b, for weights of shape (K, C, H, W)."""

    def __init__(self, weights: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(weights), nn.Parameter(bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weights.flatten(1).T + self.bias


def linear_classes(classes: int, seed: int, n: int = 20) -> tuple[LinearClasses, Tensor, Tensor]:
    """A linear model, images in mid-range (no bound is met on the way), and its own predictions as labels."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(classes, 3, 4, 4, generator=generator)
    images = 0.45 + 0.1 * torch.rand(n, 3, 4, 4, generator=generator)
    model = LinearClasses(weights, -(weights * images.mean(0)).flatten(1).sum(1))
    with torch.no_grad():
        return model, images, model(images).argmax(1)


def distances_to_boundaries(model: LinearClasses, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """From each image to the hyperplane between its label and every class, (N, K); infinity at the label."""
    weights = model.weights.detach().flatten(1)
    with torch.no_grad():
        logits = model(images)
    leads = logits.gather(1, labels[:, None]) - logits
    duals = (weights[labels][:, None] - weights[None]).norm(p=DUAL[norm], dim=2)
    return (leads / duals).scatter(1, labels[:, None], math.inf)


# ---- known minimal distances ----


@norms
@given(seed=st.integers(0, 10**6), classes=st.sampled_from([2, 3, 5]))
@settings(max_examples=8, deadline=None)
def test_finds_the_minimal_distance_of_a_linear_model(norm: str, seed: int, classes: int) -> None:
    model, images, labels = linear_classes(classes, seed)
    closest, distance = fab(norm, 0.1, steps=15).closest(model, images, labels)
    expected = distances_to_boundaries(model, images, labels, norm).amin(1)
    assert (distance >= expected * (1 - 1e-4) - 1e-6).all()
    assert (distance <= expected * 1.01 + 1e-5).all()
    length = (closest - images).flatten(1).norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)
    torch.testing.assert_close(distance, length)


@norms
def test_finds_the_minimal_distance_when_half_of_the_values_are_at_their_bound(norm: str) -> None:
    weight = torch.linspace(0.5, 1.5, 48).view(3, 4, 4)
    images = torch.full((1, 3, 4, 4), 0.5)
    images[:, :, :, 2:] = 0  # these cannot go down
    free = weight[:, :, :2]
    free_score = (weight * images[0]).sum()
    model = Linear(weight, bias=float(0.4 - free_score))  # score 0.4, to be brought below 0
    free = weight[:, :, :2]
    _, distance = fab(norm, 0.01, steps=15).closest(model, images, torch.tensor([1]))
    expected = 0.4 / weight[:, :, :2].flatten().norm(p=DUAL[norm]) if norm != "l1" else 0.4 / free.max()
    assert expected <= distance.item() * (1 + 1e-4)
    assert distance.item() <= expected * 1.01


@norms
def test_breaks_exactly_the_samples_whose_minimal_distance_is_within_eps(norm: str) -> None:
    model, images, labels = linear_classes(4, seed=1, n=60)
    expected = distances_to_boundaries(model, images, labels, norm).amin(1)
    eps = float(expected.median())
    result = fab(norm, eps, steps=20)(model, images, labels)
    clear = (expected / eps - 1).abs() > 0.01
    assert torch.equal(result.success[clear], (expected <= eps)[clear])
    assert (result.distance <= eps + 1e-6).all()


@norms
def test_each_sample_has_its_own_eps(norm: str) -> None:
    model, images, labels = linear_classes(4, seed=2)
    expected = distances_to_boundaries(model, images, labels, norm).amin(1)
    factors = torch.tensor([0.98, 1.02]).repeat(10)
    result = FAB(ThreatModel(norm, (factors * expected).tolist()), steps=30)(model, images, labels)
    assert torch.equal(result.success, factors > 1)


def test_other_bounds_scale_everything() -> None:
    model, images, labels = linear_classes(3, seed=3)
    wide = LinearClasses(model.weights.detach() / 255, model.bias.detach())
    _, small = fab("l2", 0.1, steps=10).closest(model, images, labels)
    _, large = FAB(ThreatModel("l2", 25.5, (0, 255)), steps=10).closest(wide, images * 255, labels)
    torch.testing.assert_close(small * 255, large, rtol=1e-3, atol=1e-3)


# ---- targets ----


@norms
def test_targeted_finds_the_target_and_its_minimal_distance(norm: str) -> None:
    model, images, labels = linear_classes(2, seed=4)
    _, distance = fab(norm, 0.1, steps=15).closest(model, images, labels, targets=1 - labels)
    expected = distances_to_boundaries(model, images, labels, norm).amin(1)
    assert ((distance / expected - 1).abs() < 0.01).all()

    model, images, labels = linear_classes(5, seed=4)
    targets = (labels + 2) % 5
    found, distance = fab(norm, 0.1, steps=30).closest(model, images, labels, targets=targets)
    with torch.no_grad():
        assert torch.equal(model(found).argmax(1)[distance.isfinite()], targets[distance.isfinite()])
    assert distance.isfinite().float().mean() > 0.7
    to_target = distances_to_boundaries(model, images, labels, norm).gather(1, targets[:, None]).squeeze(1)
    assert (distance >= to_target * (1 - 1e-4)).all()


def test_tries_every_class_in_turn_and_no_more_than_there_are() -> None:
    """The nearest boundary belongs to the class with the smallest logit: it must be the last to be tried."""
    weights = torch.zeros(4, 1, 2, 2)
    weights[3] = -10  # steep
    model = LinearClasses(weights, torch.tensor([1.0, 0.9, 0.8, 19.5]))  # at 0.5 the logits are 1, 0.9, 0.8, -0.5
    images, labels = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.int64)
    assert fab("linf", 0.1, steps=5)(model, images, labels).success.all()
    assert not fab("linf", 0.1, steps=5, targets_tried=2)(model, images, labels).success.any()


@pytest.mark.parametrize(("classes", "targets_tried", "searches"), [(2, 9, 1), (3, 9, 2), (12, 9, 9), (12, 4, 4)])
def test_passes_spent_on_samples_that_hold(classes: int, targets_tried: int, searches: int) -> None:
    """The constant 2 is the look at the originals, once to count the classes and once to see what is wrong already."""
    model, images, labels = linear_classes(classes, seed=5)
    result = fab("l2", 0.0, steps=4, restarts=2, targets_tried=targets_tried)(model, images, labels)
    assert not result.success.any()
    assert result.backward_passes == 20 * searches * 2 * (4 + 1)
    assert torch.equal(result.images, images)


def test_a_sample_leaves_when_it_is_broken() -> None:
    """That takes a linear model two evaluations: of the original, and of the first step."""
    model, images, labels = linear_classes(2, seed=6)
    nearest = distances_to_boundaries(model, images, labels, "l2").amin(1)
    half = torch.arange(20) % 2 == 0
    eps = torch.where(half, 1.2 * nearest, 0)
    result = FAB(ThreatModel("l2", eps.tolist()), steps=50)(model, images, labels)
    assert torch.equal(result.success, half)
    assert result.backward_passes == 10 * 2 + 10 * 51


# ---- what breaks other implementations ----


@norms
def test_samples_wrong_from_the_start_are_left_alone(norm: str) -> None:
    model, images, labels = linear_classes(3, seed=7)
    labels[::2] = (labels[::2] + 1) % 3
    result = fab(norm, 1e-4, steps=3)(model, images, labels)
    assert result.success[::2].all()
    assert torch.equal(result.images[::2], images[::2])
    assert result.backward_passes <= 10 * 2 * (3 + 1)
    _, distance = fab(norm, 1e-4, steps=10).closest(model, images, labels)
    assert (distance[::2] == 0).all()
    assert (distance[1::2] > 0).all()
    labels[1::2] = (labels[1::2] + 1) % 3
    assert fab(norm, steps=3)(model, images, labels).backward_passes == 0


class Flat(nn.Module):
    """The first class wins everywhere, and no gradient says which way to go."""

    def forward(self, images: Tensor) -> Tensor:
        nothing = 0 * images.flatten(1).sum(1)
        return torch.stack([nothing + 1, nothing, nothing], 1)


@norms
@pytest.mark.parametrize("restarts", [1, 2])
def test_zero_gradients_give_no_nan(norm: str, restarts: int) -> None:
    images, labels = torch.rand(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64)
    result = fab(norm, 0.1, steps=5, restarts=restarts)(Flat(), images, labels)
    assert not result.success.any()
    assert result.images.isfinite().all()
    found, distance = fab(norm, 0.1, steps=5, restarts=restarts).closest(Flat(), images, labels)
    assert torch.equal(found, images)
    assert distance.isinf().all()


@norms
@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_scale_of_the_logits_changes_nothing(norm: str, scale: float) -> None:
    model, images, labels = linear_classes(3, seed=8)
    scaled = LinearClasses(model.weights.detach() * scale, model.bias.detach() * scale)
    _, distance = fab(norm, 0.1, steps=10).closest(model, images, labels)
    _, scaled_distance = fab(norm, 0.1, steps=10).closest(scaled, images, labels)
    torch.testing.assert_close(distance, scaled_distance, rtol=0.01, atol=1e-6)


class Valley(nn.Module):
    """The label wins by 1 - score^2: at the original the gradient is 0, beside it the boundary is found at once."""

    weight = torch.linspace(-1, 2, 16)

    def forward(self, images: Tensor) -> Tensor:
        score = ((images - 0.5).flatten(1) * 4 * self.weight).sum(1)
        return torch.stack([torch.ones_like(score), score.square()], 1)


@norms
def test_restarts_leave_a_point_without_gradient(norm: str) -> None:
    images, labels = torch.full((5, 1, 4, 4), 0.5), torch.zeros(5, dtype=torch.int64)
    _, once = fab(norm, steps=50).closest(Valley(), images, labels)
    assert once.isinf().all()
    _, twice = fab(norm, steps=50, restarts=2).closest(Valley(), images, labels)
    expected = 1 / (4 * Valley.weight.norm(p=DUAL[norm]))
    assert (twice >= expected * (1 - 1e-4)).all()
    assert (twice <= expected * 1.01).all()


@norms
def test_restarts_keep_the_nearest(norm: str, network: nn.Module, samples: Samples) -> None:
    samples = samples[0][:20], samples[1][:20]
    _, once = fab(norm, steps=4, targets_tried=1).closest(network, *samples)
    _, twice = fab(norm, steps=4, targets_tried=1, restarts=2).closest(network, *samples)
    assert (twice <= once).all()


# ---- a trained network ----


def reference_distances(network: nn.Module, samples: Samples, norm: str, steps: int) -> Tensor:
    """The smallest distance that the reference finds over all targets, infinity where none, 0 where wrong already."""
    images, labels = samples
    name = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    reference = FABAttack_PT(network, norm=name, n_iter=steps, eps=EPS[norm], targeted=True, device="cpu")
    with torch.no_grad():
        wrong = network(images).argmax(1) != labels
    best = torch.where(wrong, 0.0, torch.inf)
    for target in range(2, 6):
        reference.target_class = target
        found = reference.attack_single_run(images, labels, is_targeted=True)
        with torch.no_grad():
            broken = network(found).argmax(1) != labels
        length = (found - images).flatten(1).norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)
        best = torch.where(broken & (length < best), length, best)
    return best


@norms
def test_agrees_with_the_reference_on_a_network(norm: str, network: nn.Module, samples: Samples) -> None:
    samples = samples[0][:50], samples[1][:50]
    theirs = reference_distances(network, samples, norm, steps=20)
    _, ours = fab(norm, steps=20).closest(network, *samples)
    assert torch.equal(ours == 0, theirs == 0)
    ratios = (ours / theirs)[theirs > 0]
    assert ratios.isfinite().all()
    assert 0.95 < ratios.median() < 1.005
    assert ratios.quantile(0.95) < 1.06
    eps = float(theirs.median())
    result = fab(norm, eps, steps=20)(network, *samples)
    lost = (theirs <= eps) & ~result.success
    won = (theirs > eps) & result.success
    assert lost.sum() <= 1
    assert won.sum() <= 6


class Witness(nn.Module):
    """Remembers every image that it is shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        return self.inner(images)


@norms
def test_gives_the_nearest_of_all_adversarial_images_that_it_saw(
    norm: str, network: nn.Module, samples: Samples
) -> None:
    for i in range(4):
        image, label = samples[0][i : i + 1], samples[1][i : i + 1]
        model = Witness(network)
        _, distance = fab(norm, steps=15, restarts=2).closest(model, image, label)
        with torch.no_grad():
            seen = torch.cat(model.seen)
            adversarial = seen[network(seen).argmax(1) != label]
        lengths = (adversarial - image).flatten(1).norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)
        torch.testing.assert_close(distance[0], lengths.min())


@norms
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 1e-4, 0.5, 1.0, 3.0]))
@settings(max_examples=6, deadline=None)
def test_inside_ball_and_bounds(norm: str, seed: int, share: float, network: nn.Module) -> None:
    images, labels = stripes(6, seed)
    images = images.round(decimals=1)
    images[:3] = (5 * images[:3] - 2).clamp(0, 1)  # most values at a bound
    eps = share * EPS[norm]
    result = fab(norm, eps, steps=5, restarts=2)(network, images, labels)
    assert result.images.isfinite().all()
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    length = (result.images.double() - images.double()).flatten(1)
    distance = length.norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)
    assert (distance <= eps * (1 + 1e-6) + 1e-6).all()
    with torch.no_grad():
        assert torch.equal(result.success, network(result.images).argmax(1) != labels)


@norms
def test_a_sample_gets_the_same_bytes_in_any_batch(norm: str, network: nn.Module) -> None:
    images, labels = stripes(20, seed=4)
    seeds = randomness.sample_seeds(7, map(str, range(20)), "attack")
    attack = fab(norm, steps=5, restarts=2)
    whole = attack(network, images, labels, seeds=seeds)
    assert 0 < whole.success.sum() < 20
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    shuffled = attack(network, images[order], labels[order], seeds=seeds[order]).images
    assert torch.equal(shuffled, whole.images[order])
    for size in (1, 3, 17):
        rows = slice(2, 2 + size)
        part = attack(network, images[rows], labels[rows], seeds=seeds[rows]).images
        assert torch.equal(part, whole.images[rows])


@norms
def test_bfloat16_finds_the_same(norm: str, network: nn.Module, samples: Samples) -> None:
    """With leads in bfloat16 as well, linf and l1 lose one in ten of the samples that float32 breaks."""
    images, labels = samples[0][:40], samples[1][:40]
    attack = FAB(ThreatModel(norm, EPS[norm]), precision="bfloat16", steps=10)  # type: ignore[arg-type]
    found, distance = attack.closest(network, images, labels)
    with torch.no_grad():
        assert torch.equal(network(found).argmax(1) != labels, distance.isfinite())
    exact = fab(norm, steps=10)
    assert abs((distance / exact.closest(network, images, labels)[1]).nanmedian() - 1) < 0.02
    assert (attack(network, images, labels).success != exact(network, images, labels).success).sum() <= 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be a whole number, at least 1"),
        ({"restarts": 1.5}, "restarts is 1.5"),
        ({"targets_tried": 0}, "targets_tried is 0"),
        ({"alpha_max": 1.1}, "alpha_max is 1.1; it must be from 0 to 1"),
        ({"eta": 0.9}, "eta is 0.9; it must be from 1 to 2"),
        ({"beta": float("nan")}, "beta is nan; it must be from 0 to 1"),
    ],
)
def test_bad_parameters_get_one_clear_line(parameters: dict[str, float], message: str) -> None:
    with pytest.raises(RobustAugError, match=message) as caught:
        fab("linf", **parameters)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_closest_refuses_bad_input_as_a_call_does() -> None:
    with pytest.raises(RobustAugError, match="images are a list"):
        fab("linf").closest(Flat(), [0.5], torch.zeros(1, dtype=torch.int64))  # type: ignore[arg-type]
    empty, distance = fab("linf").closest(Flat(), torch.zeros(0, 1, 2, 2), torch.zeros(0, dtype=torch.int64))
    assert len(empty) == len(distance) == 0
