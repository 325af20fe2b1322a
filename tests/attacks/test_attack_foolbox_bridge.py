"""Attacks of Foolbox keep this library's contract, give what Foolbox gives, and faults planted in them are caught."""

import copy
import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import eagerpy
import foolbox
import numpy as np
import pytest
import torch
from attack_cases import Linear, small_network, stripes
from foolbox.attacks.base import FixedEpsilonAttack, MinimizationAttack
from torch import Tensor, nn

from robustaug.attacks import AttackResult, ThreatModel
from robustaug.attacks.foolbox_bridge import FoolboxAttack, from_foolbox
from robustaug.attacks.foolbox_starts import Examples
from robustaug.attacks.goal import Goal
from robustaug.errors import RobustAugError
from robustaug.randomness import derive_seed

Samples = tuple[Tensor, Tensor]
ORDERS = {"linf": torch.inf, "l2": 2, "l1": 1}
EVERYWHERE = ThreatModel("linf", 1)
BALLS = {"linf": ThreatModel("linf", 0.05), "l2": ThreatModel("l2", 0.9), "l1": ThreatModel("l1", 12)}
CASES: list[tuple[str, ThreatModel, dict[str, Any]]] = [
    ("L2DeepFoolAttack", BALLS["l2"], {"steps": 8}),
    ("LinfDeepFoolAttack", BALLS["linf"], {"steps": 8}),
    ("L2CarliniWagnerAttack", BALLS["l2"], {"steps": 15, "binary_search_steps": 2, "initial_const": 1.0}),
    ("DDNAttack", BALLS["l2"], {"steps": 10}),
    ("EADAttack", BALLS["l1"], {"steps": 10, "binary_search_steps": 2, "initial_const": 1.0}),
    ("NewtonFoolAttack", BALLS["l2"], {"steps": 4, "stepsize": 0.1}),
    ("VirtualAdversarialAttack", BALLS["l2"], {"steps": 2, "xi": 0.1}),
    ("FGSM", BALLS["linf"], {}),
    ("LinfPGD", BALLS["linf"], {"steps": 5, "rel_stepsize": 0.3}),
    ("L2AdamPGD", ThreatModel("l2", 2), {"steps": 8, "rel_stepsize": 0.1}),
    ("SparseL1DescentAttack", BALLS["l1"], {"steps": 5}),
    ("LinfRepeatedAdditiveUniformNoiseAttack", EVERYWHERE, {"repeats": 4}),
    ("L2ContrastReductionAttack", ThreatModel("l2", 5), {}),
    ("BinarySearchContrastReductionAttack", ThreatModel("l2", 5), {}),
    ("GaussianBlurAttack", EVERYWHERE, {"steps": 8}),
    ("InversionAttack", EVERYWHERE, {}),
    ("SpatialAttack", EVERYWHERE, {"num_rotations": 3, "num_translations": 2}),
    ("SpatialAttack", ThreatModel("linf", 0.5), {"grid_search": False, "random_steps": 4}),
    ("SaltAndPepperNoiseAttack", ThreatModel("l2", 8), {"steps": 20}),
    ("LinearSearchBlendedUniformNoiseAttack", ThreatModel("l2", 8), {"steps": 20, "directions": 20}),
    ("L0FMNAttack", EVERYWHERE, {"steps": 30}),
    ("LInfFMNAttack", BALLS["linf"], {"steps": 8}),
    ("BoundaryAttack", ThreatModel("l2", 8), {"steps": 12}),
    ("HopSkipJumpAttack", ThreatModel("l2", 5), {"steps": 1, "initial_gradient_eval_steps": 10}),
    ("GenAttack", ThreatModel("linf", 0.5), {"steps": 12, "population": 6}),
]
cases = pytest.mark.parametrize(("name", "threat", "parameters"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])


@pytest.fixture(scope="module")
def standing(network: nn.Module, samples: Samples) -> Samples:
    """Samples that the network has right."""
    images, labels = samples
    with torch.no_grad():
        right = (network(images).argmax(1) == labels).nonzero().squeeze(1)[:24]
    return images[right], labels[right]


class Counts(nn.Module):
    """Counts the images that go forward through a model and those whose gradient comes back."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.forwards, self.backwards = inner, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        if images.requires_grad:
            images.register_hook(self.count)
        return self.inner(images)

    def count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def wanted(name: str, labels: Tensor) -> Tensor | None:
    return (labels + 1) % 5 if name == "GenAttack" else None


def run_foolbox(
    attack: Any, model: nn.Module, samples: Samples, targets: Tensor | None, epsilon: float | None
) -> Tensor:
    """Foolbox itself, from the random state that the bridge starts from."""
    images, labels = samples
    criterion = foolbox.Misclassification(labels) if targets is None else foolbox.TargetedMisclassification(targets)
    model = copy.deepcopy(model).eval()  # Foolbox leaves gradients in its parameters
    seed = derive_seed(*range(len(images)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        found, _, _ = attack(foolbox.PyTorchModel(model, (0, 1), "cpu"), images, criterion, epsilons=epsilon)
    return found


@cases
def test_the_contract_holds(name: str, threat: ThreatModel, parameters: dict[str, Any], network: nn.Module) -> None:
    images, labels = stripes(30, seed=8)
    labels[:4] = (labels[:4] + 2) % 5  # misclassified from the start
    targets = wanted(name, labels)
    inner = small_network()
    inner.load_state_dict(network.state_dict())
    model = Counts(inner).train()
    inner[1].eval()  # a batch norm that the user froze
    inner[0].weight.requires_grad_(False)
    inner[-1].weight.grad = torch.ones_like(inner[-1].weight)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002

    attack = from_foolbox(name, threat, **parameters)
    result = attack(model, images, labels, targets=targets)

    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert sum(parameter.grad is not None for parameter in model.parameters()) == 1
    assert torch.equal(inner[-1].weight.grad, torch.ones_like(inner[-1].weight))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002
    assert random.getstate() == python_state
    assert (result.forward_passes, result.backward_passes) == (model.forwards, model.backwards)

    assert result.images.isfinite().all()
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    difference = (result.images.double() - images.double()).flatten(1)
    distance = torch.linalg.vector_norm(difference, ORDERS[threat.norm], dim=1)
    assert (distance <= threat.eps * (1 + 1e-6) + 1e-6).all()
    torch.testing.assert_close(result.distance.double(), distance, atol=1e-6, rtol=1e-6)
    with torch.no_grad():
        before, predictions = network(images).argmax(1), network(result.images).argmax(1)
    assert torch.equal(result.predictions, predictions)
    assert torch.equal(result.success, predictions != labels if targets is None else predictions == targets)
    met = before != labels if targets is None else before == targets
    assert result.success[met].all()
    assert result.success[~met].any()  # the attack did something
    assert torch.equal(result.images[met], images[met])

    again = attack(model, images, labels, targets=targets)
    assert torch.equal(again.images, result.images)


@cases
def test_the_images_are_those_of_foolbox(
    name: str, threat: ThreatModel, parameters: dict[str, Any], network: nn.Module, standing: Samples
) -> None:
    attack, targets = from_foolbox(name, threat, **parameters), wanted(name, standing[1])
    radius = threat.eps if isinstance(attack.attack, FixedEpsilonAttack) else None
    found = run_foolbox(attack.attack, network, standing, targets, radius)
    distance = foolbox.distances.LpDistance(ORDERS[threat.norm])
    # Foolbox's own way back into the ball. In l1 it shortens, where this library takes the nearest point.
    expected = distance.clip_perturbation(standing[0], found, threat.eps)
    rows = distance(standing[0], found) <= threat.eps if threat.norm == "l1" else slice(None)
    result = attack(network, *standing, targets=targets)
    torch.testing.assert_close(result.images[rows], expected[rows], atol=2e-6, rtol=0)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_on_a_linear_model_goes_the_known_distance(norm: str) -> None:
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(3, 6, 6, generator=generator)
    images = 0.4 + 0.2 * torch.rand(40, 3, 6, 6, generator=generator)
    model = Linear(weight, -float((0.5 * weight).sum()))
    score = model(images)[:, 1].detach()
    labels = (score > 0).long()
    nearest = score.abs() / (weight.norm() if norm == "l2" else weight.abs().sum())  # by the dual norm
    name = "L2DeepFoolAttack" if norm == "l2" else "LinfDeepFoolAttack"
    median = float(nearest.median())
    attack = from_foolbox(name, ThreatModel(norm, median), overshoot=0.01)
    found = attack.minimal_distance(model, images, labels)
    assert found.success.all()
    # Foolbox walks 1e-4 too far, and then by the overshoot.
    torch.testing.assert_close(found.distance, 1.01 * (nearest + 1e-4), atol=2e-5, rtol=1e-4)
    limited = attack(model, images, labels)
    assert limited.success[found.distance <= median].all()
    assert not limited.success[nearest > 1.001 * median].any()  # nothing in the ball could
    assert (limited.distance <= median + 1e-6).all()


def test_each_sample_has_its_own_radius(network: nn.Module, standing: Samples) -> None:
    images, labels = standing
    radii = [0.0, 0.02, 0.045] * 8
    each = ThreatModel("linf", radii)
    fixed = from_foolbox("FGSM", each)(network, images, labels)
    torch.testing.assert_close(fixed.distance, torch.tensor(radii), atol=1e-6, rtol=0)
    assert fixed.backward_passes == 16
    assert torch.equal(fixed.images[0::3], images[0::3])
    alike = from_foolbox("FGSM", ThreatModel("linf", 0.045))(network, images, labels)
    assert torch.equal(fixed.images[2::3], alike.images[2::3])
    free = from_foolbox("LinfDeepFoolAttack", each, steps=8)(network, images, labels)
    far = from_foolbox("LinfDeepFoolAttack", each, steps=8).minimal_distance(network, images, labels)
    assert free.success[far.distance <= torch.tensor(radii)].all()
    assert not free.success[0::3].any()  # no radius, no change
    assert 0 < free.success[2::3].sum() < far.success[2::3].sum()
    assert (free.distance <= torch.tensor(radii) + 1e-6).all()


@pytest.mark.parametrize(
    ("name", "eps", "parameters"),
    [("LinfPGD", 0.05, {"steps": 3}), ("DDNAttack", 0.9, {"steps": 5}), ("HopSkipJumpAttack", 5, {"steps": 1})],
)
def test_bounds_are_those_of_the_threat_model(
    name: str, eps: float, parameters: dict[str, Any], network: nn.Module, standing: Samples
) -> None:
    images, labels = standing

    class Scaled(nn.Module):
        def forward(self, levels: Tensor) -> Tensor:
            return network((levels + 2) / 4)

    norm = "linf" if name == "LinfPGD" else "l2"
    unit = from_foolbox(name, ThreatModel(norm, eps), **parameters)(network, images, labels)
    scaled = from_foolbox(name, ThreatModel(norm, 4 * eps, bounds=(-2, 2)), **parameters)(
        Scaled(), 4 * images - 2, labels
    )
    torch.testing.assert_close((scaled.images + 2) / 4, unit.images, atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.distance / 4, unit.distance, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("L2CarliniWagnerAttack", {"steps": 30, "binary_search_steps": 3, "initial_const": 1.0}),
        ("DDNAttack", {"steps": 20}),
        ("HopSkipJumpAttack", {"steps": 1}),
        ("BoundaryAttack", {"steps": 5}),
    ],
)
def test_targets_are_reached(name: str, parameters: dict[str, Any], network: nn.Module, standing: Samples) -> None:
    images, labels = standing
    targets = (labels + 2) % 5
    result = from_foolbox(name, ThreatModel("l2", 15), **parameters)(network, images, labels, targets=targets)
    assert result.success.float().mean() > 0.8
    assert torch.equal(result.success, result.predictions == targets)


@pytest.mark.parametrize("name", ["DeepFool", "NewtonFool", "VirtualAdversarial", "LinfFastGradient"])
def test_attacks_that_cannot_aim_say_so(name: str, network: nn.Module, standing: Samples) -> None:
    name = f"L2{name}Attack" if name == "DeepFool" else f"{name}Attack"
    parameters = {"steps": 1} if "Fast" not in name else {}
    threat = BALLS["linf" if "Linf" in name else "l2"]
    with pytest.raises(RobustAugError, match=f"Foolbox's {name} cannot aim at a class; call it without targets"):
        from_foolbox(name, threat, **parameters)(network, *standing, targets=(standing[1] + 1) % 5)


def test_an_attack_that_only_aims_says_so(network: nn.Module, standing: Samples) -> None:
    with pytest.raises(RobustAugError, match="Foolbox's GenAttack needs targets; give some"):
        from_foolbox("GenAttack", BALLS["linf"], steps=1)(network, *standing)


class BrightIsOne(nn.Module):
    """Class 1 where the mean of the image is above 0.7, else 0: uniform noise is always taken for class 0."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1)
        return torch.stack([0.7 - mean, mean - 0.7], 1) * 20


BLENDS = [("BoundaryAttack", {"steps": 5}), ("HopSkipJumpAttack", {"steps": 1, "initial_gradient_eval_steps": 5})]


@pytest.mark.parametrize(("name", "parameters"), BLENDS)
def test_a_sample_without_a_starting_point_does_not_lose_the_batch(name: str, parameters: dict[str, Any]) -> None:
    dark, bright = torch.full((3, 3, 8, 8), 0.3), torch.full((2, 3, 8, 8), 0.9)
    bright[1] = 0.8
    first = foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(steps=50, directions=3)
    attack = from_foolbox(name, ThreatModel("l2", 13), init_attack=first, **parameters)
    images, labels = torch.cat([dark, bright]), torch.tensor([0, 0, 0, 1, 1])
    with pytest.raises(ValueError, match="init_attack failed for 3"):
        run_foolbox(attack.attack, BrightIsOne(), (images, labels), None, None)
    together = attack(BrightIsOne(), images, labels)
    assert together.success.all()  # the dark ones started from the bright ones of the batch
    alone = attack(BrightIsOne(), dark, labels[:3])
    assert not alone.success.any()
    assert torch.equal(alone.images, dark)


def test_a_starting_point_that_is_nan_is_none() -> None:
    images = torch.cat([torch.full((2, 3, 8, 8), 0.3), torch.full((2, 3, 8, 8), 0.9)])
    first = Planted(lambda images: torch.full_like(images, torch.nan))  # whose logits' argmax is 0
    attack = from_foolbox("HopSkipJumpAttack", ThreatModel("l2", 13), init_attack=first, steps=1)
    assert attack(BrightIsOne(), images, torch.tensor([0, 0, 1, 1])).success.all()


def test_the_nearest_example_meets_the_goal() -> None:
    images = torch.tensor([0.0, 0.2, 0.3, 0.9]).view(4, 1, 1, 1)
    batch = Examples(images, torch.tensor([0, 0, 1, 2]))
    away = batch.nearest(images, Goal(torch.tensor([0, 0, 1, 2])))
    assert torch.equal(away.flatten(), torch.tensor([0.3, 0.3, 0.2, 0.3]))
    towards = batch.nearest(images, Goal(torch.tensor([0, 0, 1, 2]), torch.tensor([2, 1, 0, 3])))
    assert torch.equal(towards.flatten()[:3], torch.tensor([0.9, 0.3, 0.2]))
    assert towards.flatten()[3].isnan()


def test_attacks_from_given_starting_points_and_repeated_ones(network: nn.Module, standing: Samples) -> None:
    noise = foolbox.attacks.SaltAndPepperNoiseAttack(steps=10)
    minimum_norm = foolbox.attacks.L2FMNAttack(steps=10, init_attack=noise)
    result = from_foolbox(minimum_norm, EVERYWHERE)(network, *standing)
    expected = run_foolbox(minimum_norm, network, standing, None, None)
    torch.testing.assert_close(result.images, expected, atol=2e-6, rtol=0)
    single = foolbox.attacks.LinfRepeatedAdditiveUniformNoiseAttack(repeats=1)
    repeated = from_foolbox(single.repeat(6), ThreatModel("linf", 0.8))
    assert (
        repeated(network, *standing).success.sum()
        > from_foolbox(single, repeated.threat)(network, *standing).success.sum()
    )
    assert repeated.name == "LinfRepeatedAdditiveUniformNoiseAttack"


def test_pointwise_resets_all_values_that_it_can() -> None:
    weight = torch.zeros(1, 4, 4)
    weight[0, 0, :2] = 1.0
    images = torch.full((16, 1, 4, 4), 0.5)
    model = Linear(weight, -1.5)  # class 1 if the first two values sum to more than 1.5
    attack = from_foolbox("PointwiseAttack", ThreatModel("l1", 1))
    result = attack(model, images, torch.zeros(16, dtype=torch.int64))
    assert result.success.all()
    # Ten halvings end within 1/1024 of the boundary, which is 0.5 away in l1, and only those two values stay changed.
    torch.testing.assert_close(result.distance, torch.full((16,), 0.5), atol=2e-3, rtol=0)
    assert ((result.images != images).flatten(1).sum(1) <= 2).all()


def test_the_data_set_attack_takes_what_it_was_fed(network: nn.Module, standing: Samples) -> None:
    images, labels = standing
    attack = foolbox.attacks.DatasetAttack()
    with pytest.raises(RobustAugError, match="can only be called after data has been provided"):
        from_foolbox(attack, EVERYWHERE)(network, images, labels)
    others, _ = stripes(40, seed=9)
    attack.feed(foolbox.PyTorchModel(network, (0, 1), "cpu"), others)
    result = from_foolbox(attack, EVERYWHERE)(network, images, labels)
    assert result.success.all()
    assert (result.images[:, None] == others).flatten(2).all(2).any(1).all()


@pytest.mark.parametrize(("name", "norm"), [("L2", "l2"), ("Linfinity", "linf"), ("L1", "l1"), ("L0", "linf")])
def test_brendel_bethge(name: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As plain Python: numba, which compiles it, is no dependency, and takes half a minute for each norm."""
    monkeypatch.setitem(sys.modules, "numba", None)
    specification = importlib.util.find_spec("foolbox.attacks.brendel_bethge")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "NUMBA_IMPORT_ERROR", None)
    monkeypatch.setattr(module, "numba", type("numba", (), {"__version__": "0.60"}), raising=False)
    monkeypatch.setattr(module.L2Optimizer, "_ctor", type("constructor", (), {"signatures": [1]}), raising=False)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 4, 4, generator=generator)
    images = 0.4 + 0.2 * torch.rand(6, 1, 4, 4, generator=generator)
    model = Linear(weight, -float((0.5 * weight).sum()))
    score = model(images)[:, 1].detach()
    attack = from_foolbox(getattr(module, f"{name}BrendelBethgeAttack")(steps=60, lr=0.01), ThreatModel(norm, 1))
    result = attack.minimal_distance(model, images, (score > 0).long())
    assert result.success.all()
    dual = {"L2": weight.norm(), "Linfinity": weight.abs().sum(), "L1": weight.abs().max()}
    if name in dual:
        nearest = score.abs() / dual[name]
        assert (result.distance >= nearest - 1e-5).all()
        assert (result.distance <= 1.2 * nearest + 5e-3).all()
    else:
        assert ((result.images - images).abs() > 1e-4).flatten(1).sum(1).max() <= 4


def test_without_numba_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ModuleNotFoundError("No module named 'numba'", name="numba")
    monkeypatch.setattr(foolbox.attacks.brendel_bethge, "NUMBA_IMPORT_ERROR", missing)
    with pytest.raises(RobustAugError, match="Foolbox's L1BrendelBethgeAttack needs numba; pip install numba"):
        from_foolbox("L1BrendelBethgeAttack", BALLS["l1"])


class Planted(MinimizationAttack):
    """An attack that does what it is told."""

    distance = foolbox.distances.l2

    def __init__(self, act: Callable[[Tensor], Any]) -> None:
        self.act = act

    def run(self, model: Any, inputs: Any, criterion: Any, *, early_stop: float | None = None, **options: Any) -> Any:
        images, restore = eagerpy.astensor_(inputs)
        return restore(eagerpy.astensor(self.act(images.raw)))


def attacked(act: Callable[[Tensor], Any], network: nn.Module, samples: Samples, eps: float = 0.1) -> AttackResult:
    return from_foolbox(Planted(act), ThreatModel("linf", eps))(network, *samples)


def test_nan_becomes_the_original(network: nn.Module, standing: Samples) -> None:
    def fault(images: Tensor) -> Tensor:
        images = (images + 0.05).clamp(0, 1)
        images[3] = torch.nan
        images[5, 0, 2, 2] = torch.inf
        return images

    result = attacked(fault, network, standing)
    moved = (result.images != standing[0]).flatten(1).any(1)
    assert moved.logical_not().nonzero().flatten().tolist() == [3, 5]
    assert not result.success[[3, 5]].any()


def test_what_leaves_ball_or_bounds_is_brought_back(network: nn.Module, standing: Samples) -> None:
    inverted = attacked(lambda images: 1 - images, network, standing, eps=0.01)
    assert (inverted.distance <= 0.01 + 1e-6).all()
    assert not inverted.success.all()  # though every inverted image breaks the network
    assert attacked(lambda images: 1 - images, network, standing, eps=1).success.all()
    beyond = attacked(lambda images: images * 4 - 1.5, network, standing, eps=1)
    assert beyond.images.min() == 0
    assert beyond.images.max() == 1


@pytest.mark.parametrize("fails", [False, True])
def test_modes_and_random_states_moved_by_an_attack_are_put_back(
    fails: bool, network: nn.Module, standing: Samples
) -> None:
    model = nn.Sequential(small_network(), nn.Dropout()).train()
    model[0].load_state_dict(network.state_dict())
    model[0][1].eval()
    modes = [module.training for module in model.modules()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002

    def fault(images: Tensor) -> Tensor:
        assert not any(module.training for module in model.modules())
        model.train()
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        assert not fails
        return images

    with pytest.raises(RobustAugError, match="assert not") if fails else pytest.MonkeyPatch.context():
        result = attacked(fault, model, standing)
        assert not result.success.any()  # in train mode, dropout and batch norm would have broken some
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("first line\nsecond line"), r"Planted failed on a batch of 24 \(ValueError: first line\); change"),
        (AssertionError(), r"\(AssertionError at fault: raise error\)"),
        (TypeError("unexpected"), "TypeError: unexpected"),
    ],
)
def test_an_error_of_foolbox_is_one_line(error: Exception, said: str, network: nn.Module, standing: Samples) -> None:
    def fault(images: Tensor) -> Tensor:
        raise error

    with pytest.raises(RobustAugError, match=said) as caught:
        attacked(fault, network, standing)
    assert "\n" not in str(caught.value)


def test_what_lies_in_ball_and_bounds_keeps_every_bit(network: nn.Module, standing: Samples) -> None:
    moved = torch.rand(standing[0].shape, generator=torch.Generator().manual_seed(1)) ** 4  # far below the originals
    attack = from_foolbox(Planted(lambda images: moved), ThreatModel("l2", 20))
    assert torch.equal(attack(network, *standing).images, moved)


def test_images_of_another_shape_are_refused(network: nn.Module, standing: Samples) -> None:
    with pytest.raises(RobustAugError, match="Planted failed"):
        attacked(lambda images: images[:1], network, standing)


def test_memory_that_runs_out_halves_the_batch(network: nn.Module, standing: Samples) -> None:
    def fault(images: Tensor) -> Tensor:
        if len(images) > 6:
            raise torch.OutOfMemoryError("planted")
        return 1 - images

    whole = attacked(lambda images: 1 - images, network, standing)
    attack = from_foolbox(Planted(fault), ThreatModel("linf", 0.1))
    assert torch.equal(attack(network, *standing, batch_size="auto").images, whole.images)
    with pytest.raises(torch.OutOfMemoryError):
        attack(network, *standing)


class Broken(nn.Module):
    """A model that fails, in one of several ways, when an image has left the original."""

    def __init__(self, network: nn.Module, images: Tensor, how: str) -> None:
        super().__init__()
        self.network, self.originals, self.how = network, {image.numpy().tobytes() for image in images}, how

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        moved = [i for i, image in enumerate(images.detach()) if image.numpy().tobytes() not in self.originals]
        if moved and self.how == "logits":
            logits = logits.index_fill(0, torch.tensor(moved), torch.nan)
        if self.how == "gradient":
            logits = logits + 0 * (images - images.detach()).abs().sqrt().sum((1, 2, 3)).unsqueeze(1)
        if moved and self.how == "forward":
            raise ValueError("planted in forward")
        if images.requires_grad and self.how == "backward":
            images.register_hook(self.fail)
        return logits

    def fail(self, gradient: Tensor) -> None:
        raise ValueError("planted in backward")


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("logits", RobustAugError, "the model's logits are NaN or infinite for an image that a Foolbox attack tried"),
        ("gradient", RobustAugError, "the model's gradient is NaN or infinite for an image"),
        ("forward", ValueError, "planted in forward"),
        ("backward", ValueError, "planted in backward"),
    ],
)
def test_faults_of_the_model_are_named_as_such(
    how: str, kind: type[Exception], said: str, network: nn.Module, standing: Samples
) -> None:
    model = Broken(copy.deepcopy(network), standing[0], how)
    model.zero_grad()
    with pytest.raises(kind, match=said):
        from_foolbox("LinfPGD", BALLS["linf"], steps=2)(model, *standing)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: from_foolbox("L2DeepFool", BALLS["l2"]), "no attack 'L2DeepFool'; did you mean .*L2DeepFoolAttack"),
        (lambda: from_foolbox("hopskipjump", BALLS["l2"]), "did you mean .*HopSkipJumpAttack"),
        (lambda: from_foolbox("Zzz", BALLS["l2"]), "no attack 'Zzz'; dir\\(foolbox.attacks\\) lists"),
        (lambda: from_foolbox("Attack", BALLS["l2"]), "no attack 'Attack'"),
        (
            lambda: from_foolbox("DDNAttack", BALLS["l2"], stepz=3),
            "refuses DDNAttack: TypeError.*'stepz'; it takes .*steps",
        ),
        (lambda: from_foolbox("VirtualAdversarialAttack", BALLS["l2"]), "missing 1 required .*'steps'; it takes"),
        (lambda: from_foolbox("HopSkipJumpAttack", BALLS["l2"], constraint="l7"), "refuses HopSkipJumpAttack: Assert"),
        (
            lambda: from_foolbox(foolbox.attacks.DDNAttack(), BALLS["l2"], steps=3),
            "parameters \\(steps\\) go with the name",
        ),
        (lambda: from_foolbox(foolbox.attacks.DDNAttack, BALLS["l2"]), "is no attack of Foolbox; give a class name"),
        (lambda: from_foolbox("LinfPGD", BALLS["l2"]), "LinfProjected.* ball of norm linf, and the threat model is l2"),
        (lambda: from_foolbox("L1PGD", BALLS["linf"]), "a ball of norm l1, and the threat model is linf"),
        (
            lambda: from_foolbox("L2PGD", BALLS["l2"]).minimal_distance(
                BrightIsOne(), torch.zeros(0, 3, 8, 8), torch.zeros(0)
            ),
            "searches a ball of given radius; minimal_eps finds the smallest",
        ),
    ],
)
def test_what_makes_no_attack_is_one_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(RobustAugError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_parameters_are_plain_values() -> None:
    noise = foolbox.attacks.SaltAndPepperNoiseAttack(steps=10)
    attack = from_foolbox("PointwiseAttack", BALLS["l1"], init_attack=noise)
    described = json.loads(json.dumps(attack.parameters()))
    assert described["attack"] == "foolbox.PointwiseAttack"
    assert (described["norm"], described["eps"], described["l2_binary_search"]) == ("l1", 12, True)
    assert described["init_attack"].startswith("SaltAndPepperNoiseAttack(steps=10")


def test_foolbox_loads_late_and_without_git() -> None:
    code = """
import sys
from robustaug.attacks import ThreatModel
from robustaug.attacks.foolbox_bridge import from_foolbox
print("foolbox" in sys.modules)
print(from_foolbox("DDNAttack", ThreatModel("l2", 1)).name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": ""}, check=True)
    assert done.stdout.split() == ["False", "DDNAttack"]


def test_it_is_an_attack_like_the_others(network: nn.Module, samples: Samples) -> None:
    attack = from_foolbox("LinfPGD", BALLS["linf"], steps=3)
    assert isinstance(attack, FoolboxAttack)
    images, labels = samples[0][:20], samples[1][:20]
    expected = attack(network, images, labels)
    state = torch.get_rng_state()
    assert torch.equal(attack.perturb(network, images, labels), expected.images)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        assert torch.equal(attack.perturb(network, images, labels), expected.images)
    with torch.inference_mode():
        made_here = images.clone(), labels.clone()
        assert torch.equal(attack(network, *made_here).images, expected.images)
    with torch.no_grad():
        assert torch.equal(attack(network, images, labels).images, expected.images)
    other = attack(network, images, labels, generator=torch.Generator().manual_seed(5)).images
    assert not torch.equal(other, expected.images)
    assert attack(network, images[:0], labels[:0]).images.shape == (0, 3, 16, 16)
    assert attack(network, images[:1], labels[:1]).images.shape == (1, 3, 16, 16)
