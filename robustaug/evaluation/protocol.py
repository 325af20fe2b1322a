"""How much is measured: samples, steps, restarts, the grid of radii."""

import json
import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from robustaug.attacks import ThreatModel
from robustaug.errors import RobustAugError
from robustaug.evaluation.corruptions import SEVERITIES
from robustaug.files import sha256
from robustaug.hardware import Precision

_MULTIPLES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0)


@dataclass(frozen=True)
class Protocol:
    """What an evaluation does, apart from the threat model and the seed.

    Attributes:
        name: what people call it.
        version: raised whenever the same numbers come to mean another measurement.
        samples: test images that FGSM, PGD and the noise attack (at most the whole test split).
        pgd_steps: gradient steps of PGD.
        pgd_restarts: random starts of PGD; a sample keeps its worst.
        noise_draws: random perturbations a sample; the worst counts.
        curve_samples: test images behind the curve of accuracy against eps.
        curve_steps: PGD steps (one restart) at each eps of the curve.
        curve_multiples: the curve's grid, ascending from 0, in units of the threat model's eps. It ends where accuracy
            reaches chance, at the latest at the largest distance that the bounds allow, which is always its last point.
        unseen_style_samples: test images that the caller stylises with held-out paintings.
        corruption_samples: test images under each of the 15 common corruptions at each severity (at most the whole test
            split); 0 leaves corruptions out.
        corruption_severities: from 1 to 5, ascending.
        batch_size: images at a time; no result depends on it.
        precision: of the attacks' gradients; every verdict is float32.

    Raises:
        RobustAugError: a number below 1 (below 0 for ``corruption_samples``), a grid that does not ascend from 0, or
            severities that do not ascend from 1 to 5.
    """

    name: str = "standard"
    version: int = 1
    samples: int = 1000
    pgd_steps: int = 40
    pgd_restarts: int = 5
    noise_draws: int = 20
    curve_samples: int = 500
    curve_steps: int = 20
    curve_multiples: tuple[float, ...] = _MULTIPLES
    unseen_style_samples: int = 1000
    corruption_samples: int = 0
    corruption_severities: tuple[int, ...] = SEVERITIES
    batch_size: int = 250
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name == "corruption_samples" else 1
            if isinstance(value, int) and value < least:
                raise RobustAugError(f"protocol {self.name}: {name} is {value}; it must be at least {least}")
        grid = self.curve_multiples
        if len(grid) < 2 or grid[0] != 0 or any(b <= a for a, b in pairwise(grid)):
            raise RobustAugError(f"protocol {self.name}: curve_multiples {grid} must ascend from 0")
        severities = self.corruption_severities
        if not severities or list(severities) != sorted(set(severities)) or not set(severities) <= set(SEVERITIES):
            raise RobustAugError(
                f"protocol {self.name}: corruption_severities {severities} must be some of 1 to 5, ascending"
            )

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with every setting."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode())[:12]

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)

    def eps_grid(self, threat: ThreatModel, shape: tuple[int, ...]) -> list[float]:
        """The radii of the curve for images of shape (C, H, W): ascending from 0 to the largest possible distance.

        Raises:
            RobustAugError: the threat model has one eps per sample.
        """
        limit = threat.largest_distance(math.prod(shape))
        unit = single_eps(threat) or limit / 32  # a radius of 0 has no multiples
        return [m * unit for m in self.curve_multiples if m * unit < limit] + [limit]


def single_eps(threat: ThreatModel) -> float:
    """The threat model's radius.

    Raises:
        RobustAugError: it has one eps per sample.
    """
    if isinstance(threat.eps, tuple):
        raise RobustAugError(
            "an evaluation is at one eps for all samples, the threat model has one per sample; choose one"
        )
    return threat.eps


STANDARD = Protocol()
QUICK = Protocol(
    name="quick",
    samples=200,
    pgd_steps=20,
    pgd_restarts=1,
    noise_draws=5,
    curve_samples=100,
    curve_steps=10,
    unseen_style_samples=200,
)
PROTOCOLS = {protocol.name: protocol for protocol in (QUICK, STANDARD)}
