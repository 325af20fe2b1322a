"""How much is measured: samples, steps, restarts, attacks, the grid of radii; as presets and from TOML files."""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from robustaug.attacks import Attack, ThreatModel
from robustaug.errors import RobustAugError
from robustaug.evaluation.corruptions import SEVERITIES
from robustaug.evaluation.protocol_attack import ProtocolAttack
from robustaug.files import read_toml, sha256
from robustaug.hardware import Precision

_MULTIPLES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0)
_MAY_BE_ZERO = (
    "corruption_samples", "transfer_samples", "minimal_samples", "style_strength_samples", "conflict_samples"
)  # fmt: skip
RESERVED = (
    "clean", "fgsm", "pgd", "noise", "eps_curve", "unseen_style", "corruptions", "transfer", "minimal",
    "style_strength", "shape_bias",
)  # fmt: skip
STYLE_STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Protocol:
    """What an evaluation does, apart from the threat model and the seed.

    Attributes:
        name: what people call it.
        version: raised whenever the same numbers come to mean another measurement.
        samples: test images that FGSM, PGD and the noise attack (at most the whole test split).
        pgd_steps: gradient steps of PGD; in l1 a different search takes its place (``search``).
        pgd_restarts: random starts of PGD; a sample keeps its worst.
        noise_draws: random perturbations a sample; the worst counts.
        attacks: further attacks, each a metric of its own.
        transfer_samples: attacked images that PGD also attacks on each surrogate, where there is one; 0 leaves it out.
        minimal_samples: attacked images whose smallest adversarial distance is looked for; 0 leaves it out.
        curve_samples: test images behind the curve of accuracy against eps.
        curve_steps: PGD steps (one restart) at each eps of the curve, and of the search for smallest distances.
        curve_multiples: the curve's grid, ascending from 0, in units of the threat model's eps. It ends where accuracy
            reaches chance, at the latest at the largest distance that the bounds allow, which is always its last point.
        unseen_style_samples: test images that the caller stylises with held-out paintings.
        style_strength_samples: test images that the caller restyles likewise at each of ``STYLE_STRENGTHS``; 0 leaves
            the curve of accuracy against strength out.
        conflict_samples: images with the content of one class and the style of another that the caller makes, for the
            shape bias; 0 leaves it out.
        conflict_method: the style transfer that makes them.
        corruption_samples: test images under each of the 15 common corruptions at each severity (at most the whole test
            split); 0 leaves corruptions out.
        corruption_severities: from 1 to 5, ascending.
        batch_size: images at a time; no result depends on it.
        precision: of the attacks' gradients; every verdict is float32.

    Raises:
        RobustAugError: a number below 1 (below 0 for those that 0 leaves out), a grid that does not ascend from 0, or
            severities that do not ascend from 1 to 5.
    """

    name: str = "custom"
    version: int = 1
    samples: int = 1000
    pgd_steps: int = 40
    pgd_restarts: int = 5
    noise_draws: int = 20
    attacks: tuple[ProtocolAttack, ...] = ()
    transfer_samples: int = 0
    minimal_samples: int = 0
    curve_samples: int = 500
    curve_steps: int = 20
    curve_multiples: tuple[float, ...] = _MULTIPLES
    unseen_style_samples: int = 1000
    style_strength_samples: int = 0
    conflict_samples: int = 0
    conflict_method: Literal["gatys", "adain"] = "gatys"
    corruption_samples: int = 0
    corruption_severities: tuple[int, ...] = SEVERITIES
    batch_size: int = 250
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in _MAY_BE_ZERO else 1
            if isinstance(value, int) and value < least:
                raise RobustAugError(f"protocol {self.name}: {name} is {value}; it must be at least {least}")
        if self.conflict_method not in ("gatys", "adain"):
            raise RobustAugError(
                f"protocol {self.name}: conflict_method is {self.conflict_method!r}; it must be gatys or adain"
            )
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

    def further_attacks(self, threat: ThreatModel, shape: tuple[int, ...]) -> dict[str, Attack]:
        """The attacks of ``attacks`` by metric, for images of shape (C, H, W).

        Raises:
            RobustAugError: two have one name, or an attack that does not fit the threat model.
        """
        built: dict[str, Attack] = {}
        for entry in self.attacks:
            metric = entry.metric(threat)
            if metric in built or metric in RESERVED:
                raise RobustAugError(
                    f"protocol {self.name}: two metrics are named {metric!r}; give this attack another name"
                )
            built[metric] = entry.build(threat, shape, self.precision)
        return built

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


QUICK = Protocol(
    name="quick",
    version=4,
    samples=500,
    pgd_steps=20,
    pgd_restarts=2,
    noise_draws=5,
    curve_samples=100,
    curve_steps=10,
    unseen_style_samples=200,
    corruption_samples=40,
)
STANDARD = Protocol(
    name="standard",
    version=5,
    attacks=(
        ProtocolAttack("autoattack"),
        ProtocolAttack("autoattack", norm="other"),
        ProtocolAttack("square", options={"queries": 1000}),
    ),
    transfer_samples=1000,
    minimal_samples=200,
    style_strength_samples=200,
    conflict_samples=500,
    corruption_samples=1000,
    precision="auto",  # the finish and every verdict are float32
)
PROTOCOLS = {protocol.name: protocol for protocol in (QUICK, STANDARD)}


def protocol_of(name_or_path: str | Path) -> Protocol:
    """A preset by name, or a protocol of one's own from a file whose name ends in ``.toml``.

    Raises:
        RobustAugError: no such preset, or as ``load_protocol``.
    """
    name = str(name_or_path)
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name.endswith(".toml"):
        return load_protocol(Path(name))
    near = difflib.get_close_matches(name, PROTOCOLS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(PROTOCOLS)}, or a file that ends in .toml"
    raise RobustAugError(f"protocol {name!r} is unknown; {hint}")


def on_base(content: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a protocol, on top of those of the preset that ``base`` names, if it does.

    A preset with other settings is no longer that preset: unless they say otherwise, it is called custom, version 1.

    Raises:
        RobustAugError: no such preset.
    """
    given = dict(content)
    base = given.pop("base", None)
    if base is None:
        return given
    if base not in list(PROTOCOLS):
        raise RobustAugError(f"'base' = {base!r}: use {' or '.join(PROTOCOLS)}, or leave it out")
    preset = {field.name: getattr(PROTOCOLS[base], field.name) for field in fields(Protocol)}
    return preset | ({"name": Protocol.name, "version": Protocol.version} | given if given else {})


@checked_dataclass(config=ConfigDict(extra="forbid", allow_inf_nan=False), frozen=True)
class _Checked(Protocol):
    """A protocol whose values have the types that it states."""


def load_protocol(path: Path) -> Protocol:
    """Read a protocol from a TOML file: the keys of ``Protocol``, on top of those of ``base = "quick"`` where given.

    Without a ``name`` it is called as the file.

    Raises:
        RobustAugError: one line that names the file, the key and, for an unknown one, the nearest known one.
    """
    content = read_toml(path, "protocol")
    try:
        checked = _Checked(**(on_base(content) | {"name": content.get("name", path.stem)}))
    except ValidationError as error:
        raise RobustAugError(f"{path}: {_first_problem(error)}") from None
    except RobustAugError as error:
        raise RobustAugError(f"{path}: {error}") from None
    return replace(Protocol(), **{field.name: getattr(checked, field.name) for field in fields(Protocol)})


def _first_problem(error: ValidationError) -> str:
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    # A misspelt key is told first: what is missing is often the same one.
    problem = min(error.errors(include_url=False), key=lambda each: each["type"] not in unknown)
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] in unknown:
        kind = ProtocolAttack if len(location) > 1 else Protocol
        known = [field.name for field in fields(kind)] + (["base"] if kind is Protocol else [])
        nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.0)
        return f"unknown key '{key}'; the nearest known one is '{nearest[0]}'"
    if problem["type"] == "missing":
        return f"'{key}' is missing"
    return f"'{key}' = {problem.get('input')!r}: {problem['msg']}"
