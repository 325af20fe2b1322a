"""What a style job makes: its settings, and of every variant the name, the paintings and the numbers."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from robustaug.data.content import Item
from robustaug.data.images import resize
from robustaug.data.jobs import LONGEST_NAME, fitting_name, output_stems
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.randomness import derive_seed, uniform
from robustaug.style.bank import Blend, Painting, StyleBank, slug
from robustaug.style.settings import MAX_SIDE, MIN_SIDE

_LONGEST_STYLE = 120
_SMALLEST_CROP = 16  # px a side
_SMALLEST_SHARE = 0.25  # of a painting in a blend, before they are brought to a sum of 1; the largest is 1.25


@dataclass(frozen=True)
class JobSettings:
    """What to make of each image.

    Attributes:
        per_image: variants of each image.
        seed: of all random choices, which depend on it, the image's key and the variant's number alone.
        strength: 0 to 1; of two, each variant draws its own between them. None takes the method's own for the image's
            size, at which about nine labels in ten survive.
        size: bring each image's shorter side to so many pixels and keep the central square, as ``robustaug run`` does.
        longest: bring each image's longer side to so many pixels. Without either, images stay as they are.
        blend: so many paintings in each variant, with shares that it draws; no painting comes twice in an image.
        style_scale: take a random part of each painting, its sides between these shares of the painting's: larger
            strokes. None takes the whole.

    Raises:
        RobustAugError: a number outside its range, or both sizes.
    """

    per_image: int = 1
    seed: int = 0
    strength: float | tuple[float, float] | None = None
    size: int | None = None
    longest: int | None = None
    blend: int = 1
    style_scale: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        low, high = self.strengths or (0.0, 1.0)
        if not 0 <= low <= high <= 1:
            given = f"{low}" if low == high else f"{low} to {high}"
            raise RobustAugError(f"strength {given} is outside [0, 1]; 0 keeps the content, 1 takes the whole style")
        for side in (self.size, self.longest):
            if side is not None and not MIN_SIDE <= side <= MAX_SIDE:
                raise RobustAugError(f"size {side} is outside {MIN_SIDE} to {MAX_SIDE} px")
        if self.size is not None and self.longest is not None:
            raise RobustAugError("take a fixed size or that of the longest side, not both")
        if self.style_scale is not None and not 0 < self.style_scale[0] <= self.style_scale[1] <= 1:
            raise RobustAugError(f"style_scale {self.style_scale} is outside (0, 1]; 1 takes the whole painting")

    @property
    def strengths(self) -> tuple[float, float] | None:
        """The smallest and the largest strength, if there are any."""
        if self.strength is None:
            return None
        return self.strength if isinstance(self.strength, tuple) else (self.strength, self.strength)

    def resized(self, image: Tensor) -> Tensor:
        """An image (3, H, W) at the size that the job wants."""
        if self.size is not None:
            return resize(image, self.size)
        longer = max(image.shape[1:])
        if self.longest is None or self.longest == longer:
            return image
        sides = [max(1, round(side * self.longest / longer)) for side in image.shape[1:]]
        resized: Tensor = functional.resize(image, sides, antialias=True)
        return resized


@dataclass(frozen=True, eq=False)
class Variant:
    """One image to make.

    Attributes:
        path: of the file, below the output folder.
        style: what it takes after.
        strength: 0 to 1, or None for the method's own.
        row: what the manifest says of it so far.
    """

    path: str
    style: Blend
    strength: float | None
    row: dict[str, Any]


class Plan:
    """All variants of a job, whatever the shard, each computed when it is asked for.

    Args:
        items: the content, in any order; the plan is in that of their keys.
        bank: the paintings.
        settings: what to make.

    Raises:
        RobustAugError: no items, more variants than paintings, two images or paintings that would share a file name.
    """

    def __init__(self, items: Sequence[Item], bank: StyleBank, settings: JobSettings) -> None:
        if not items:
            raise RobustAugError("there are no images to stylise; name a folder with images in it")
        most = len(bank) // max(1, settings.blend)
        if settings.blend < 1 or not 1 <= settings.per_image <= most:
            each = "" if settings.blend == 1 else f" with {settings.blend} paintings each"
            raise RobustAugError(
                f"cannot make {settings.per_image} variants an image{each} from {len(bank)} paintings; take 1 to {most}"
            )
        named: dict[str, Painting] = {}
        for painting in bank.paintings:
            other = named.setdefault(slug(painting.name), painting)
            if other is not painting:
                raise RobustAugError(f"the paintings {other.name} and {painting.name} would share a file name")
        self.items = sorted(items, key=lambda item: item.key)
        self.bank, self.settings = bank, settings
        stems = output_stems([item.key for item in self.items], [item.label for item in self.items])
        self._stems = [str(stem) for stem in stems]  # a path object is ten times as large

    def describe(self) -> dict[str, Any]:
        """Everything that the files depend on but the method and the images' bytes, as JSON values."""
        return {
            **asdict(self.settings),
            "paintings": {painting.name: painting.sha256 for painting in self.bank.paintings},
            "other_class": self.bank.other_class,
            "content": sha256("\n".join(item.identity for item in self.items).encode()),
        }

    def variants(self, position: int, digest: str) -> list[Variant]:
        """The variants of the image at a position, whose source has that SHA-256.

        Raises:
            RobustAugError: the bank has too few paintings for this image.
        """
        item, blend = self.items[position], self.settings.blend
        chosen = self.bank.choose(self.settings.seed, item.key, self.settings.per_image * blend, label=item.label)
        return [
            self._variant(position, digest, number, chosen[number * blend : (number + 1) * blend])
            for number in range(self.settings.per_image)
        ]

    def paths(self, position: int) -> list[str]:
        """Where the variants of the image at a position go; none if there are none."""
        with suppress(RobustAugError):
            return [variant.path for variant in self.variants(position, "")]
        return []

    def _variant(self, position: int, digest: str, number: int, paintings: Sequence[Painting]) -> Variant:
        item, stem, settings = self.items[position], PurePosixPath(self._stems[position]), self.settings
        draw = partial(_draw, settings.seed, item.key, number)
        low, high = settings.strengths or (None, None)
        strength = low
        if low is not None and high is not None and low < high:
            strength = round(low + (high - low) * draw("strength", 1)[0], 4)
        shares = [_SMALLEST_SHARE + share for share in draw("blend", len(paintings))] if len(paintings) > 1 else [1.0]
        style = Blend(tuple(paintings), tuple(shares))
        hashes = [painting.sha256 for painting in paintings]
        suffix = f"__{fitting_name('+'.join(slug(painting.name) for painting in paintings), _LONGEST_STYLE)}.png"
        row: dict[str, Any] = {
            "path": str(stem.with_name(fitting_name(stem.name, LONGEST_NAME - len(suffix.encode())) + suffix)),
            "source": item.key,
            "source_sha256": digest,
            "label": item.label,
            "kind": "stylised",
            "style": style.name,
            "style_sha256": hashes if settings.blend > 1 else hashes[0],
        }
        if settings.blend > 1:
            row["style_weights"] = [round(weight, 6) for weight in style.weights]
        if settings.style_scale is not None:
            boxes = [_box(painting, settings.style_scale, draw(f"crop {painting.sha256}", 3)) for painting in paintings]
            row["style_boxes"] = boxes
            style = replace(style, paintings=tuple(map(_cropped, paintings, boxes)))
        return Variant(row["path"], style, strength, {**row, "strength": strength, "seed": settings.seed})


def _draw(seed: int, key: str, number: int, purpose: str, count: int) -> list[float]:
    """Uniform numbers in [0, 1) for one variant and purpose."""
    numbers: list[float] = uniform(torch.tensor([derive_seed(seed, key, number, purpose)]), (count,))[0].tolist()
    return numbers


def _box(painting: Painting, scale: tuple[float, float], numbers: Sequence[float]) -> list[int]:
    """Top, left, height and width of a part of a painting, with the aspect of the whole."""
    share = scale[0] + (scale[1] - scale[0]) * numbers[0]
    height, width = painting.image.shape[1:]
    sides = [min(side, max(_SMALLEST_CROP, round(side * share))) for side in (height, width)]
    return [int(numbers[1] * (height - sides[0] + 1)), int(numbers[2] * (width - sides[1] + 1)), *sides]


def _cropped(painting: Painting, box: Sequence[int]) -> Painting:
    top, left, height, width = box
    digest = sha256(f"{painting.sha256} {box}".encode())
    return replace(painting, sha256=digest, image=painting.image[:, top : top + height, left : left + width])
