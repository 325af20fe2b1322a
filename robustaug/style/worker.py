"""Loading and stylising the images of a plan: what every engine does, in whatever process."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robustaug.data.batches import BySize
from robustaug.data.content import pixels
from robustaug.data.images import to_uint8
from robustaug.data.threads import read_ahead
from robustaug.errors import RobustAugError
from robustaug.style.method import StyleTransfer, TargetCache
from robustaug.style.plan import Plan, Variant

_BATCHES_AHEAD = 2  # read before they are needed
_BATCHES_WAITING = 2  # variants that wait for others of their size; no result depends on it

Has = Callable[[str, str], bool]


@dataclass(frozen=True)
class LabelCheck:
    """Whether a variant still shows what its label says.

    Attributes:
        judge: takes images, uint8 (N, 3, H, W), and their N labels; gives the probability of each label, (N,), whatever
            the other images are.
        above: variants at or below this probability are dropped.
        fingerprint: of the judge: with another one it is another job.
    """

    judge: Callable[[Tensor, list[str]], Tensor]
    above: float
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Loaded:
    """What there is to do for one image.

    Attributes:
        position: of its item in the plan.
        image: uint8 (3, H, W), at the job's size; None if nothing is to do.
        todo: the variants to make.
        done: how many are there already.
        error: why the image cannot be used; "" if it can.
    """

    position: int
    image: Tensor | None = None
    todo: Sequence[Variant] = ()
    done: int = 0
    error: str = ""


@dataclass(frozen=True, eq=False)
class Made:
    """A variant: its manifest row, and uint8 (3, H, W) or the bytes of a PNG file; None if it was dropped."""

    row: dict[str, Any]
    image: Tensor | bytes | None


Step = Loaded | Made


class Worker:
    """One plan, one style, and what the paintings need kept."""

    def __init__(self, plan: Plan, style: StyleTransfer, check: LabelCheck | None = None) -> None:
        self.plan, self.style, self.check = plan, style, check
        self._cache = TargetCache()

    def describe(self) -> dict[str, Any]:
        """What makes a job the same job: everything that its files depend on, but for the images' bytes."""
        check = self.check
        return {
            **self.style.describe(),
            **self.plan.describe(),
            **({"strength": self.style.strengths} if self.plan.settings.strength is None else {}),
            "keep_label_above": None if check is None else check.above,
            "classifier": None if check is None else check.fingerprint,
        }

    def load(self, position: int, has: Has) -> Loaded:
        """Read the image at a position of the plan, unless all its variants are there; safe in any thread."""
        item = self.plan.items[position]
        try:
            content = item.read()
            digest = item.digest(content)
            variants = self.plan.variants(position, digest)
            todo = [variant for variant in variants if not has(variant.path, digest)]
            image = None
            if todo:
                image = self.plan.settings.resized(pixels(content))
                self.style.images_at_once(*image.shape[1:])  # which says so if the size is of no use
        except RobustAugError as error:
            return Loaded(position, error=str(error))
        return Loaded(position, image, todo, len(variants) - len(todo))

    def found(self, position: int, has: Has) -> list[str]:
        """Which variants of the image at a position are there already; none of an image that cannot be used."""
        item = self.plan.items[position]
        with suppress(RobustAugError):
            digest = item.digest(item.read())
            return [variant.path for variant in self.plan.variants(position, digest) if has(variant.path, digest)]
        return []

    def run(self, positions: Iterable[int], has: Has) -> Generator[Step, None, None]:
        """Load and stylise the images at these positions: each image's ``Loaded``, and later what was made of it.

        No result depends on which variants are made together.
        """
        ahead, most = _BATCHES_AHEAD * self.style.batch_size, _BATCHES_WAITING * self.style.batch_size
        waiting = BySize[tuple[Variant, Tensor]](lambda size: self.style.images_at_once(*size[1:]), most)
        for loaded in read_ahead(partial(self.load, has=has), positions, ahead):
            yield loaded
            for variant in loaded.todo:
                assert loaded.image is not None
                if batch := waiting.add(loaded.image.shape, (variant, loaded.image)):
                    yield from self.make(batch)
        for batch in waiting.rest():
            yield from self.make(batch)

    def make(self, batch: Sequence[tuple[Variant, Tensor]]) -> list[Made]:
        """Stylise images of one size."""
        cache = self._cache if self.plan.settings.style_scale is None else None  # no part of a painting comes again
        began, variants = time.perf_counter(), [variant for variant, _ in batch]
        content = torch.stack([image for _, image in batch]).to(self.style.device).float() / 255
        usual = self.style.default_strength(*content.shape[2:])
        strengths = [usual if variant.strength is None else variant.strength for variant in variants]
        given = torch.tensor(strengths, device=content.device)
        result = self.style.run(content, [variant.style for variant in variants], strength=given, cache=cache)
        images = to_uint8(result.images).cpu()
        seconds = round((time.perf_counter() - began) / len(batch), 4)
        losses = {name: [float(f"{x:.5g}") for x in values.tolist()] for name, values in result.losses.items()}
        made = []
        if self.check is not None:
            shares = self.check.judge(images, [variant.row["label"] for variant in variants]).tolist()
        for i, variant in enumerate(variants):
            row = {
                **variant.row,
                "strength": strengths[i],
                "method": self.style.name,
                "color": self.style.color,
                "size": list(images.shape[2:]),
                "seconds": seconds,
                **{name: values[i] for name, values in losses.items()},
            }
            if self.check is None:
                made.append(Made(row, images[i]))
            else:
                row["label_probability"] = round(shares[i], 4)
                made.append(Made(row, images[i] if row["label_probability"] > self.check.above else None))
        return made
