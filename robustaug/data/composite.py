"""The composite training set: originals, stylised variants and slots for adversarial ones, in exact shares."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, overload

import torch
from torch import Tensor

from robustaug.data.imageset import ImageSet
from robustaug.data.variants import VariantSet, check_variants, load_variants
from robustaug.errors import RobustAugError
from robustaug.randomness import permutation

__all__ = ["KINDS", "Batch", "CompositeDataset", "Kind", "Mix", "Provenance", "VariantSet", "load_variants"]

Kind = Literal["original", "stylised", "adversarial"]
KINDS: tuple[Kind, ...] = ("original", "stylised", "adversarial")


@dataclass(frozen=True)
class Provenance:
    """Where a training image comes from.

    Attributes:
        source: key of the original.
        kind: "adversarial" marks an original that the training loop replaces.
        label: the source's label, which the variant keeps.
        parameters: what made the variant.
    """

    source: str
    kind: Kind
    label: int
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mix:
    """Shares of each batch; they sum to one.

    Raises:
        RobustAugError: a share outside [0, 1], or another sum.
    """

    original: float = 1.0
    stylised: float = 0.0
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        shares = self.shares()
        for kind, share in shares.items():
            if not 0 <= share <= 1:
                raise RobustAugError(f"mix: the {kind} share is {share:g}; it must lie between 0 and 1")
        total = sum(shares.values())
        if abs(total - 1) > 1e-6:
            raise RobustAugError(f"mix: the shares of original, stylised and adversarial sum to {total:g}, not to 1")

    def shares(self) -> dict[Kind, float]:
        """Kind to share."""
        return {"original": self.original, "stylised": self.stylised, "adversarial": self.adversarial}

    def counts(self, batch_size: int) -> dict[Kind, int]:
        """Rows of each kind in a batch, by the largest remainder; they sum to ``batch_size``.

        Raises:
            RobustAugError: the batch is too small to hold every kind that has a share.
        """
        shares = self.shares()
        exact = {kind: share * batch_size for kind, share in shares.items()}
        counts = {kind: math.floor(rows + 1e-6) for kind, rows in exact.items()}
        by_remainder = sorted(KINDS, key=lambda kind: counts[kind] - exact[kind])
        for kind in by_remainder[: batch_size - sum(counts.values())]:
            counts[kind] += 1
        for kind, share in shares.items():
            if share > 0 and counts[kind] == 0:
                enough = math.ceil(1 / min(share for share in shares.values() if share > 0) - 1e-6)
                raise RobustAugError(
                    f"mix: a batch of {batch_size} has no row for the {kind} share of {share:g}; "
                    f"set batch_size to {enough} or more, or the share to 0"
                )
        return counts


@dataclass(frozen=True)
class Batch:
    """Rows in the order originals, stylised variants, adversarial slots.

    Attributes:
        images: float32 in [0, 1], shape (N, 3, H, W).
        labels: int64, shape (N,).
        provenance: of each row, made on access.
        adversarial: bool, shape (N,): rows that the training loop replaces by adversarial variants of themselves.
        keys: one for each use of an image, for example "cat/1.png#7" in its eighth epoch; no two uses share one.
    """

    images: Tensor
    labels: Tensor
    provenance: Sequence[Provenance]
    adversarial: Tensor
    keys: tuple[str, ...]


class CompositeDataset:
    """Batches in exact shares, each variant under its source's label.

    Originals and adversarial slots draw from one stream that goes through all originals before any comes again, in a
    new order each time; stylised rows draw from such a stream of the variants. With originals alone this is plain
    epoch training.

    Args:
        originals: the training part.
        stylised: variants of these originals.
        mix: the shares.
        seed: of the orders.

    Raises:
        RobustAugError: no originals, a stylised share without variants, or variants that do not belong to the
            originals: this keeps test images out.
    """

    def __init__(self, originals: ImageSet, stylised: VariantSet | None, mix: Mix, seed: int) -> None:
        if not len(originals):
            raise RobustAugError("the composite data set has no originals; give it the training part of a data set")
        if mix.stylised > 0 and (stylised is None or not len(stylised)):
            raise RobustAugError(
                f"mix: the stylised share is {mix.stylised:g}, but there are no stylised variants; "
                "make some with 'robustaug stylize' or set the share to 0"
            )
        if stylised is not None:
            check_variants(stylised, originals)
        self.originals, self.stylised, self.mix, self.seed = originals, stylised, mix, seed
        # Of this object, not of the method: a cache on the method would keep every data set alive.
        self._order = lru_cache(maxsize=4)(self._epoch_order)

    def batch(self, step: int, batch_size: int) -> Batch:
        """The batch of a training step: a pure function of (seed, step), so a resumed run needs nothing saved.

        Raises:
            RobustAugError: ``batch_size`` has no room for a kind that has a share.
        """
        counts = self.mix.counts(batch_size)
        n_original, n_stylised = counts["original"], counts["stylised"]
        n_plain = batch_size - n_stylised
        rows, epochs = self._draw("originals", len(self.originals), step * n_plain, n_plain)
        images, labels = self.originals.images[rows], self.originals.labels[rows]
        keys = [f"{self.originals.keys[row]}#{epoch}" for row, epoch in zip(rows, epochs, strict=True)]
        variants: list[int] = []
        if self.stylised is not None and n_stylised:
            variants, epochs = self._draw("stylised", len(self.stylised), step * n_stylised, n_stylised)
            images = torch.cat([images[:n_original], self.stylised.images[variants], images[n_original:]])
            labels = torch.cat([labels[:n_original], self.stylised.labels[variants], labels[n_original:]])
            keys[n_original:n_original] = [
                f"{self.stylised.sources[row]}~{row}#{epoch}" for row, epoch in zip(variants, epochs, strict=True)
            ]

        def describe(index: int) -> Provenance:
            if self.stylised is not None and n_original <= index < n_original + n_stylised:
                row = variants[index - n_original]
                label, parameters = int(self.stylised.labels[row]), self.stylised.parameters[row]
                return Provenance(self.stylised.sources[row], "stylised", label, parameters)
            row = rows[index if index < n_original else index - n_stylised]
            kind: Kind = "original" if index < n_original else "adversarial"
            return Provenance(self.originals.keys[row], kind, int(self.originals.labels[row]))

        adversarial = torch.arange(batch_size) >= n_original + n_stylised
        return Batch(images / 255, labels, _OnAccess(describe, batch_size), adversarial, tuple(keys))

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
