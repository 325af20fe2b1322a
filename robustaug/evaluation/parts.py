"""What an evaluation has found so far, part by part, in a folder: a killed one goes on from there."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.files import write_bytes

_KEY = "robustaug_part"


@dataclass(frozen=True)
class Part:
    """What one measurement of a classifier found.

    Attributes:
        tensors: by name, on the CPU.
        facts: what is no tensor, as JSON values.
        forward_passes: images sent through the model for it.
        seconds: wall-clock time.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)
    forward_passes: int = 0
    seconds: float = 0.0

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


class Parts:
    """The finished parts of one evaluation, each kept at once.

    Args:
        folder: where; None keeps nothing. Parts of another evaluation in it are neither used nor touched.
        identity: a short text that changes with everything that the results depend on.
        passes: tells how many images have gone through the model so far.
        skipped: called with the name of each part that needs not be measured again.
    """

    def __init__(
        self, folder: Path | None, identity: str, passes: Callable[[], int], skipped: Callable[[str], None]
    ) -> None:
        self._folder = None if folder is None else folder / identity
        self._passes, self._skipped = passes, skipped
        self.done: list[Part] = []

    def get(self, name: str, measure: Callable[[], Part]) -> Part:
        """A part: from the folder if it is there, else measured and kept.

        Raises:
            RobustAugError: its file is damaged or cannot be written.
        """
        path = None if self._folder is None else self._folder / f"{name}.safetensors"
        if path is not None and path.exists():
            part = _load(path)
            self._skipped(name)
        else:
            began, passes = time.monotonic(), self._passes()
            part = measure()
            part = replace(part, forward_passes=self._passes() - passes, seconds=time.monotonic() - began)
            if path is not None:
                _save(path, part)
                (self._folder_of_states() / f"{name}.safetensors").unlink(missing_ok=True)
        self.done.append(part)
        return part

    def state(self, name: str) -> Path | None:
        """A file for what a measurement keeps while it goes on; deleted when that part is done."""
        return None if self._folder is None else self._folder_of_states() / f"{name}.safetensors"

    def _folder_of_states(self) -> Path:
        assert self._folder is not None  # asked only where there is one
        return self._folder / "states"


def _save(path: Path, part: Part) -> None:
    facts = {"facts": dict(part.facts), "forward_passes": part.forward_passes, "seconds": part.seconds}
    tensors = {name: tensor.contiguous() for name, tensor in part.tensors.items()}
    write_bytes(path, safetensors.torch.save(tensors, metadata={_KEY: json.dumps(facts)}))


def _load(path: Path) -> Part:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[_KEY])
            return Part({name: file.get_tensor(name) for name in file.keys()}, **facts)  # noqa: SIM118 (not a mapping)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RobustAugError(f"{path} is no whole part of an evaluation ({error}); delete it") from error
