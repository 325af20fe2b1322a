"""How far an AutoAttack has come: in memory, and as a file from which it goes on."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from robustaug.attacks.goal import Goal
from robustaug.errors import RobustAugError
from robustaug.files import write_bytes

_KEY = "robustaug_autoattack"
_FORMAT = 1
_SECONDS_BETWEEN_SAVES = 60  # within a stage


@dataclass
class Record:
    """What the stages so far have done to N images.

    Attributes:
        images: The worst image of each sample so far, float32 (N, C, H, W).
        predictions: Their classes in float32, int64 (N,).
        margin: How far each is beyond the decision, float32 (N,); -inf before the first look.
        broken_by: The stage that broke each sample, counted from 0, int64 (N,); -1 for those that stand.
        stage: The stage at work.
        offset: How many of its samples it has done.
        forward_passes: Spent up to here.
        backward_passes: Spent up to here.
    """

    images: Tensor
    predictions: Tensor
    margin: Tensor
    broken_by: Tensor
    stage: int = 0
    offset: int = 0
    forward_passes: int = 0
    backward_passes: int = 0

    @classmethod
    def start(cls, images: Tensor, labels: Tensor) -> "Record":
        """Nothing done, and every sample standing."""
        margin = torch.full(labels.shape, -torch.inf, device=images.device)
        return cls(images.clone(), labels.clone(), margin, torch.full_like(labels, -1))

    def rows_of(self, stage: int) -> Tensor:
        """The samples that stood when this stage began, int64 (M,) in order: also after a part of it is done."""
        return ((self.broken_by < 0) | (self.broken_by >= stage)).nonzero().squeeze(1)

    def robust_accuracy(self, stage: int) -> float:
        """Share of the samples that stand after this stage; NaN if there are none at all."""
        return float(((self.broken_by < 0) | (self.broken_by > stage)).float().mean())

    def take_in(self, rows: Tensor, images: Tensor, logits: Tensor, goal: Goal) -> None:
        """Keep what the stage at work found for some rows, where it is worse than what was there.

        Args:
            rows: int64 (M,).
            images: (M, C, H, W).
            logits: Of those images, in float32, (M, K).
            goal: Of those rows.
        """
        predictions, margin = logits.argmax(1), goal.margin(logits)
        broken = goal.is_met(predictions)
        worse = broken | (margin > self.margin[rows])
        kept = rows[worse]
        self.images[kept], self.predictions[kept], self.margin[kept] = images[worse], predictions[worse], margin[worse]
        self.broken_by[rows[broken]] = self.stage
        self.offset += len(rows)


class StateFile:
    """Where a record is kept, or nowhere if ``path`` is None.

    Attributes:
        path: A safetensors file, written whole or not at all.
        identity: What must be the same for a record to be continued, as texts by name.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, str]) -> None:
        self.path, self.identity = path, dict(identity)
        self._saved = time.monotonic()

    def save(self, record: Record, *, only_if_due: bool = False) -> None:
        """Write the record; ``only_if_due``: unless that was done within the last minute.

        Raises:
            RobustAugError: the file cannot be written.
        """
        if self.path is None or (only_if_due and time.monotonic() - self._saved < _SECONDS_BETWEEN_SAVES):
            return
        tensors = {name: value.cpu().contiguous() for name, value in vars(record).items() if isinstance(value, Tensor)}
        numbers = {name: value for name, value in vars(record).items() if isinstance(value, int)}
        text = json.dumps({"format": _FORMAT, "identity": self.identity, "numbers": numbers})
        write_bytes(self.path, safetensors.torch.save(tensors, metadata={_KEY: text}))
        self._saved = time.monotonic()

    def load(self, device: torch.device) -> Record | None:
        """The record, on a device; None if there is no file.

        Raises:
            RobustAugError: the file is damaged or something else, or belongs to another run; says in what it differs.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                saved: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118 - no mapping
            if saved["format"] != _FORMAT:
                raise RobustAugError(f"{self.path} was written by another version of robustaug; delete it")
            differs = [name for name, value in self.identity.items() if saved["identity"].get(name) != value]
            record = Record(**tensors, **saved["numbers"])
        except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise RobustAugError(f"{self.path} is no whole state of an AutoAttack ({error}); delete it") from error
        if differs:
            raise RobustAugError(
                f"{self.path} is the state of another AutoAttack: it differs in {' and '.join(differs)}; "
                "give another path, or delete it"
            )
        return record


def identity_of(model: nn.Module, settings: Mapping[str, Any], inputs: Mapping[str, Tensor | None]) -> dict[str, str]:
    """What must be the same for a state to be continued, as short texts by name.

    Args:
        model: Known by the kinds of its modules and by its parameters and buffers.
        settings: Anything that JSON can hold.
        inputs: What else the result depends on.
    """
    kinds = [(name, type(module).__qualname__) for name, module in model.named_modules()]
    weights = model.state_dict()
    return {
        "the model": _digest(json.dumps([kinds, list(weights)]), weights.values()),
        "the settings": json.dumps(settings, sort_keys=True),
        **{f"the {name}": _digest(name, [] if value is None else [value]) for name, value in inputs.items()},
    }


def _digest(text: str, tensors: Iterable[Any]) -> str:
    digest = hashlib.sha256(text.encode())
    for value in tensors:
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
