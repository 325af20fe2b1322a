"""A recipe: techniques by name, in the order in which they are applied, read from TOML."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robustaug.data.augmentation.automatic import AugMix, RandAugment, TrivialAugment
from robustaug.data.augmentation.colour import Brightness, Contrast, Hue, Saturation
from robustaug.data.augmentation.mixing import CutMix, MixUp
from robustaug.data.augmentation.noise import Erasing, GaussianBlur, GaussianNoise
from robustaug.data.augmentation.position import (
    Affine,
    Crop,
    HorizontalFlip,
    Resize,
    ResizedCrop,
    Rotation,
    VerticalFlip,
)
from robustaug.data.augmentation.technique import Technique
from robustaug.errors import RobustAugError
from robustaug.files import read_toml

_KINDS: tuple[type[Technique], ...] = (
    *(Crop, ResizedCrop, HorizontalFlip, VerticalFlip, Rotation, Affine, Resize),
    *(Brightness, Contrast, Saturation, Hue),
    *(GaussianNoise, GaussianBlur, Erasing),
    *(AugMix, TrivialAugment, RandAugment),
    *(MixUp, CutMix),
)
TECHNIQUES: dict[str, type[Technique]] = {kind.name: kind for kind in _KINDS}

Entry = str | Mapping[str, Any]
"""A technique as it is written down: its name, or a table with ``name``, ``probability`` and its own parameters."""


def build_techniques(entries: Entry | Sequence[Entry], where: str) -> tuple[Technique, ...]:
    """Techniques from what a recipe or a configuration says: one entry or several.

    Args:
        entries: Names, or tables; see ``Entry``.
        where: The key that holds them, for errors.

    Raises:
        RobustAugError: none at all, one that could never be used, an unknown name or parameter, or a value out of
            range; the message names the place and the nearest known name.
    """
    given: Sequence[Any] = [entries] if isinstance(entries, str | Mapping) else entries
    if not given:
        raise RobustAugError(f"{where} is empty; name a technique, for example {where} = ['horizontal_flip']")
    techniques = tuple(
        _technique(entry, where if given is not entries else f"{where}[{number}]")
        for number, entry in enumerate(given, 1)
    )
    if all(technique.probability == 0 for technique in techniques):
        raise RobustAugError(f"{where}: every probability is 0, so that nothing would change; raise one")
    return techniques


def read_recipe(path: Path) -> tuple[Technique, ...]:
    """The techniques of a recipe: a TOML file with a table ``[[techniques]]`` for each.

    Raises:
        RobustAugError: names the file, the place and what is wrong; see ``build_techniques``.
    """
    content = read_toml(path, "recipe")
    if "data" in content:  # as the recipe.toml of robustaug explore
        raise RobustAugError(
            f"{path} is a configuration for robustaug run; here a recipe is wanted, techniques alone, as [[techniques]]"
        )
    for key in content:
        if key != "techniques":
            raise RobustAugError(f"{path}: unknown key '{key}'; a recipe has 'techniques' alone, as [[techniques]]")
    entries = content.get("techniques", [])
    if not isinstance(entries, list):
        raise RobustAugError(f"{path}: 'techniques' is no list; write a table [[techniques]] for each")
    try:
        return build_techniques(entries, "techniques")
    except RobustAugError as error:
        raise RobustAugError(f"{path}: {error}") from None


def _technique(entry: Entry, where: str) -> Technique:
    if not isinstance(entry, str | Mapping):
        raise RobustAugError(f"{where} is {entry!r}; it is a technique's name, or a table with one")
    table = {"name": entry} if isinstance(entry, str) else dict(entry)
    if "name" not in table:
        raise RobustAugError(f"{where} has no name; use one of {', '.join(TECHNIQUES)}")
    name = table.pop("name")
    if not isinstance(name, str) or name not in TECHNIQUES:
        raise RobustAugError(f"{where}: there is no technique {name!r}; {_nearest(str(name), TECHNIQUES)}")
    kind = TECHNIQUES[name]
    for key in table:
        if key not in kind.model_fields:
            raise RobustAugError(f"{where}: {name} has no parameter {key!r}; {_nearest(key, kind.model_fields)}")
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        raise RobustAugError(f"{where}: {name}: '{key}' = {problem['input']!r}: {problem['msg']}") from None
    except RobustAugError as error:
        raise RobustAugError(f"{where}: {name}: {error}") from None


def _nearest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"use one of {', '.join(names)}"
