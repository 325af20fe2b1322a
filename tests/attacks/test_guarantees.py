"""Every guarantee of the attack contract, each on a model that would show a breach."""

from collections.abc import Callable

import pytest
import torch
from attack_cases import small_network, stripes
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import APGD, FAB, FGSM, MIFGSM, PGD, RFGSM, Attack, Square, ThreatModel
from robustaug.attacks.ball import BALLS, Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.errors import RobustAugError

Samples = tuple[Tensor, Tensor]
MakeAttack = Callable[[ThreatModel], Attack]
ATTACKS: dict[str, MakeAttack] = {
    "fgsm": FGSM,
    "pgd": lambda threat: PGD(threat, steps=4, restarts=2),
    "pgd early exit": lambda threat: PGD(threat, steps=6, restarts=2, early_exit=True),
    "pgd stacked": lambda threat: PGD(threat, steps=3, restarts=3, stacked=True),
    "pgd margin": lambda threat: PGD(threat, steps=3, loss="margin"),
    "pgd dlr": lambda threat: PGD(threat, steps=3, loss="dlr"),
    "pgd bfloat16": lambda threat: PGD(threat, steps=3, precision="bfloat16"),
    "rfgsm": RFGSM,
    "mifgsm": lambda threat: MIFGSM(threat, steps=4),
    "apgd": lambda threat: APGD(threat, steps=6),
    "apgd-t": lambda threat: APGD(threat, steps=4, loss="dlr", targets_tried=2),
    "fab": lambda threat: FAB(threat, steps=3, targets_tried=2),
    "square": lambda threat: Square(threat, queries=30),
}
attacks = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
norms = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])


@attacks
@norms
@given(seed=st.integers(0, 10**6), eps=st.sampled_from([0.0, 1e-6, 1 / 255, 8 / 255, 0.3, 1.0]))
@example(seed=226536, eps=0.3)  # the rounding of 768 values once added up to more than 1e-6 in l1
@settings(max_examples=10, deadline=None)
def test_inside_ball_and_bounds_and_never_nan(attack: MakeAttack, norm: str, seed: int, eps: float) -> None:
    model = small_network(seed % 7).eval()
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed)).round(
        decimals=1
    )  # some at the bounds
    result = attack(ThreatModel(norm, eps))(model, images, torch.arange(6) % 5)
    assert result.images.isfinite().all()
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    difference = (result.images.double() - images.double()).flatten(1)
    distance = difference.norm(p={"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)
    assert (distance <= eps + 1e-6).all()
    torch.testing.assert_close(result.distance.double(), distance, atol=1e-6, rtol=1e-6)


@attacks
def test_success_is_what_the_model_says_of_the_returned_images(
    attack: MakeAttack, network: nn.Module, samples: Samples
) -> None:
    images, labels = samples
    # Half of R-FGSM's eps is random, and 30 queries are few.
    eps = 0.1 if isinstance(attack(ThreatModel()), RFGSM | Square) else 0.03
    result = attack(ThreatModel("linf", eps))(network.train(), images, labels)
    network.eval()
    with torch.no_grad():
        predictions = network(result.images).argmax(1)
    assert torch.equal(result.predictions, predictions)
    assert torch.equal(result.success, predictions != labels)
    assert 0 < result.success.float().mean() < 1


class Fails(nn.Module):
    """Works for a few calls, then raises: an attack must clean up after it."""

    def __init__(self, inner: nn.Module, calls: int) -> None:
        super().__init__()
        self.inner, self.calls = inner, calls

    def forward(self, images: Tensor) -> Tensor:
        self.calls -= 1
        if self.calls < 0:
            raise ValueError("planted")
        return self.inner(images) + 0 * torch.rand(1)  # moves the global random state


@attacks
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_random_state_are_left_as_they_were(attack: MakeAttack, fails: bool) -> None:
    inner = small_network()
    model = Fails(inner, calls=2 if fails else 10**6).train()
    inner[1].eval()  # a batch norm that the user froze
    inner[0].weight.requires_grad_(False)
    inner[-1].weight.grad = torch.ones_like(inner[-1].weight)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    random_state = torch.get_rng_state()
    images, labels = stripes(8, seed=0)
    call = attack(ThreatModel("linf", 0.1))
    if fails:
        with pytest.raises(ValueError, match="planted"):
            call(model, images, labels)
    else:
        call(model, images, labels)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    gradients = [parameter.grad for parameter in model.parameters()]
    assert sum(gradient is not None for gradient in gradients) == 1
    assert torch.equal(inner[-1].weight.grad, torch.ones_like(inner[-1].weight))
    assert torch.equal(torch.get_rng_state(), random_state)


@attacks
@norms
def test_a_sample_gets_the_same_bytes_in_any_batch(attack: MakeAttack, norm: str, network: nn.Module) -> None:
    images, labels = stripes(33, seed=4)
    seeds = randomness.sample_seeds(7, map(str, range(33)), "attack")
    call = attack(ThreatModel(norm, 0.05 if norm == "linf" else 0.5))
    whole = call(network, images, labels, seeds=seeds).images
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(call(network, images[order], labels[order], seeds=seeds[order]).images, whole[order])
    for size in (1, 2, 3, 7, 32):
        rows = slice(1, 1 + size)
        assert torch.equal(call(network, images[rows], labels[rows], seeds=seeds[rows]).images, whole[rows]), size


def start_from(attack: PGD, model: nn.Module, images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
    return attack._ascend(Oracle(model), Ball.around(images, attack.threat), Goal(labels), seeds)


def test_restarts_keep_the_worst_result_not_the_last(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    threat = ThreatModel("linf", 0.045)
    seeds = torch.arange(len(images))

    def margins(adversarial: Tensor) -> Tensor:
        with torch.no_grad():
            logits = network(adversarial)
        own = logits.gather(1, labels[:, None]).squeeze(1)
        return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own

    # The r-th restart starts from the r-th fold of the seeds: run each alone.
    single = PGD(threat, steps=2)
    runs = torch.stack(
        [margins(start_from(single, network, images, labels, randomness.fold(seeds, r))) for r in range(6)]
    )
    several = PGD(threat, steps=2, restarts=6)(network, images, labels, seeds=seeds)
    broken = (runs > 0).any(0)
    assert torch.equal(several.success, broken)
    torch.testing.assert_close(margins(several.images)[~broken], runs.amax(0)[~broken], atol=1e-6, rtol=1e-6)
    assert (runs[-1] > 0).sum() < broken.sum()  # keeping the last would be seen


def test_dropping_broken_samples_between_restarts_saves_passes(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    result = PGD(ThreatModel("linf", 0.2), steps=3, restarts=10)(network, images, labels)
    n = len(images)
    assert result.success.all()
    assert result.backward_passes == 3 * n
    # Two looks at 4 images (are these logits? do they repeat?), the steps, the margin, the verdict.
    assert result.forward_passes == 2 * 4 + 3 * n + n + n


def test_targeted_success_is_the_target_and_not_any_mistake(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    targets = (labels + 2) % 5
    result = PGD(ThreatModel("linf", 0.01), steps=5)(network, images, labels, targets=targets)
    assert torch.equal(result.success, result.predictions == targets)
    assert ((result.predictions != labels) & ~result.success).any() or not result.success.all()


def test_zero_gradients_move_nothing_and_are_no_error() -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :3] * 0 + torch.tensor([0.0, 1.0, 2.0])

    images = torch.rand(4, 3, 8, 8)
    for norm in ("linf", "l2"):
        result = FGSM(ThreatModel(norm, 0.1))(Constant(), images, torch.full((4,), 2))
        assert torch.equal(result.images, images)
        assert not result.success.any()


def test_tiny_gradients_still_give_a_full_l2_step() -> None:
    gradient = torch.full((1, 3, 4, 4), 1e-30)
    torch.testing.assert_close(
        BALLS["l2"](gradient, gradient[:, :1, :1, :1], (0, 1)).direction(gradient, gradient).norm(), torch.tensor(1.0)
    )


@norms
@given(seed=st.integers(0, 10**6), eps=st.floats(0.01, 1))
@settings(max_examples=30, deadline=None)
def test_projection_is_idempotent_and_random_points_lie_inside(norm: str, seed: int, eps: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 3, 5, 5, generator=generator)
    ball = Ball.around(images, ThreatModel(norm, eps))
    projected = ball.project(images + torch.randn(images.shape, generator=generator))
    torch.testing.assert_close(ball.project(projected), projected, atol=1e-6, rtol=0)
    points = ball.random_point(torch.arange(4) + seed)
    assert (ball.distance(points) <= eps + 1e-6).all()
    assert points.min() >= 0
    assert points.max() <= 1


@norms
def test_random_starts_are_uniform_in_the_ball(norm: str) -> None:
    """In dimension d the share of a ball (for l-infinity, a cube) within r of its centre is r^d."""
    images = torch.full((4000, 1, 1, 2), 0.5)
    ball = Ball.around(images, ThreatModel(norm, 0.4))
    distance = ball.distance(ball.random_point(torch.arange(4000))) / 0.4
    for radius in (0.3, 0.5, 0.8):
        assert abs((distance < radius).float().mean() - radius**2) < 0.03


def test_works_under_no_grad_and_inference_mode(network: nn.Module, samples: Samples) -> None:
    images, labels = samples[0][:4], samples[1][:4]
    call = PGD(ThreatModel("linf", 0.05), steps=3)
    expected = call(network, images, labels).images
    with torch.no_grad():
        assert torch.equal(call(network, images, labels).images, expected)
    with torch.inference_mode():
        assert torch.equal(call(network, images.clone(), labels.clone()).images, expected)


@pytest.mark.parametrize("random_start", [True, False])
def test_takes_whole_batches_that_were_made_in_inference_mode(
    network: nn.Module, samples: Samples, random_start: bool
) -> None:
    images, labels = samples[0][:20], samples[1][:20]
    call = PGD(ThreatModel("linf", 0.05), steps=2, random_start=random_start)
    expected = call(network, images, labels).images
    with torch.inference_mode():
        made_here = images.clone(), labels.clone()
        assert torch.equal(call(network, *made_here).images, expected)
    assert torch.equal(call(network, *made_here).images, expected)


def test_an_empty_batch_gives_an_empty_result(network: nn.Module) -> None:
    result = PGD(ThreatModel("linf", 0.1))(network, torch.zeros(0, 3, 16, 16), torch.zeros(0, dtype=torch.int64))
    assert result.images.shape == (0, 3, 16, 16)
    assert result.success.shape == (0,)


def test_a_generator_draws_the_starts_and_nothing_else_does(network: nn.Module, samples: Samples) -> None:
    images, labels = samples[0][:5], samples[1][:5]
    call = PGD(ThreatModel("linf", 0.05), steps=1)
    one = call(network, images, labels, generator=torch.Generator().manual_seed(1)).images
    same = call(network, images, labels, generator=torch.Generator().manual_seed(1)).images
    other = call(network, images, labels, generator=torch.Generator().manual_seed(2)).images
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def nan_model(images: Tensor) -> Tensor:
    return images.flatten(1)[:, :3] / 0 * 0


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


GOOD = torch.rand(4, 3, 8, 8)
LABELS = torch.zeros(4, dtype=torch.int64)
THREE = Apply(lambda x: x.flatten(1)[:, :3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ThreatModel("linf", -0.1), "eps is -0.1; it must be 0 or larger"),
        (lambda: ThreatModel("linf", 8), "did you mean 8/255"),
        (lambda: ThreatModel("linf", "eight"), "eps is 'eight'; write a number"),
        (lambda: ThreatModel("linf", float("nan")), "must be finite"),
        (lambda: ThreatModel("l7", 0.1), "norm 'l7' is unknown; use one of linf, l2, l1"),
        (lambda: ThreatModel("linf", 0.1, bounds=(1, 0)), "bounds are"),
        (lambda: FGSM(ThreatModel("l2", 100))(THREE, GOOD, LABELS), "longer than the diagonal"),
        (lambda: FGSM(ThreatModel("linf", [0.1, 0.2]))(THREE, GOOD, LABELS), "2 values for 4 images"),
        (lambda: PGD(ThreatModel(), steps=0), "steps is 0; it must be a whole number, at least 1"),
        (lambda: PGD(ThreatModel(), restarts=0), "restarts is 0"),
        (lambda: PGD(ThreatModel(), step_size=0), "step_size is 0.0; it must be larger"),
        (lambda: PGD(ThreatModel(), restarts=2, random_start=False), "all give the same result"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD.numpy(), LABELS), "images are a ndarray; they must be a torch tensor"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD, [0, 1]), "labels are a list"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD * 255, LABELS), "outside the bounds"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD * torch.nan, LABELS), "outside the bounds"),
        (lambda: FGSM(ThreatModel())(THREE, (GOOD * 255).byte(), LABELS), "convert them to float32"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD.double(), LABELS), "call .float"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD[0], LABELS), r"must be \(N, C, H, W\)"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD, LABELS.float()), "labels are torch.float32"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD, LABELS[:3]), r"labels have shape \(3,\)"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD, LABELS + 3), r"the model has 3 classes"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD, LABELS - 1), r"labels run from -1"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD, LABELS, targets=LABELS), "is its own label 0"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD, LABELS, targets=LABELS + 7), "targets run from 7"),
        (lambda: FGSM(ThreatModel())(Apply(lambda x: x), GOOD, LABELS), "must return logits of shape"),
        (lambda: FGSM(ThreatModel())(Apply(lambda x: (x, x)), GOOD, LABELS), "the model returned tuple"),
        (lambda: FGSM(ThreatModel())(Apply(nan_model), GOOD, LABELS), "logits are NaN or infinite for image 0"),
        (lambda: FGSM(ThreatModel())(Apply(lambda x: x.detach().flatten(1)[:, :3]), GOOD, LABELS), "no gradient"),
        (lambda: FGSM(ThreatModel())(nn.Linear(2, 2).to("meta"), GOOD, LABELS), "the model is on meta"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD, LABELS.to("meta")), "labels are on meta and the images on cpu"),
        (lambda: FGSM(ThreatModel())(THREE, GOOD, LABELS, seeds=torch.zeros(3, dtype=torch.int64)), "seeds are"),
    ],
)
def test_bad_input_gets_one_clear_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(RobustAugError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_gradient_that_is_not_finite_names_the_step() -> None:
    class Kink(nn.Module):
        """The square root has an infinite slope at 0, where the second step arrives."""

        def forward(self, images: Tensor) -> Tensor:
            score = images.flatten(1).sqrt().sum(1)
            return torch.stack([score, torch.zeros_like(score)], 1)

    images = torch.full((2, 1, 4, 4), 0.05)
    attack = PGD(ThreatModel("linf", 0.05), steps=3, step_size=0.05, random_start=False)
    with pytest.raises(RobustAugError, match="step 2 of the attack"):
        attack(Kink(), images, torch.zeros(2, dtype=torch.int64))
