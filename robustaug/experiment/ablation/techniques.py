"""What an arm uses, and the configurations in which one of it is off: the cells of an ablation."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from robustaug.errors import RobustAugError
from robustaug.experiment.config import ExperimentConfig, parse_config
from robustaug.training import TrainingSettings

FULL, BARE = "full", "bare"
SWITCHES: Mapping[str, Any] = {"flip": False, "shift": 0}  # of [training], and how each is off
_AUGMENTATION = "training.augmentation"


@dataclass(frozen=True)
class Technique:
    """One thing that an arm trains with.

    Attributes:
        name: what tables call it.
        off: dotted key to value, the configuration without it; None takes the key away.
    """

    name: str
    off: Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One training and its measurement, for each seed a run.

    Attributes:
        name: of its folder: ``full``, ``without-NAME``, ``bare`` (without any technique), or one of these at a share of
            the originals, such as ``full-at-0.1``.
        share: of the training originals, 1 is all.
        without: the techniques that are off.
        config: what is run; it differs from the full configuration in the techniques' keys and ``data.train_share``.
    """

    name: str
    share: float
    without: tuple[str, ...]
    config: ExperimentConfig


def techniques_of(config: ExperimentConfig, arm: str) -> tuple[Technique, ...]:
    """The techniques that an arm uses.

    A stylised or adversarial share that is off goes to the originals. With the adversarial share goes what means
    nothing without one: the objective and its parameters, as ``TrainingSettings.standard`` has it.
    """
    section = config.arms[arm]
    mix, place = section.mix(), f"arms.{arm}"
    found = []

    def to_originals(share: float) -> dict[str, Any]:
        return {} if section.original is None else {f"{place}.original": round(section.original + share, 9)}

    if mix.stylised > 0:
        found.append(Technique("stylised", {f"{place}.stylised": 0.0} | to_originals(mix.stylised)))
    if mix.attacked_style > 0:
        found.append(Technique("attacked_style", {f"{place}.attacked_style": 0.0}))
    if mix.adversarial > 0:
        shares = {f"{place}.adversarial": 0.0, f"{place}.attacked_style": 0.0} | to_originals(mix.adversarial)
        standard = config.training.standard()
        changed = {
            f"training.{entry.name}": getattr(standard, entry.name)
            for entry in fields(TrainingSettings)
            if getattr(standard, entry.name) != getattr(config.training, entry.name)
        }
        found.append(Technique("adversarial", shares | changed))
    if section.balance is not None:
        found.append(Technique("balance", {f"{place}.balance": None}))
    found += _augmentations(config)
    for key, off in SWITCHES.items():
        if getattr(config.training, key) != off:
            found.append(Technique(key, {f"training.{key}": off}))
    return tuple(found)


def _augmentations(config: ExperimentConfig) -> list[Technique]:
    """Each technique of ``training.augmentation``, named as there; a second one of a name is ``NAME-2``."""
    given = config.training.augmentation
    entries = [given] if isinstance(given, str) else list(given or ())
    names = [entry if isinstance(entry, str) else str(entry["name"]) for entry in entries]
    found = []
    for place, name in enumerate(names):
        nth = names[: place + 1].count(name)
        others = entries[:place] + entries[place + 1 :]
        found.append(Technique(name if nth == 1 else f"{name}-{nth}", {_AUGMENTATION: others or None}))
    return found


def arm_to_ablate(config: ExperimentConfig, arm: str | None = None) -> str:
    """The arm by name, or the first of those that use the most techniques.

    Raises:
        RobustAugError: there is no such arm, or it uses no technique.
    """
    if arm is not None and arm not in config.arms:
        raise RobustAugError(f"there is no arm {arm!r} in the configuration; choose one of {', '.join(config.arms)}")
    chosen = arm or max(config.arms, key=lambda name: len(techniques_of(config, name)))
    if not techniques_of(config, chosen):
        raise RobustAugError(
            f"arm {chosen} uses no technique that could be off; give it a stylised or adversarial share, or set "
            f"{_AUGMENTATION}, {' or '.join(f'training.{key}' for key in SWITCHES)}"
        )
    return chosen


def cells_of(config: ExperimentConfig, arm: str, fractions: Sequence[float]) -> tuple[Cell, ...]:
    """All cells of one seed: the full configuration, each technique off, and both ends at each share of the originals.

    Args:
        config: the whole configuration; its other arms are left out.
        arm: which arm is ablated.
        fractions: shares of the training originals, above 0 and at most 1; 1 is always among them.

    Raises:
        RobustAugError: a fraction out of range, or a configuration that cannot be without a technique.
    """
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise RobustAugError(f"a fraction of {fraction:g} is no share of the originals; give 0.1,0.25,0.5,1")
    techniques = techniques_of(config, arm)
    every = tuple(technique.name for technique in techniques)
    all_off = {key: value for technique in techniques for key, value in technique.off.items()}
    if config.training.augmentation is not None:
        all_off[_AUGMENTATION] = None
    if config.arms[arm].original is not None:
        all_off[f"arms.{arm}.original"] = 1.0
    cells = [Cell(FULL, 1.0, (), _changed(config, arm, FULL, {}))]
    for technique in techniques:
        name = f"without-{technique.name}"
        cells.append(Cell(name, 1.0, (technique.name,), _changed(config, arm, name, technique.off)))
    if len(techniques) > 1:  # without the only one is bare already
        cells.append(Cell(BARE, 1.0, every, _changed(config, arm, BARE, all_off)))
    for fraction in sorted({*fractions} - {1.0}):
        share = {"data.train_share": round(config.data.train_share * fraction, 9)}
        for kind, without, off in ((FULL, (), {}), (BARE, every, all_off)):
            name = f"{kind}-at-{fraction:g}"
            cells.append(Cell(name, fraction, without, _changed(config, arm, name, share | off)))
    return tuple(cells)


def _changed(config: ExperimentConfig, arm: str, name: str, changes: Mapping[str, Any]) -> ExperimentConfig:
    """The configuration with one arm and some keys changed."""
    content = tomllib.loads(config.to_toml())
    content["arms"] = {arm: content["arms"][arm]}
    content["name"] = f"{config.name}: {name}"
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return parse_config(content, f"cell {name}")
