"""What the attacker may do: a norm, a radius, the range of image values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import torch
from torch import Tensor

from robustaug.errors import RobustAugError

Norm = Literal["linf", "l2", "l1"]


def parse_number(text: str | float, name: str) -> float:
    """A finite number from ``0.03``, ``"0.03"`` or ``"8/255"``.

    Raises:
        RobustAugError: the text is neither.
    """
    try:
        number = float(Fraction(text)) if isinstance(text, str) else float(text)
    except (ValueError, ZeroDivisionError, TypeError):
        raise RobustAugError(f"{name} is {text!r}; write a number such as 0.03 or a fraction such as 8/255") from None
    if not math.isfinite(number):
        raise RobustAugError(f"{name} is {number}; it must be finite")
    return number


@dataclass(frozen=True)
class ThreatModel:
    """All images within distance ``eps`` of the original and within ``bounds``.

    Attributes:
        norm: ``"linf"`` (largest change of any value), ``"l2"`` (Euclidean length of the change) or ``"l1"`` (sum of
            absolute changes).
        eps: The radius in the units of the images, at least 0: a number, a text such as ``"8/255"``, or one number per
            sample (any sequence or 1-D tensor; kept as a tuple).
        bounds: Smallest and largest image value.

    Raises:
        RobustAugError: unknown norm, eps negative, not finite or wider than the bounds, bounds out of order.
    """

    norm: Norm = "linf"
    eps: float | tuple[float, ...] = 8 / 255
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise RobustAugError(f"norm {self.norm!r} is unknown; use one of {', '.join(get_args(Norm))}")
        low, high = (parse_number(bound, "a bound") for bound in self.bounds)
        if low >= high:
            raise RobustAugError(f"bounds are ({low}, {high}); the first must be smaller than the second")
        eps: str | float | Sequence[float] | Tensor = self.eps
        if isinstance(eps, Tensor):
            eps = eps.detach().double().tolist()
        one_for_all = isinstance(eps, str | int | float)
        values = tuple(parse_number(value, "eps") for value in ((eps,) if isinstance(eps, str | int | float) else eps))
        for value in values:
            if value < 0:
                raise RobustAugError(f"eps is {value:g}; it must be 0 or larger")
            if self.norm == "linf" and value > high - low:
                raise RobustAugError(
                    f"eps is {value:g} but image values span only {high - low:g}; did you mean {value:g}/255?"
                )
        object.__setattr__(self, "bounds", (low, high))
        object.__setattr__(self, "eps", values[0] if one_for_all else values)

    def eps_for(self, images: Tensor) -> Tensor:
        """The radius of each image, shape (N, 1, 1, 1), on the images' device.

        Raises:
            RobustAugError: one eps per sample was given, but not one for each of these images.
        """
        n = len(images)
        if isinstance(self.eps, tuple) and len(self.eps) != n:
            raise RobustAugError(f"eps has {len(self.eps)} values for {n} images; give one number or one per image")
        values = self.eps if isinstance(self.eps, tuple) else (self.eps,) * n
        if n and max(values) > (diagonal := self.largest_distance(images[0].numel())) * (1 + 1e-9):
            raise RobustAugError(
                f"eps is {max(values):g}, longer than the diagonal of the bounds in {self.norm}, {diagonal:g}"
            )
        if not isinstance(self.eps, tuple):  # made on the device: a copy would make the host wait for it
            return torch.full((n, 1, 1, 1), self.eps, dtype=torch.float32, device=images.device)
        return torch.tensor(values, dtype=torch.float32, device=images.device).view(n, 1, 1, 1)

    def largest_distance(self, values: int) -> float:
        """How far apart two images with so many values can be within the bounds."""
        width = self.bounds[1] - self.bounds[0]
        return width * {"linf": 1.0, "l2": math.sqrt(values), "l1": float(values)}[self.norm]

    def __str__(self) -> str:
        eps = f"{min(self.eps):g} to {max(self.eps):g}" if isinstance(self.eps, tuple) else f"{self.eps:g}"
        return f"{self.norm} eps {eps}"
