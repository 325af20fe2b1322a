"""The variants of a folder as its manifest lists them, each proved to lie inside it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustaug.data.jobs import MANIFEST
from robustaug.data.manifest import TEXTS, read_manifest
from robustaug.errors import RobustAugError
from robustaug.files import sha256

_TECHNIQUES = ("technique", "style", "attack")
_SHOWN_APART = {*TEXTS, *_TECHNIQUES, "strength", "label_probability"}


@dataclass(frozen=True)
class Variant:
    """One variant.

    Attributes:
        path: Below the folder.
        source: Key of its original.
        source_sha256: Of the original's file, or of its pixels where there is none.
        label: Name of its class.
        kind: stylised, classical, adversarial.
        techniques: The operations, the paintings, or the attack, each by its own name.
        strength: Of a style; the radius of an attack; None for others.
        label_probability: What the label check gave, if there was one.
        facts: Whatever else the manifest says, name and text.
    """

    path: str
    source: str
    source_sha256: str
    label: str
    kind: str
    techniques: tuple[str, ...]
    strength: float | None
    label_probability: float | None
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Gallery:
    """All variants of a folder in the order of their paths.

    Attributes:
        folder: Where they lie.
        variants: What the manifest lists.
        manifest_sha256: Says which manifest that was.
    """

    folder: Path
    variants: tuple[Variant, ...]
    manifest_sha256: str

    @property
    def classes(self) -> list[str]:
        """The labels that occur, sorted."""
        return sorted({variant.label for variant in self.variants})

    def read(self, number: int) -> bytes:
        """The file of a variant.

        Raises:
            RobustAugError: it is gone.
        """
        path = self.folder / self.variants[number].path
        try:
            return path.read_bytes()
        except OSError as error:
            raise RobustAugError(f"cannot read {path}: {error.strerror or error}") from error


def variants_folder(path: Path) -> Path:
    """A folder of variants itself, or ``variants/train`` of a run folder.

    Raises:
        RobustAugError: it is neither.
    """
    for folder in (path, path / "variants" / "train"):
        if (folder / MANIFEST).is_file():
            return folder
    what = "does not exist" if not path.exists() else f"holds neither {MANIFEST} nor variants/train/{MANIFEST}"
    raise RobustAugError(f"{path} {what}; name a folder that a finished job filled with variants, or a run folder")


def read_gallery(folder: Path) -> Gallery:
    """Read the manifest of a folder.

    Raises:
        RobustAugError: as ``data.manifest.read_manifest``.
    """
    variants = tuple(_variant(row) for row in read_manifest(folder).values())
    return Gallery(folder, variants, sha256((folder / MANIFEST).read_bytes()))


def _variant(row: Mapping[str, Any]) -> Variant:
    facts = [(name, _text(value)) for name, value in row.items() if name not in _SHOWN_APART]
    return Variant(
        path=row["path"],
        source=row["source"],
        source_sha256=row["source_sha256"],
        label=row["label"],
        kind=row["kind"],
        techniques=_techniques(row),
        strength=_number(row.get("strength", row.get("eps"))),
        label_probability=_number(row.get("label_probability")),
        facts=tuple((name, text) for name, text in facts if not name.endswith("sha256")),
    )


def _techniques(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What the manifest joins by "+": operations, or as many paintings as have hashes."""
    name = next((name for name in _TECHNIQUES if row.get(name)), "kind")
    joined, hashes = str(row[name]), row.get("style_sha256")
    single = joined.split("+")
    is_joined = name == "technique" or (isinstance(hashes, list) and len(hashes) == len(single))
    return tuple(dict.fromkeys(single)) if is_joined else (joined,)


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _text(value: Any) -> str:
    """A value in words: of operations each one's name and numbers."""
    if not isinstance(value, list):
        return _words(value)
    apart = "; " if any(isinstance(each, dict) for each in value) else ", "
    return apart.join(map(_words, value)) or "none"


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    if not isinstance(value, dict):
        return "none" if value is None else json.dumps(value, ensure_ascii=False)
    numbers = [f"{name} {f'{each:.4g}' if isinstance(each, float) else each}" for name, each in value.items()]
    if isinstance(value.get("name"), str):
        rest = ", ".join(number for name, number in zip(value, numbers, strict=True) if name != "name")
        return (f"{value['name']} ({rest})" if rest else value["name"]).replace("_", " ")
    return ", ".join(numbers).replace("_", " ")
