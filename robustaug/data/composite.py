"""The composite training set: originals, stylised variants and slots for adversarial ones, in exact shares."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, overload

import torch
from torch import Tensor

from robustaug.data.imageset import ImageSet
from robustaug.data.mix import KINDS, Kind, Mix
from robustaug.data.variants import VariantSet, check_variants, load_variants
from robustaug.errors import RobustAugError
from robustaug.hardware import free_memory, to_device
from robustaug.randomness import permutation, sample_seeds

__all__ = ["KINDS", "Batch", "CompositeDataset", "Kind", "Mix", "Provenance", "Restyler", "VariantSet", "load_variants"]


@dataclass(frozen=True)
class Provenance:
    """Where a training image comes from.

    Attributes:
        source: key of the original.
        kind: "adversarial" marks an image that the training loop replaces.
        label: the source's label, which the variant keeps.
        parameters: what made the variant, stylised or of the balance, also of one that is then attacked; empty for
            originals.
    """

    source: str
    kind: Kind
    label: int
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Restyler(Protocol):
    """What gives originals a style in the training loop; ``style.RandomStyle`` is one."""

    def restyle(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Restyle every image, (N, 3, H, W) in [0, 1]; each follows from its own int64 seed, (N,), alone."""

    def drawn(self, seed: int) -> Mapping[str, Any]:
        """What ``restyle`` makes of an image with this seed: the painting, its hash, the strength, ..."""

    def describe(self) -> Mapping[str, Any]:
        """Everything that a result depends on but image and seed."""


@dataclass(frozen=True)
class Batch:
    """Rows in the order originals, stylised variants, adversarial slots (of originals, then of stylised variants).

    Attributes:
        images: float32 in [0, 1], shape (N, 3, H, W), on the CPU or where ``CompositeDataset.on`` keeps them; all else
            is on the CPU.
        labels: int64, shape (N,).
        provenance: of each row, made on access.
        adversarial: bool, shape (N,): rows that the training loop replaces by adversarial variants of themselves.
        keys: one for each use of an image, for example "cat/1.png#7" in its eighth epoch; no two uses share one.
        unstyled: bool, shape (N,): rows that are originals still and that ``CompositeDataset.restyle`` makes stylised.
    """

    images: Tensor
    labels: Tensor
    provenance: Sequence[Provenance]
    adversarial: Tensor
    keys: tuple[str, ...]
    unstyled: Tensor

    def part(self, first: int, every: int) -> "Batch":
        """Every so many-th row, from ``first`` on: of each kind an equal share, give or take one row."""
        rows = slice(first, None, every)
        return Batch(
            self.images[rows],
            self.labels[rows],
            _OnAccess(lambda index: self.provenance[first + index * every], len(self.labels[rows])),
            self.adversarial[rows],
            self.keys[rows],
            self.unstyled[rows],
        )


class CompositeDataset:
    """Batches in exact shares, each variant under its source's label.

    Originals and adversarial slots of originals draw from one stream that goes through all originals before any comes
    again, in a new order each time; stylised rows, attacked ones too, draw from such a stream of the variants. With
    originals alone this is plain epoch training.

    Args:
        originals: the training part.
        stylised: variants of these originals; or a restyler, which makes them of the originals when they are used.
        mix: the shares.
        seed: of the orders, and of what a restyler draws.
        balance: variants of these originals that join the originals' stream, each as often as an original
            (``data.balance``); a restyler and the stylised stream do not see them.

    Raises:
        RobustAugError: no originals, a mix that needs stylised variants without any, or variants that do not belong to
            the originals: this keeps test images out.
    """

    def __init__(
        self,
        originals: ImageSet,
        stylised: VariantSet | Restyler | None,
        mix: Mix,
        seed: int,
        balance: VariantSet | None = None,
    ) -> None:
        if not len(originals):
            raise RobustAugError("the composite data set has no originals; give it the training part of a data set")
        self.stylised = stylised if isinstance(stylised, VariantSet) else None
        self.restyler = None if isinstance(stylised, VariantSet) else stylised
        if mix.styled and not self.stylised and self.restyler is None:
            share, value = ("stylised share", mix.stylised) if mix.stylised else ("attacked_style", mix.attacked_style)
            raise RobustAugError(
                f"mix: the {share} is {value:g}, but there are no stylised variants; "
                "make some with 'robustaug stylize' or set the share to 0"
            )
        for variants in filter(None, (self.stylised, balance)):
            check_variants(variants, originals)
        self.originals, self.mix, self.seed, self.balance = originals, mix, seed, balance
        self._images, self._labels = originals.images, originals.labels
        if balance is not None:
            self._images = torch.cat([self._images, balance.images])
            self._labels = torch.cat([self._labels, balance.labels])
        self._styled_images = originals.images if self.stylised is None else self.stylised.images
        # Of this object, not of the method: a cache on the method would keep every data set alive.
        self._order = lru_cache(maxsize=4)(self._epoch_order)

    def on(self, device: torch.device) -> "CompositeDataset":
        """This data set with its images, as bytes, on a device, if a quarter of its free memory holds them.

        The batches are the same.
        """
        needed = self._images.nbytes + (0 if self.stylised is None else self._styled_images.nbytes)
        if device == self._images.device or needed > free_memory(device) / 4:
            return self
        moved = copy.copy(self)
        moved._images = self._images.to(device)
        moved._styled_images = moved._images if self.stylised is None else self._styled_images.to(device)
        return moved

    def batch(self, step: int, batch_size: int) -> Batch:
        """The batch of a training step: a pure function of (seed, step), so a resumed run needs nothing saved.

        Raises:
            RobustAugError: ``batch_size`` has no room for a kind that has a share.
        """
        counts = self.mix.counts(batch_size)
        n_original, n_stylised = counts["original"], counts["stylised"]
        n_styled = n_stylised + self.mix.attacked_styles(batch_size)
        n_plain = batch_size - n_styled
        rows, epochs = self._draw("originals", len(self._labels), step * n_plain, n_plain)
        images, labels = _rows_of(self._images, rows), self._labels[rows]
        keys = [f"{self._name(row)}#{epoch}" for row, epoch in zip(rows, epochs, strict=True)]
        styled: list[int] = []
        if n_styled:
            given = self.originals if self.stylised is None else self.stylised
            styled, epochs = self._draw("stylised", len(given), step * n_styled, n_styled)
            images = torch.cat([images, _rows_of(self._styled_images, styled)])
            labels = torch.cat([labels, given.labels[styled]])
            keys += [f"{self._source(row)}~{row}#{epoch}" for row, epoch in zip(styled, epochs, strict=True)]
        plain_uses, styled_uses = range(n_plain), range(n_plain, batch_size)
        order = [*plain_uses[:n_original], *styled_uses[:n_stylised]]
        order += [*plain_uses[n_original:], *styled_uses[n_stylised:]]
        adversarial = torch.arange(batch_size) >= n_original + n_stylised
        unstyled = torch.tensor(order) >= (batch_size if self.restyler is None else n_plain)
        keys = [keys[use] for use in order]

        def describe(index: int) -> Provenance:
            use = order[index]
            kind: Kind = "adversarial" if adversarial[index] else "original" if use < n_plain else "stylised"
            label = int(labels[use])
            if use < n_plain:
                return self._of_plain(rows[use], kind, label)
            row = styled[use - n_plain]
            return Provenance(self._source(row), kind, label, self._parameters(row, keys[index]))

        images = _rows_of(images, order) / 255
        return Batch(images, labels[order], _OnAccess(describe, batch_size), adversarial, tuple(keys), unstyled)

    def restyle(self, batch: Batch, images: Tensor) -> Tensor:
        """The images of a batch, on any device, with its unstyled rows restyled; the same ones if there are none."""
        rows = batch.unstyled.nonzero().squeeze(1)
        if self.restyler is None or not len(rows):
            return images
        seeds = self._style_seeds(batch.keys[row] for row in rows.tolist())
        rows = to_device(rows, images.device)
        return images.index_copy(0, rows, self.restyler.restyle(images[rows], seeds))

    def _name(self, row: int) -> str:
        """The key of a row of the originals' stream: KEY, or KEY+NUMBER for a variant of the balance."""
        n = len(self.originals)
        return self.originals.keys[row] if self.balance is None or row < n else f"{self.balance.sources[row - n]}+{row}"

    def _of_plain(self, row: int, kind: Kind, label: int) -> Provenance:
        n = len(self.originals)
        if self.balance is None or row < n:
            return Provenance(self.originals.keys[row], kind, label)
        return Provenance(self.balance.sources[row - n], kind, label, self.balance.parameters[row - n])

    def _style_seeds(self, keys: Iterable[str]) -> Tensor:
        return sample_seeds(self.seed, keys, "style")

    def _source(self, row: int) -> str:
        """The key of the original behind a stylised row: of a variant, or, with a restyler, the original itself."""
        return self.originals.keys[row] if self.stylised is None else self.stylised.sources[row]

    def _parameters(self, row: int, key: str) -> Mapping[str, Any]:
        if self.stylised is not None:
            return self.stylised.parameters[row]
        return {} if self.restyler is None else self.restyler.drawn(int(self._style_seeds([key])))

    def _draw(self, stream: str, n: int, start: int, count: int) -> tuple[list[int], list[int]]:
        """Rows at positions ``start`` to ``start + count`` of an endless stream of epochs, and the epoch of each."""
        rows: list[int] = []
        epochs: list[int] = []
        while len(rows) < count:
            epoch, offset = divmod(start + len(rows), n)
            part = self._order(stream, n, epoch)[offset : offset + count - len(rows)]
            rows += part.tolist()
            epochs += [epoch] * len(part)
        return rows, epochs

    def _epoch_order(self, stream: str, n: int, epoch: int) -> Tensor:
        return permutation(n, self.seed, "composite", stream, epoch)


def _rows_of(images: Tensor, rows: Sequence[int]) -> Tensor:
    """``images[rows]``, without the host waiting for a device; on a CPU it is 20 times as fast for small images."""
    return images.index_select(0, to_device(torch.tensor(rows, dtype=torch.int64), images.device))


class _OnAccess(Sequence[Provenance]):
    """Provenance made on access, so that a training loop that does not look pays nothing."""

    def __init__(self, describe: Callable[[int], Provenance], length: int) -> None:
        self._describe, self._length = describe, length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Provenance: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Provenance]: ...
    def __getitem__(self, index: int | slice) -> Provenance | Sequence[Provenance]:
        found = range(self._length)[index]
        return self._describe(found) if isinstance(found, int) else [self._describe(i) for i in found]
