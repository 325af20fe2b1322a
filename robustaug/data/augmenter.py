"""One interface for what makes variants of images, and classical augmentation behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from robustaug.data.augmentation import Technique
from robustaug.data.augmentation.technique import Parameters
from robustaug.errors import RobustAugError
from robustaug.hardware import to_device
from robustaug.randomness import fold

_CACHED = 1 << 18  # values: 1 MiB


class Augmenter(Protocol):
    """What makes one variant of each image: classical, stylised or adversarial.

    ``data.augmenter.ClassicalAugmenter``, ``style.StyleAugmenter`` and ``attacks.AdversarialAugmenter`` are such.
    """

    @property
    def kind(self) -> str:
        """``"classical"``, ``"stylised"`` or ``"adversarial"``: the ``kind`` of a manifest's row."""

    @property
    def name(self) -> str:
        """What it does, in a word."""

    def augment(self, images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
        """A variant of each image, which follows from image, label and seed alone.

        Args:
            images: float32 in [0, 1], (N, 3, H, W); they are not written to.
            labels: int64 (N,).
            seeds: int64 (N,), see ``randomness.sample_seeds``; no other random number is used.

        Returns:
            Alike in type, shape, range and device.
        """

    def drawn(self, seed: int) -> Mapping[str, Any]:
        """What an image with this seed gets, for the manifest."""

    def describe(self) -> Mapping[str, Any]:
        """Everything that a result depends on but image, label and seed, as JSON values."""


@dataclass(frozen=True)
class Draw:
    """What one technique does to a batch.

    Attributes:
        technique: Which.
        rows: The images that it changes, int64 (M,), on the CPU as all here.
        parameters: Of those images, (M,) each.
        seeds: Of those images, int64 (M,).
    """

    technique: Technique
    rows: Tensor
    parameters: Parameters
    seeds: Tensor


@dataclass(frozen=True)
class ClassicalAugmenter:
    """Techniques one after the other, each on the images that it draws.

    Args:
        techniques: In their order; see ``augmentation.build_techniques`` and ``augmentation.read_recipe``.

    Raises:
        RobustAugError: one of them mixes images, which needs a training loop.
    """

    techniques: tuple[Technique, ...]

    def __post_init__(self) -> None:
        for technique in self.techniques:
            if technique.mixes:
                raise RobustAugError(
                    f"{technique.name} mixes the labels of a batch, for a training loop alone; take it out of the "
                    "recipe, and name it under training.augmentation"
                )

    @property
    def kind(self) -> str:
        """Of a manifest's rows."""
        return "classical"

    @property
    def name(self) -> str:
        """The techniques' names joined by "+"."""
        return "+".join(technique.name for technique in self.techniques)

    def augment(self, images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:  # noqa: ARG002 - no label matters
        """See :class:`Augmenter`.

        Raises:
            RobustAugError: images that are not float32 of shape (N, 3, H, W).
        """
        # Beyond a processor's cache every operation waits for memory: large images go in small parts.
        most = max(1, _CACHED // max(1, images[:1].numel())) if images.device.type == "cpu" else max(1, len(images))
        parts = zip(torch.split(images, most), torch.split(seeds, most), strict=True)
        done = [self.apply(part, self.draw(own)) for part, own in parts]
        return done[0] if len(done) == 1 else torch.cat(done)

    def draw(self, seeds: Tensor) -> list[Draw]:
        """What each technique does to a batch; the position in the recipe tells its seeds from the others'."""
        draws = []
        for position, technique in enumerate(self.techniques):
            own = fold(seeds.cpu(), position)
            chosen, parameters = technique.draw(own)
            rows = chosen.nonzero().squeeze(1)
            draws.append(Draw(technique, rows, {name: values[rows] for name, values in parameters.items()}, own[rows]))
        return draws

    def apply(self, images: Tensor, draws: Sequence[Draw]) -> Tensor:
        """The images after all that was drawn for them."""
        if images.dtype != torch.float32 or images.ndim != 4 or images.shape[1] != 3:
            raise RobustAugError(
                f"augmentation takes float32 images in [0, 1] of shape (N, 3, H, W), got {images.dtype} of shape "
                f"{tuple(images.shape)}; convert bytes with images / 255"
            )
        for draw in draws:
            if not len(draw.rows):
                continue
            rows, seeds = (to_device(each, images.device) for each in (draw.rows, draw.seeds))
            parameters = {name: to_device(values, images.device) for name, values in draw.parameters.items()}
            changed = draw.technique.apply(images.index_select(0, rows), parameters, seeds)
            images = changed if len(rows) == len(images) else images.index_copy(0, rows, changed)
        return images

    def drawn(self, seed: int) -> dict[str, Any]:
        """``technique``, the names joined by "+", and ``operations``: the name and parameters of each."""
        return as_rows(self.draw(torch.tensor([seed])), 1)[0]

    def describe(self) -> dict[str, Any]:
        """All techniques with all parameters."""
        return {"techniques": [technique.describe() for technique in self.techniques]}


def as_rows(draws: Sequence[Draw], count: int) -> list[dict[str, Any]]:
    """What each of so many images gets: ``technique`` and ``operations``; see ``ClassicalAugmenter.drawn``."""
    operations: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for draw in draws:
        columns = {name: values.tolist() for name, values in draw.parameters.items()}
        if draw.technique.on_cpu:
            columns["seed"] = draw.seeds.tolist()  # torchvision's own draws follow from it
        for place, row in enumerate(draw.rows.tolist()):
            values = {name: _short(column[place]) for name, column in columns.items()}
            operations[row].append({"name": draw.technique.name, **values})
    return [{"technique": "+".join(each["name"] for each in own), "operations": own} for own in operations]


def _short(value: float) -> float:
    return float(f"{value:.6g}") if isinstance(value, float) else value
