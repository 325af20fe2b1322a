"""The composite training set: originals, stylised variants and slots for adversarial ones, in exact shares."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol, overload

import torch
from torch import Tensor

from robustaug.data.imageset import ImageSet
from robustaug.data.variants import VariantSet, check_variants, load_variants
from robustaug.errors import RobustAugError
from robustaug.randomness import permutation, sample_seeds

__all__ = ["KINDS", "Batch", "CompositeDataset", "Kind", "Mix", "Provenance", "Restyler", "VariantSet", "load_variants"]

Kind = Literal["original", "stylised", "adversarial"]
KINDS: tuple[Kind, ...] = ("original", "stylised", "adversarial")


@dataclass(frozen=True)
class Provenance:
    """Where a training image comes from.

    Attributes:
        source: key of the original.
        kind: "adversarial" marks an image that the training loop replaces.
        label: the source's label, which the variant keeps.
        parameters: what made the stylised variant, also of one that is then attacked; empty for others.
    """

    source: str
    kind: Kind
    label: int
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mix:
    """Shares of each batch; they sum to one.

    Attributes:
        original: of originals.
        stylised: of stylised variants.
        adversarial: of rows that are attacked.
        attacked_style: share of the adversarial rows, not of the batch: what is attacked there is a stylised variant,
            in place of an original.

    Raises:
        RobustAugError: a share outside [0, 1], another sum, or a style to attack without adversarial rows.
    """

    original: float = 1.0
    stylised: float = 0.0
    adversarial: float = 0.0
    attacked_style: float = 0.0

    def __post_init__(self) -> None:
        shares = self.shares()
        for kind, share in (*shares.items(), ("attacked_style", self.attacked_style)):
            if not 0 <= share <= 1:
                raise RobustAugError(f"mix: the {kind} share is {share:g}; it must lie between 0 and 1")
        if self.attacked_style > 0 and self.adversarial == 0:
            raise RobustAugError(
                f"mix: attacked_style is {self.attacked_style:g} of the adversarial rows, but there are none; "
                "give the mix an adversarial share"
            )
        total = sum(shares.values())
        if abs(total - 1) > 1e-6:
            raise RobustAugError(f"mix: the shares of original, stylised and adversarial sum to {total:g}, not to 1")

    @property
    def styled(self) -> bool:
        """Whether any row needs a stylised variant."""
        return self.stylised > 0 or self.attacked_style > 0

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

    def attacked_styles(self, batch_size: int) -> int:
        """Adversarial rows of a batch in which a stylised variant is attacked: the share, rounded.

        Raises:
            RobustAugError: as ``counts``, or too few adversarial rows to hold both kinds.
        """
        rows = self.counts(batch_size)["adversarial"]
        styled = math.floor(rows * self.attacked_style + 0.5)
        if 0 < self.attacked_style < 1 and styled in (0, rows):
            raise RobustAugError(
                f"mix: the {rows} adversarial rows in a batch of {batch_size} cannot be split by an attacked_style of "
                f"{self.attacked_style:g}; set a larger batch_size, or attacked_style to 0 or 1"
            )
        return styled


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
        images: float32 in [0, 1], shape (N, 3, H, W).
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

    Raises:
        RobustAugError: no originals, a mix that needs stylised variants without any, or variants that do not belong to
            the originals: this keeps test images out.
    """

    def __init__(self, originals: ImageSet, stylised: VariantSet | Restyler | None, mix: Mix, seed: int) -> None:
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
        if self.stylised is not None:
            check_variants(self.stylised, originals)
        self.originals, self.mix, self.seed = originals, mix, seed
        # Of this object, not of the method: a cache on the method would keep every data set alive.
        self._order = lru_cache(maxsize=4)(self._epoch_order)

    def batch(self, step: int, batch_size: int) -> Batch:
        """The batch of a training step: a pure function of (seed, step), so a resumed run needs nothing saved.

        Raises:
            RobustAugError: ``batch_size`` has no room for a kind that has a share.
        """
        counts = self.mix.counts(batch_size)
        n_original, n_stylised = counts["original"], counts["stylised"]
        n_styled = n_stylised + self.mix.attacked_styles(batch_size)
        n_plain = batch_size - n_styled
        rows, epochs = self._draw("originals", len(self.originals), step * n_plain, n_plain)
        images, labels = self.originals.images[rows], self.originals.labels[rows]
        keys = [f"{self.originals.keys[row]}#{epoch}" for row, epoch in zip(rows, epochs, strict=True)]
        styled: list[int] = []
        if n_styled:
            given = self.originals if self.stylised is None else self.stylised
            styled, epochs = self._draw("stylised", len(given), step * n_styled, n_styled)
            images, labels = torch.cat([images, given.images[styled]]), torch.cat([labels, given.labels[styled]])
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
                return Provenance(self.originals.keys[rows[use]], kind, label)
            row = styled[use - n_plain]
            return Provenance(self._source(row), kind, label, self._parameters(row, keys[index]))

        return Batch(
            images[order] / 255, labels[order], _OnAccess(describe, batch_size), adversarial, tuple(keys), unstyled
        )

    def restyle(self, batch: Batch, images: Tensor) -> Tensor:
        """The images of a batch, on any device, with its unstyled rows restyled; the same ones if there are none."""
        rows = batch.unstyled.nonzero().squeeze(1)
        if self.restyler is None or not len(rows):
            return images
        seeds = self._style_seeds(batch.keys[row] for row in rows.tolist())
        rows = rows.to(images.device)
        return images.index_copy(0, rows, self.restyler.restyle(images[rows], seeds))

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
