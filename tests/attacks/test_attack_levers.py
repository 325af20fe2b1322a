"""Each speed lever changes the time and not the result; each is checked against the plain loop sample by sample."""

from typing import Any

import pytest
import torch
from attack_cases import small_network, stripes
from torch import Tensor, nn

from robustaug.attacks import APGD, FAB, FGSM, MIFGSM, PGD, AttackResult, ThreatModel
from robustaug.attacks.attack import Attack, in_batches
from robustaug.attacks.oracle import Oracle, undisturbed
from robustaug.errors import RobustAugError

Samples = tuple[Tensor, Tensor]
LINF = ThreatModel("linf", 0.04)


def test_early_exit_gives_the_first_iterate_that_breaks_a_sample_and_the_last_of_the_others(
    network: nn.Module, samples: Samples
) -> None:
    images, labels = samples[0][:120], samples[1][:120]  # in one piece
    iterates: list[Tensor] = []

    class Watched(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                iterates.append(images.detach().clone())
            return network(images)

    plain = PGD(LINF, steps=4)(Watched(), images, labels)
    early = PGD(LINF, steps=4, early_exit=True)(network, images, labels)
    path = torch.stack([*iterates, plain.images])  # (steps + 1, N, C, H, W)
    with torch.no_grad():
        broken = torch.stack([network(step).argmax(1) != labels for step in path])
    first = torch.where(broken.any(0), broken.float().argmax(0), len(path) - 1)
    assert torch.equal(early.success, broken.any(0))
    assert 0 < early.success.float().mean() < 1
    torch.testing.assert_close(early.images, path[first, torch.arange(len(labels))], atol=1e-6, rtol=0)
    assert early.backward_passes < plain.backward_passes == 4 * len(labels)


def test_stacked_restarts_are_the_loop_over_restarts(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    one_by_one = PGD(LINF, steps=2, restarts=4)(network, images, labels)
    stacked = PGD(LINF, steps=2, restarts=4, stacked=True)(network, images, labels)
    assert torch.equal(stacked.images, one_by_one.images)
    assert stacked.backward_passes == 4 * 2 * len(labels) > one_by_one.backward_passes


class Noisy(nn.Module):
    """Adds noise to the logits: which samples are wrong changes from call to call."""

    def __init__(self, inner: nn.Module, size: float) -> None:
        super().__init__()
        self.inner, self.size = inner, size

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return logits + self.size * torch.randn_like(logits)


def test_a_randomised_model_is_noticed_and_nothing_is_dropped(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    attack = PGD(ThreatModel("linf", 0.2), steps=3, restarts=2, early_exit=True)
    assert attack(network, images, labels).backward_passes < 2 * 3 * len(labels)
    assert attack(Noisy(network, 0.1), images, labels).backward_passes == 2 * 3 * len(labels)


def test_a_randomised_model_repeats_under_the_same_seeds(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    attack = PGD(LINF, steps=2, eot_samples=2)
    one, other = (attack(Noisy(network, 5.0), images, labels) for _ in range(2))
    assert torch.equal(one.images, other.images)
    torch.rand(3)  # moves the global random state, which must not matter
    assert torch.equal(attack(Noisy(network, 5.0), images, labels).images, one.images)


def test_expectation_over_transformation_averages_gradients(network: nn.Module, samples: Samples) -> None:
    """With additive noise before the loss, the mean gradient over many draws approaches its expectation."""
    images, labels = samples[0][:20], samples[1][:20]
    noisy = Noisy(network, 1.0)

    def gradient(eot_samples: int, seed: int) -> Tensor:
        oracle = Oracle(noisy, eot_samples=eot_samples)
        with undisturbed(noisy, seed):
            found = oracle.gradient(images, lambda z: nn.functional.cross_entropy(z, labels, reduction="none"))
        assert oracle.backward_passes == eot_samples * len(images)
        return found.gradient

    expectation = gradient(400, 0)
    errors = {n: torch.stack([(gradient(n, 1 + i) - expectation).norm() for i in range(8)]).mean() for n in (1, 16)}
    assert 3 < errors[1] / errors[16] < 5.2  # the error of a mean of 16 is a quarter


def test_a_batch_size_changes_no_result(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    threat = ThreatModel("l2", torch.linspace(0.1, 0.9, len(labels)))  # a radius for each
    attack = PGD(threat, steps=3)
    whole = attack(network, images, labels)
    parts = attack(network, images, labels, batch_size=33)
    for one, other in zip(vars(whole).values(), vars(parts).values(), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


class Narrow(nn.Module):
    """Has memory for a few images only."""

    def __init__(self, inner: nn.Module, most: int, message: str) -> None:
        super().__init__()
        self.inner, self.most, self.message = inner, most, message
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.most:
            raise RuntimeError(self.message)
        logits: Tensor = self.inner(images)
        return logits


NO_MEMORY = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"


def test_auto_batch_size_halves_when_memory_runs_out_and_goes_on(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    attack = PGD(LINF, steps=2)
    images, labels = images[:120], labels[:120]
    narrow = Narrow(network, 40, NO_MEMORY)
    result = attack(narrow, images, labels, batch_size="auto")
    assert torch.equal(result.images, attack(network, images, labels).images)
    assert {120, 60, 30} <= set(narrow.seen)
    assert narrow.seen.count(120) == narrow.seen.count(60) == 1  # what failed is not tried again


def test_other_errors_are_not_taken_for_lack_of_memory(network: nn.Module, samples: Samples) -> None:
    with pytest.raises(RuntimeError, match="something else"):
        PGD(LINF, steps=2)(Narrow(network, 60, "something else"), *samples, batch_size="auto")
    with pytest.raises(RuntimeError, match="can't allocate"):
        PGD(LINF, steps=2)(Narrow(network, 60, NO_MEMORY), *samples)


def test_no_memory_for_one_image_is_one_clear_line() -> None:
    def fails(rows: slice) -> tuple[Tensor, ...]:
        raise RuntimeError(NO_MEMORY)

    with pytest.raises(RobustAugError, match="for a single image"):
        in_batches(fails, 10, "auto")


@pytest.mark.parametrize("size", [0, -3, 2.5, "all", True])
def test_a_bad_batch_size_is_one_clear_line(network: nn.Module, samples: Samples, size: object) -> None:
    with pytest.raises(RobustAugError, match="batch_size is"):
        FGSM(LINF)(network, *samples, batch_size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_bfloat16_gives_the_verdicts_of_float32(network: nn.Module, norm: str) -> None:
    images, labels = stripes(1000, seed=8)
    threat = ThreatModel(norm, {"linf": 0.037, "l2": 0.62, "l1": 6.5}[norm])
    plain, fast = (PGD(threat, p, steps=10)(network, images, labels) for p in ("float32", "bfloat16"))
    assert 0.1 < plain.success.float().mean() < 0.9
    assert (plain.success & ~fast.success).float().mean() <= 0.001  # never weaker
    assert (fast.success & ~plain.success).float().mean() <= (0.05 if norm == "l1" else 0.005)
    assert not torch.equal(plain.images, fast.images)  # it did search in another precision


class Biased(nn.Module):
    """In bfloat16 it is drawn to class 0 by 1.5% of the spread of its logits: a search believes that it has won."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        if torch.is_autocast_enabled("cpu"):
            spread = (logits.amax(1) - logits.amin(1)).detach()
            logits = torch.cat([logits[:, :1] + 0.015 * spread[:, None], logits[:, 1:]], 1)
        return logits


@pytest.mark.parametrize("early_exit", [False, True])
def test_what_bfloat16_believes_is_judged_and_finished_in_float32(network: nn.Module, early_exit: bool) -> None:
    images, labels = stripes(1000, seed=8)
    threat = ThreatModel("linf", 0.035)
    result = PGD(threat, "bfloat16", steps=8, early_exit=early_exit)(Biased(network), images, labels)
    with torch.no_grad():
        assert torch.equal(result.predictions, network(result.images).argmax(1))  # not the model's word in bfloat16
    exact = PGD(threat, steps=8, early_exit=early_exit)(network, images, labels)
    assert 0.1 < exact.success.float().mean() < 0.9
    assert (result.success >= exact.success).all()


def test_compiled_search_gives_the_same_verdicts() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3)).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, 3, 8, 8, generator=generator)
    with torch.no_grad():
        labels = model(images).argmax(1)
    threat = ThreatModel("linf", torch.linspace(0, 0.2, 40))
    plain = PGD(threat, steps=5)(model, images, labels)
    compiled = PGD(threat, steps=5, compiled=True)(model, images, labels)
    assert 0 < plain.success.float().mean() < 1
    assert torch.equal(plain.success, compiled.success)
    torch.testing.assert_close(plain.images, compiled.images, atol=1e-5, rtol=0)


def test_results_are_of_the_verdict_model_whatever_the_search(network: nn.Module, samples: Samples) -> None:
    images, labels = samples
    for attack in (PGD(LINF, "bfloat16", steps=2), MIFGSM(LINF, "bfloat16", steps=2), FGSM(LINF, "bfloat16")):
        result = attack(network, images, labels)
        assert isinstance(result, AttackResult)
        with torch.no_grad():
            assert torch.equal(network(result.images).argmax(1), result.predictions)


def test_memory_for_parameters_is_not_touched() -> None:
    """Gradients of the input only: a model whose weights would overflow their gradients' memory still works."""
    model = small_network().eval()
    hooks: list[Tensor] = []
    for parameter in model.parameters():
        parameter.register_hook(hooks.append)
    images, labels = stripes(4, seed=0)
    PGD(LINF, steps=2)(model, images, labels)
    assert hooks == []


@pytest.mark.parametrize(
    "attack",
    [
        APGD(ThreatModel("linf", 0.03), steps=6, loss="dlr", targets_tried=4),
        APGD(ThreatModel("l2", 0.5), steps=6, restarts=3),
        FAB(ThreatModel("linf", 0.03), steps=5, restarts=2),
        FAB(ThreatModel("l1", 8.0), steps=5),
    ],
    ids=["targets", "restarts", "boundary", "boundary l1"],
)
def test_several_searches_of_a_sample_at_once_are_as_one_after_the_other(
    attack: Attack, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = stripes(60, seed=6)
    labels[:40] = (labels[:40] + 1) % 5  # wrong from the start: that leaves room for three searches of each other
    calls: list[int] = []
    gradient = Oracle._one_gradient

    def counted(oracle: Oracle, points: Tensor, loss: Any) -> Any:
        calls.append(len(points))
        return gradient(oracle, points, loss)

    monkeypatch.setattr(Oracle, "_one_gradient", counted)
    together = attack(network, images, labels)
    few = len(calls)
    assert max(calls) == 60  # never more than the batch has
    monkeypatch.setattr(Oracle, "fitting", lambda oracle, runs, standing: 1)
    alone = attack(network, images, labels)
    assert few < len(calls) - few
    assert 40 < alone.success.sum() < 60
    assert torch.equal(together.images, alone.images)
    assert torch.equal(together.success, alone.success)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_parameter_asks_for_a_gradient_during_a_search(precision: Any) -> None:
    seen: list[bool] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_network()

        def forward(self, images: Tensor) -> Tensor:
            seen.extend(parameter.requires_grad for parameter in self.parameters())
            logits: Tensor = self.inner(images)
            return logits

    model = Watched()
    images, labels = stripes(8, seed=0)
    PGD(LINF, steps=2, precision=precision)(model, images, labels)
    assert seen
    assert not any(seen)
    assert all(parameter.requires_grad for parameter in model.parameters())
