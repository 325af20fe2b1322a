"""Killed and called again with every objective: the same bytes; and states that belong to another objective."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from training_cases import history, network, run

from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.training.loop import _Run

MIX = Mix(0.25, 0.25, 0.5)
CASES: dict[str, dict[str, Any]] = {
    "rs_fgsm": {"objective": "rs_fgsm"},
    "n_fgsm": {"objective": "n_fgsm", "noise": 1.5},
    "free": {"objective": "free", "replays": 3},  # the states fall between replays
    "trades": {"objective": "trades", "eps_warmup": 0.5},
    "mart": {"objective": "mart", "precision": "bfloat16"},
    "awp": {"awp": 0.01, "optimizer": "sgd"},
    "awp free": {"objective": "free", "replays": 3, "awp": 0.01, "eps_warmup": 1.0},
    "advprop": {"advprop": True},
    "advprop trades awp": {"objective": "trades", "advprop": True, "awp": 0.005, "optimizer": "sgd"},
    "ema": {"ema": 0.9, "objective": "n_fgsm"},
    "classical": {
        "augmentation": ("rotation", {"name": "hue", "probability": 0.5}, "trivialaugment", "mixup", "cutmix")
    },
    "train mode": {"attack_mode": "train", "label_smoothing": 0.1, "gradient_clip": 0.5},
}


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("name", CASES)
def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    options = CASES[name] | {"flip": True, "shift": 1}
    model = network()
    run(tmp_path / "whole", model, MIX, **options)
    true = _Run._step

    def killed(self: _Run, step: int) -> None:
        true(self, step)
        if step == 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "_step", killed)
        with pytest.raises(Killed):
            run(tmp_path / "parts", network(), MIX, **options)
    resumed = network(seed=9)
    run(tmp_path / "parts", resumed, MIX, **options)
    assert history(tmp_path / "parts") == history(tmp_path / "whole")
    for a, b in zip(resumed.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    one, other = (safetensors.torch.load_file(tmp_path / part / "state.safetensors") for part in ("parts", "whole"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


OTHERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"objective": "mart"}),
    ({"objective": "trades"}, {"objective": "trades", "beta": 5.0}),
    ({"objective": "free"}, {"objective": "free", "replays": 2}),
    ({"objective": "n_fgsm"}, {"objective": "n_fgsm", "noise": 1.0}),
    ({}, {"awp": 0.005}),
    ({}, {"advprop": True}),
    ({}, {"attack_mode": "train"}),
    ({}, {"label_smoothing": 0.1}),
    ({}, {"ema": 0.9}),
    ({}, {"gradient_clip": 1.0}),
]


@pytest.mark.parametrize(("first", "second"), OTHERS)
def test_a_state_of_another_objective_is_refused(tmp_path: Path, first: dict[str, Any], second: dict[str, Any]) -> None:
    run(tmp_path, network(), MIX, **first, steps=2)
    with pytest.raises(RobustAugError, match="belongs to a run with other settings"):
        run(tmp_path, network(), MIX, **second, steps=2)


@pytest.mark.parametrize("name", CASES)
def test_the_global_random_state_is_untouched(tmp_path: Path, name: str) -> None:
    torch.manual_seed(77)
    before = torch.get_rng_state()
    run(tmp_path, network(), MIX, **CASES[name], steps=2)
    assert torch.equal(torch.get_rng_state(), before)
