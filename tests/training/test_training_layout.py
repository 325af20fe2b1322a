"""Channels last in bfloat16, and compiled passes: the same training, and a model that comes back as it was given."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_cases import history, network, run

from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.training.loop import _Run

MIX = Mix(0.5, 0, 0.5)


def is_last(value: Tensor) -> bool:
    return value.is_contiguous(memory_format=torch.channels_last) and not value.is_contiguous()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_filters_and_images_have_channels_last_in_bfloat16_alone(tmp_path: Path, precision: str) -> None:
    seen: list[tuple[bool, bool]] = []
    model = network()
    model[0].register_forward_pre_hook(  # type: ignore[index]
        lambda module, given: seen.append((is_last(module.weight), is_last(given[0]))) if module.training else None
    )
    run(tmp_path, model, MIX, steps=2, precision=precision)
    assert seen == [(precision == "bfloat16",) * 2] * 2
    assert all(value.is_contiguous() for value in model.state_dict().values())


def test_the_layout_comes_back_after_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()

    def failing(self: _Run, step: int) -> None:
        assert is_last(next(model.parameters()))
        raise KeyboardInterrupt

    monkeypatch.setattr(_Run, "_step", failing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, model, MIX, precision="bfloat16")
    assert all(value.is_contiguous() for value in model.parameters())


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_killed_bfloat16_run_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """What comes from a state has another layout than what a run makes itself."""
    options: dict[str, Any] = {
        "precision": "bfloat16", "optimizer": optimizer, "gradient_clip": 0.5, "ema": 0.9, "swa": 0.25, "awp": 0.01
    }  # fmt: skip
    whole, resumed, true = network(), network(seed=9), _Run._step
    run(tmp_path / "whole", whole, MIX, **options)

    def killed(self: _Run, step: int) -> None:
        if step == 5:
            raise Killed
        true(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "_step", killed)
        with pytest.raises(Killed):
            run(tmp_path / "parts", network(), MIX, **options)
    run(tmp_path / "parts", resumed, MIX, **options)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    assert history(tmp_path / "parts") == history(tmp_path / "whole")


OBJECTIVES: dict[str, dict[str, Any]] = {
    "pgd": {"attack_mode": "train"},
    "n_fgsm": {"precision": "bfloat16"},
    "free": {},
    "trades": {"awp": 0.01},
    "mart": {"advprop": True},
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_compiled_passes_train_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str) -> None:
    """With a backend that retells the passes without writing machine code: it must be asked, and change nothing."""
    compiled: list[nn.Module] = []
    true = torch.compile

    def spy(model: nn.Module, **options: Any) -> Any:
        compiled.append(model)
        return true(model, **options)

    monkeypatch.setattr("robustaug.training.objectives.learner._BACKEND", "aot_eager")
    monkeypatch.setattr(torch, "compile", spy)
    options = {"objective": objective, "steps": 4, "optimizer": "sgd"} | OBJECTIVES[objective]
    one, other = network(dropout=0.0), network(dropout=0.0)
    run(tmp_path / "plain", one, MIX, **options)
    assert compiled == []
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    run(tmp_path / "compiled", other, MIX, compiled=True, **options)
    assert compiled == [other]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert list(other.state_dict()) == list(one.state_dict())
    torch._dynamo.reset()


def test_a_failed_compilation_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler\nfar and wide")

    monkeypatch.setattr("robustaug.training.objectives.learner._BACKEND", failing)
    with pytest.raises(RobustAugError) as caught:
        run(tmp_path, network(), MIX, compiled=True)
    text = str(caught.value)
    assert text.startswith("torch.compile fails on this model or machine (")
    assert "no C++ compiler" in text
    assert text.endswith("); set training.compiled = false")
    assert "\n" not in text
    torch._dynamo.reset()
