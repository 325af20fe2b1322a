"""What a training run is told."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from robustaug.errors import RobustAugError
from robustaug.hardware import Precision

Optimizer = Literal["adam", "sgd"]


@dataclass(frozen=True)
class TrainingSettings:
    """The budget and the knobs of one run; every arm of a comparison gets the same.

    Attributes:
        steps: Optimisation steps.
        batch_size: Images in a step, whatever their kind.
        optimizer: ``"adam"`` (AdamW), or ``"sgd"`` with Nesterov momentum 0.9.
        learning_rate: The peak of the one-cycle schedule.
        weight_decay: Decoupled for Adam, on weights only: norms and biases are left alone.
        warmup: Share of the steps in which the learning rate rises.
        eps_warmup: Share of the steps in which the attack's eps grows from 0 to its full size.
        flip: Whether images are mirrored left to right at random.
        shift: Images are moved by up to so many pixels at random; the border repeats.
        validate_every: Steps between two looks at the validation split (and two saved states).
        validation_samples: At most so many validation images are attacked in a look.
        precision: Of convolutions and matrix products; weights and losses are float32.

    Raises:
        RobustAugError: a number out of range.
    """

    steps: int = 1000
    batch_size: int = 128
    optimizer: Optimizer = "adam"
    learning_rate: float = 2e-3
    weight_decay: float = 5e-4
    warmup: float = 0.2
    eps_warmup: float = 0.0
    flip: bool = False
    shift: int = 0
    validate_every: int = 100
    validation_samples: int = 500
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every", "validation_samples"):
            if getattr(self, name) < 1:
                raise RobustAugError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise RobustAugError(f"training.learning_rate is {self.learning_rate}; it must be larger than 0")
        for name in ("warmup", "eps_warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise RobustAugError(f"training.{name} is {getattr(self, name)}; it is a share of the steps, 0 to 1")
        if self.shift < 0 or not self.weight_decay >= 0:
            raise RobustAugError("training.shift and training.weight_decay must be 0 or larger")

    def learning_rate_at(self, step: int) -> float:
        """One cycle (after Smith and Topin 2018): up in a straight line, then down to 0 along a cosine."""
        progress = (step + 1) / self.steps
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        rest = (progress - self.warmup) / max(1 - self.warmup, 1e-9)
        return self.learning_rate * (1 + math.cos(math.pi * min(rest, 1.0))) / 2

    def eps_share_at(self, step: int) -> float:
        """The share of the full eps that the attack uses at a step."""
        return min(1.0, (step + 1) / (self.eps_warmup * self.steps)) if self.eps_warmup > 0 else 1.0

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)
