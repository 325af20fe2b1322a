"""Trainings that one process and two must do alike, and the faults that must show."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_cases import MIX, exchange
from torch import nn
from training_cases import composite, network, run

from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.training import loop
from robustaug.training.distributed import Processes

ALL = Mix(0.0, 0.0, 1.0)
# Plain SGD: Adam divides by the size of a gradient and so makes rounding errors of tiny ones large.
COMMON: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1, "validate_every": 1}
CASES: dict[str, dict[str, Any]] = {
    "pgd": {"flip": True, "shift": 1, "gradient_clip": 0.5},
    "trades": {"objective": "trades"},
    "n_fgsm": {"objective": "n_fgsm"},
    "awp": {"objective": "mart", "awp": 0.01},
    "free": {"objective": "free", "replays": 2},
    "advprop": {"advprop": True, "ema": 0.9},
    "swa": {"swa": 0.5, "eps_warmup": 0.5},
    # A CPU pads fewer than 16 adversarial images, and splits 128 or more.
    "attacked in training mode": {"attack_mode": "train", "batch_size": 64, "mix": ALL},
    "an uneven share": {"batch_size": 16, "mix": Mix(0.5, 0.1875, 0.3125)},
}
PIECES = ("free", "advprop", "swa")


def no_average(processes: Processes, gradients: Any) -> None:
    """Gradients stay those of the own rows."""


def no_average_inside(processes: Processes, gradients: Any, true: Any = Processes.average) -> None:
    """Those of the weight perturbation do; the loop hands over no tuple."""
    if not isinstance(gradients, tuple):
        true(processes, gradients)


def own_norms(model: nn.Module, processes: Processes) -> contextlib.AbstractContextManager[None]:
    """Statistics stay those of the own rows."""
    return contextlib.nullcontext()


FAULTS: dict[str, tuple[str, Any, str, Any]] = {
    "gradients": ("pgd", Processes, "average", no_average),
    "weight perturbation": ("awp", Processes, "average", no_average_inside),
    "statistics": ("pgd", loop, "whole_batch_norms", own_norms),
    "statistics of the attack": ("attacked in training mode", loop, "whole_batch_norms", own_norms),
}


def trained(folder: Path, name: str, **changes: Any) -> nn.Module:
    options = COMMON | CASES[name] | changes
    mix, model = options.pop("mix", MIX), network(dropout=0.0)
    data = composite(mix, n=max(24, options.get("batch_size", 0)))
    run(folder, model, mix, data=data, **options)
    return model


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


class KilledError(Exception):
    """In the middle of a run, in all processes at once."""


def begun(folder: Path, name: str) -> None:
    """Half a run."""
    true = loop._Run._step

    def planted(self: Any, step: int) -> None:
        if step == 5:
            raise KilledError
        true(self, step)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KilledError):
        patch.setattr(loop._Run, "_step", planted)
        trained(folder, name)


def everything(processes: Processes, folder: Path) -> None:
    exchange(processes, folder)
    kept = {name: weights(trained(folder / name, name)) for name in CASES}
    torch.save(kept, folder / f"weights-{processes.rank}.pt")
    for name in PIECES:
        begun(folder / f"{name} begun by two", name)
        trained(folder / f"{name} begun by one", name)
    for fault, (name, place, attribute, planted) in FAULTS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, attribute, planted)
            trained(folder / fault, name)
    refused(processes, folder)


def refused(processes: Processes, folder: Path) -> None:
    """Other initial weights in each process; a disk that is full for the one that writes."""
    with pytest.raises(RobustAugError) as apart:
        run(folder / "apart", network(seed=processes.rank), MIX)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_state", full)
        with pytest.raises((RobustAugError, OSError)) as unwritten:
            run(folder / "unwritten", network(), MIX)
    torch.save([str(apart.value), str(unwritten.value)], folder / f"said-{processes.rank}.pt")


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")
