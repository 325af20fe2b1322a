"""A model as a graph, its batch norms folded: the same function, and only where it is one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustaug.attacks import PGD, ThreatModel
from robustaug.attacks.graph import agrees, converted, retold
from robustaug.attacks.oracle import Oracle
from robustaug.models import build_model


def settled(model: nn.Module) -> nn.Module:
    """In eval mode, with statistics and affine parameters that matter."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 2),
                (module.bias, -1, 1),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.2, 2),
            ):
                if tensor is not None:
                    tensor.data.uniform_(low, high, generator=generator)
    return model.eval()


def batch_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def retell(model: nn.Module, images: Tensor) -> nn.Module | None:
    graph = retold(model)
    with torch.no_grad():
        return graph if graph is not None and agrees(graph(images), model(images)) else None


def after(*blocks: nn.Module) -> nn.Sequential:
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


@pytest.mark.parametrize(("name", "left"), [("preact_resnet18", 9), ("torchvision:resnet18", 0)])
def test_the_same_function_with_fewer_layers(name: str, left: int, images: Tensor) -> None:
    options: dict[str, Any] = {"width": 8} if name == "preact_resnet18" else {}
    model = settled(build_model(name, 5, (16, 16), **options))
    lighter = retell(model, images)
    assert lighter is not None
    assert batch_norms(lighter) == left
    others = torch.rand(20, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(lighter(others), model(others), rtol=1e-4, atol=1e-4)


def test_the_model_stays_as_it_was(images: Tensor) -> None:
    model = settled(build_model("preact_resnet18", 5, (16, 16), width=8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = [id(module) for module in model.modules()]
    assert retell(model, images) is not None
    assert [id(module) for module in model.modules()] == layers
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class _TwoUsers(nn.Module):
    """The convolution's output is also used without the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x)
        logits: Tensor = self.head((F.relu(self.norm(features)) + features).mean((2, 3)))
        return logits


class _CalledTwice(nn.Module):
    """One convolution, with the norm after its second call only."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.conv(self.conv(self.stem(x)).relu())).mean((2, 3)))
        return logits


class _DependsOnValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = after(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x if x.mean() > 0.3 else 1 - x)
        return logits


class _CountsCalls(nn.Module):
    """Followed by stand-ins it looks like another function than it is when called."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.calls = after(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.body(x) + self.calls * torch.arange(5)
        return logits


def _hooked() -> nn.Module:
    model = after(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    model[0].register_forward_hook(lambda _module, _inputs, output: output * 2)
    return model


def _replaced() -> nn.Module:
    model = after(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    model[1].forward = torch.tanh
    return model


def _batch_statistics() -> nn.Module:
    return after(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False))


@pytest.mark.parametrize("build", [_TwoUsers, _CalledTwice, _hooked, _replaced, _batch_statistics])
def test_what_is_not_the_same_function_is_not_folded(build: Callable[[], nn.Module], images: Tensor) -> None:
    model = settled(build())
    graph = retell(model, images)
    assert graph is not None
    assert batch_norms(graph) == 1
    others = torch.rand(20, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(graph(others), model(others))


@pytest.mark.parametrize("build", [_DependsOnValues, _CountsCalls])
def test_what_cannot_be_followed_stays_as_it_is(build: Callable[[], nn.Module], images: Tensor) -> None:
    assert retell(settled(build()), images) is None


def test_layers_are_converted_in_a_copy(images: Tensor) -> None:
    model = settled(build_model("preact_resnet18", 5, (16, 16), width=8))
    graph = retell(model, images)
    assert graph is not None
    twin = converted(graph, torch.bfloat16)
    kinds = {type(layer): {p.dtype for p in layer.parameters()} for layer in twin.modules()}
    assert kinds[nn.Conv2d] == kinds[nn.Linear] == {torch.bfloat16}
    assert kinds[nn.BatchNorm2d] == {torch.float32}
    assert {p.dtype for p in (*model.parameters(), *graph.parameters())} == {torch.float32}


def test_a_bfloat16_search_runs_the_folded_model(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model = settled(build_model("preact_resnet18", 5, (16, 16), width=8))
    calls, batch_norm = 0, F.batch_norm

    def counted(*arguments: Any, **named: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return batch_norm(*arguments, **named)

    monkeypatch.setattr(F, "batch_norm", counted)
    oracle = Oracle(model, torch.bfloat16)
    with torch.no_grad():
        oracle.probe(images)
    calls = 0
    lighter = oracle.search_logits(images)
    assert calls == 9
    exact = oracle.logits(images)
    assert calls == 9 + 17
    assert (lighter - exact).abs().amax() < 0.05 * (exact.amax() - exact.amin())


def test_every_pass_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of the graph with the model is a pass as well."""
    model, rows = settled(build_model("preact_resnet18", 5, (16, 16), width=8)), 0
    linear = F.linear

    def counted(x: Tensor, *arguments: Any) -> Tensor:
        nonlocal rows
        rows += len(x)
        return linear(x, *arguments)

    monkeypatch.setattr(F, "linear", counted)
    attack = PGD(ThreatModel("linf", 0.05), precision="bfloat16", steps=3)
    result = attack(model, torch.rand(20, 3, 16, 16), torch.arange(20) % 5)
    assert result.forward_passes == rows


def test_weights_that_change_between_attacks_are_seen(images: Tensor) -> None:
    """Nothing of an earlier call is kept."""
    model = settled(build_model("preact_resnet18", 5, (16, 16), width=8))
    attack, labels = PGD(ThreatModel("linf", 0.05), precision="bfloat16", steps=3), torch.arange(4)
    first = attack(model, images, labels).images
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)), alpha=0.3)
    second = attack(model, images, labels).images
    fresh = build_model("preact_resnet18", 5, (16, 16), width=8).eval()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(second, attack(fresh, images, labels).images)
    assert not torch.equal(second, first)
