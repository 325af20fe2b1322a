"""The resumable state of a run: one safetensors file, written whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from robustaug.errors import RobustAugError
from robustaug.files import write_bytes

_KEY = "robustaug_state"


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: Steps done.
        best_step: Steps done when the best weights so far were seen; 0 before the first look at the validation split.
        best_score: Their validation score, a fraction; -1 before the first look.
        seconds: Time spent so far, over all pieces of the run.
    """

    step: int = 0
    best_step: int = 0
    best_score: float = -1.0
    seconds: float = 0.0


def save_state(
    path: Path,
    identity: str,
    progress: Progress,
    model: nn.Module,
    best: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write model, best weights, optimiser and progress; random numbers need none: they follow from (seed, step).

    Raises:
        RobustAugError: the file cannot be written.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in entry.items() if value is not None}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps({"identity": identity, "progress": vars(progress)})
    write_bytes(path, safetensors.torch.save(tensors, metadata={_KEY: text}))


def load_state(
    path: Path, identity: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    """Bring model and optimiser to a saved state; returns progress and the best weights.

    Raises:
        RobustAugError: the file is damaged, or belongs to a run with other settings.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            saved: dict[str, Any] = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from error
    if saved.get("identity") != identity:
        raise RobustAugError(
            f"{path} belongs to a run with other settings; use its configuration or another output folder"
        )
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    try:
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        model.load_state_dict(parts["model"])
        state = optimizer.state_dict()
        state["state"] = {}
        for name, value in parts["optimizer"].items():
            index, _, key = name.partition(".")
            state["state"].setdefault(int(index), {})[key] = value
        optimizer.load_state_dict(state)
        return Progress(**saved["progress"]), parts["best"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RobustAugError:
    reason = " ".join(str(error).split())[:200]
    return RobustAugError(f"cannot read the saved state {path} ({reason}); delete it to train from the start")
