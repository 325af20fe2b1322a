"""The resumable state of a run: one safetensors file, written whole or not at all, and the one before it."""

import json
import os
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from robustaug.data.composite import CompositeDataset
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError, RobustAugWarning
from robustaug.files import sha256, writing

_KEY, _CHECKSUM = "robustaug_state", "crc32"


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: Steps done.
        best_step: Steps done when the best weights so far were seen; 0 before the first look at the validation split.
        best_score: Their validation score, a fraction; -1 before the first look.
        best_by: The name of that score.
        seconds: Time spent so far, over all pieces of the run.
    """

    step: int = 0
    best_step: int = 0
    best_score: float = -1.0
    best_by: str = ""
    seconds: float = 0.0


class _DamagedError(Exception):
    """A file that is no state, or no longer one."""


def identity_of(used: Sequence[object], model: nn.Module, data: CompositeDataset, validation: ImageSet) -> str:
    """A hash of everything that a run depends on, but not of how many processes share it.

    Args:
        used: Settings, precision, seed and attack.
        model: Its names and shapes count, not its weights.
        data: Its images, variants, mix and seed.
        validation: Its keys.
    """
    shapes = [(name, list(value.shape)) for name, value in model.state_dict().items()]
    images = [data.originals.keys, data.originals.sha256, data.originals.labels.tolist(), data.seed]
    # Each variant's parameters hold its path: what a review leaves out makes another run.
    variants = None if data.stylised is None else (data.stylised.sources, data.stylised.parameters)
    restyler = None if data.restyler is None else data.restyler.describe()
    data_used: tuple[object, ...] = (vars(data.mix), images, variants, restyler, validation.keys)
    if data.balance is not None:
        data_used += (data.balance.sources, data.balance.parameters)
    return sha256(repr((*used, data_used, shapes)).encode())


def before(path: Path) -> Path:
    """Where the state before the newest is kept."""
    return path.with_stem(f"{path.stem}.before")


def has_state(path: Path) -> bool:
    """Whether there is anything to go on from."""
    return path.exists() or before(path).exists()


def save_state(
    path: Path,
    identity: str,
    progress: Progress,
    model: nn.Module,
    best: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write model, best weights, optimiser and progress; random numbers need none: they follow from (seed, step).

    What was the newest state becomes the one before. A kill at any moment leaves at least one whole state.

    Raises:
        RobustAugError: the file cannot be written; both states are kept.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in entry.items() if value is not None}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps({"identity": identity, "progress": vars(progress)})
    content = safetensors.torch.save(tensors, metadata={_KEY: text, _CHECKSUM: _checksum(text, tensors)})
    with writing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if path.exists():
            path.replace(before(path))


def load_state(
    path: Path, identity: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    """Bring model and optimiser to the newest state; returns progress and the best weights.

    A damaged state gives way to the one before it, with a ``RobustAugWarning``.

    Raises:
        RobustAugError: no state can be read, or it belongs to a run with other settings.
    """
    damages: list[str] = []
    for file in (path, before(path)):
        if not file.exists():
            continue
        try:
            saved = _read(file)
        except _DamagedError as damage:
            damages.append(f"{file} ({damage})")
            continue
        progress, best = _take(saved, file, identity, model, optimizer)
        if file != path:
            file.replace(path)  # so that the next save does not put a damaged state in its place
        if damages:
            warnings.warn(
                f"the saved state {damages[0]} is damaged; going on from the one before it, at step {progress.step}",
                RobustAugWarning,
                stacklevel=2,
            )
        return progress, best
    both = len(damages) > 1
    raise RobustAugError(
        f"cannot read the saved state{'s' * both} {' and '.join(damages)}; "
        f"delete {'both' if both else 'it'} to train from the start"
    )


_Saved = tuple[str, dict[str, Tensor]]


def _read(path: Path) -> _Saved:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise _DamagedError(" ".join(str(error).split())[:200]) from error
    text = metadata.get(_KEY, "")
    if metadata.get(_CHECKSUM) != _checksum(text, tensors):
        raise _DamagedError("its checksum is not that of its content")
    return text, tensors


def _take(
    saved: _Saved, path: Path, identity: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    text, tensors = saved
    about: dict[str, Any] = json.loads(text)
    if about["identity"] != identity:
        raise RobustAugError(
            f"{path} belongs to a run with other settings; use its configuration and its review.jsonl, or another "
            "output folder"
        )
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
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
    return Progress(**about["progress"]), parts["best"]


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Of all that a state says; safetensors itself notices a missing part, but no changed one."""
    found = zlib.crc32(text.encode())
    for name in sorted(tensors):
        content = tensors[name].reshape(-1).view(torch.uint8).numpy().data
        found = zlib.crc32(content, zlib.crc32(name.encode(), found))
    return f"{found:08x}"
