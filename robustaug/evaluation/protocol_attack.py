"""One further attack of a protocol: which, at which norm and radius, on how many samples."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from robustaug.attacks import Attack, Norm, ThreatModel, build_attack
from robustaug.attacks.named import ATTACKS
from robustaug.attacks.threat import parse_number
from robustaug.errors import RobustAugError
from robustaug.hardware import Precision

# Radii that benchmarks use side by side for 32 px colour images: RobustBench's (Croce et al. 2021), and for l1 that of
# Croce and Hein (2021). With the number of values d of an image, linf stays, l2 grows as its root, l1 as d itself.
_REFERENCE = {"linf": 8 / 255, "l2": 128 / 255, "l1": 12.0}
_GROWTH = {"linf": 0.0, "l2": 0.5, "l1": 1.0}
_REFERENCE_VALUES = 3 * 32 * 32


@dataclass(frozen=True)
class ProtocolAttack:
    """An attack whose accuracy is a metric beside those that every protocol measures.

    Attributes:
        attack: as for ``attacks.build_attack``: ``"autoattack"``, ``"square"``, ..., or ``"foolbox:CLASS"``.
        norm: ``"threat"`` is the threat model's; ``"other"`` is l2 where that is linf or l1, and linf where it is l2.
        eps: the radius; None is the threat model's at its own norm, and ``comparable_eps`` at another.
        samples: the first so many of the attacked samples; None is all.
        options: the attack's own parameters.
        name: of the metric; None is the attack's, with the norm behind it where that is not the threat model's.

    Raises:
        RobustAugError: an unknown attack or option, a value that it refuses, or a name that no file could have.
    """

    attack: str
    norm: Literal["threat", "other", "linf", "l2", "l1"] = "threat"
    eps: float | str | None = None
    samples: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def __post_init__(self) -> None:
        if self.attack in ATTACKS or not self.attack.startswith("foolbox:"):  # those of Foolbox are for one norm alone
            build_attack(self.attack, ThreatModel(), self.options)
        if self.eps is not None and (eps := parse_number(self.eps, "eps")) < 0:
            raise RobustAugError(f"attack {self.attack}: eps is {eps:g}; it must be 0 or larger")
        if self.samples is not None and self.samples < 1:
            raise RobustAugError(f"attack {self.attack}: samples is {self.samples}; it must be at least 1")
        if self.name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", self.name):
            raise RobustAugError(f"attack {self.attack}: name {self.name!r} must be of letters, digits, _, ., + and -")

    def metric(self, threat: ThreatModel) -> str:
        """What its accuracy is called."""
        if self.name is not None:
            return self.name
        own = self.attack.removeprefix("foolbox:")
        norm = self._norm(threat)
        return own if norm == threat.norm else f"{own}_{norm}"

    def threat(self, threat: ThreatModel, shape: tuple[int, ...]) -> ThreatModel:
        """What this attack may do to images of shape (C, H, W), where the evaluation is at ``threat``."""
        norm = self._norm(threat)
        if self.eps is not None:
            return replace(threat, norm=norm, eps=parse_number(self.eps, "eps"))
        return replace(threat, norm=norm, eps=comparable_eps(threat, norm, math.prod(shape)))

    def build(self, threat: ThreatModel, shape: tuple[int, ...], precision: Precision) -> Attack:
        """The attack itself."""
        attack = build_attack(self.attack, self.threat(threat, shape), self.options)
        is_free = self.attack in ATTACKS and "precision" not in self.options
        return replace(attack, precision=precision) if is_free else attack

    def _norm(self, threat: ThreatModel) -> Norm:
        if self.norm == "other":
            return "linf" if threat.norm == "l2" else "l2"
        return threat.norm if self.norm == "threat" else self.norm


def comparable_eps(threat: ThreatModel, norm: Norm, values: int) -> float:
    """The radius in another norm that benchmarks set beside the threat model's, for images of so many values.

    8/255 in linf, 128/255 in l2 and 12 in l1 go together at 3 x 32 x 32 values; with more values the radius in l2 grows
    as their root, that in l1 as their number. Never farther than images can be apart.
    """
    if isinstance(threat.eps, tuple):
        raise RobustAugError("a protocol's attacks are at one eps for all samples; choose one")
    if norm == threat.norm:
        return threat.eps
    growth: float = (values / _REFERENCE_VALUES) ** (_GROWTH[norm] - _GROWTH[threat.norm])
    eps = threat.eps * _REFERENCE[norm] / _REFERENCE[threat.norm] * growth
    return min(eps, replace(threat, norm=norm, eps=0.0).largest_distance(values))
