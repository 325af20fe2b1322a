"""The momentum iterative method: MI-FGSM."""

from dataclasses import dataclass

from torch import Tensor

from robustaug.attacks.ball import column
from robustaug.attacks.pgd import PGD
from robustaug.attacks.threat import parse_number
from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class MIFGSM(PGD):
    """MI-FGSM (Dong et al. 2018, algorithm 1): PGD up a running sum of gradients, each brought to l1 norm 1.

    As in the paper it starts at the image itself and takes steps of eps / steps by default.

    Attributes:
        decay: What is kept of the sum at each step, at least 0; 1 in the paper, 0 is plain iterative FGSM.

    Raises:
        RobustAugError: as PGD, or a negative decay.
    """

    steps: int = 10
    random_start: bool = False
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "decay", parse_number(self.decay, "decay"))
        if self.decay < 0:
            raise RobustAugError(f"decay is {self.decay:g}; it must be 0 or larger")

    def _accumulated(self, velocity: Tensor | None, gradient: Tensor) -> Tensor:
        size = column(gradient.abs().flatten(1).sum(1))
        gradient = gradient / size.clamp_min(1e-30)  # a gradient of 0 stays 0
        return gradient if velocity is None else velocity * self.decay + gradient

    def _default_step_size(self, eps: Tensor) -> Tensor:
        return eps / self.steps
