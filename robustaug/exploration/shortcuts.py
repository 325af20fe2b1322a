"""Shortcuts worth fearing: what predicts the class without a look at the thing itself (Geirhos et al. 2020)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robustaug.exploration.prediction import FOLDS, Share, share_of
from robustaug.exploration.scan import Scan

_BINS = 20  # of a number, at most: about as many images in each, and not fewer images than bins
_RING = 16  # the border is this part of the side, on each side, but 2 px at least
STRONG, NOTABLE = 0.5, 0.2  # of the way from the largest class's share to 1
_STRONG_CLASS = 0.8  # precision and recall, their lower ends, from which a class is given away
_FEWEST = 10  # images of a class that may be called given away


@dataclass(frozen=True)
class Shortcut:
    """How well one thing alone predicts the class of images that it was not fitted on.

    Attributes:
        name: of the thing.
        accuracy: of the prediction, with its interval.
        majority: the share of the largest class, which needs no look at all.
        level: ``"strong"``, ``"notable"``, ``"slight"`` or ``"none"``.
        gives_away: classes that it finds almost alone, each with the recall and the precision.
    """

    name: str
    accuracy: Share
    majority: float
    level: str
    gives_away: Mapping[str, tuple[float, float]]

    @property
    def lift(self) -> float:
        """How far it goes from the largest class's share (0) to certainty (1); below 0 where it misleads."""
        return (self.accuracy.value - self.majority) / max(1 - self.majority, 1e-9)


def find_shortcuts(scan: Scan, folds: Tensor) -> list[Shortcut]:
    """Every shortcut that the data set could have, the most telling first; those that are the same for all are out."""
    found = [
        _shortcut(name, columns, scan, folds)
        for name, columns in _things(scan)
        if len(torch.unique(columns, dim=0)) > 1
    ]
    return sorted(found, key=lambda each: -each.lift)


def _things(scan: Scan) -> Iterator[tuple[str, Tensor]]:
    """Name and columns, float32 (N, C)."""
    yield "border colour", border_colours(scan.images)
    sizes = scan.sizes.float()
    yield "image size", torch.cat([sizes, sizes[:, :1] / sizes[:, 1:]], 1)
    if scan.has_files:
        yield "file size", scan.bytes.float()[:, None]
        kinds = [f"{kind} {mode}" for kind, mode in zip(scan.formats, scan.modes, strict=True)]
        numbers = {kind: number for number, kind in enumerate(sorted(set(kinds)))}
        yield "file format and colour mode", torch.tensor([[float(numbers[kind])] for kind in kinds])


def border_colours(images: Tensor) -> Tensor:
    """Mean and deviation of each channel of an image's border, and its two opponent colours: float32 (N, 8).

    Args:
        images: uint8 (N, 3, S, S).
    """
    side = images.shape[2]
    ring = torch.ones(side, side, dtype=torch.bool)
    width = max(2, side // _RING)
    ring[width:-width, width:-width] = False
    parts = [part.flatten(2)[:, :, ring.flatten()].float() for part in torch.split(images, 4096)]
    mean, deviation = (torch.cat(each) for each in ([p.mean(2) for p in parts], [p.std(2) for p in parts]))
    red, green, blue = mean.unbind(1)
    return torch.cat([mean, deviation, (red - green)[:, None], (blue - (red + green) / 2)[:, None]], 1)


def _shortcut(name: str, columns: Tensor, scan: Scan, folds: Tensor) -> Shortcut:
    classes = len(scan.class_names)
    predicted = bayes_predictions(columns, scan.labels, classes, folds)
    accuracy = share_of(predicted == scan.labels)
    majority = float(torch.bincount(scan.labels).max() / len(scan))
    given = _given_away(predicted, scan)
    lift = (accuracy.value - majority) / max(1 - majority, 1e-9)
    if accuracy.low <= majority:
        level = "none"
    elif lift >= STRONG or given:
        level = "strong"
    else:
        level = "notable" if lift >= NOTABLE else "slight"
    return Shortcut(name, accuracy, majority, level, given if level == "strong" else {})


def _given_away(predicted: Tensor, scan: Scan) -> dict[str, tuple[float, float]]:
    """Classes of which recall and precision are both high, with both."""
    given = {}
    for label, name in enumerate(scan.class_names):
        own, taken = scan.labels == label, predicted == label
        if min(int(own.sum()), int(taken.sum())) < _FEWEST:
            continue
        recall, precision = share_of(taken[own]), share_of(own[taken])
        if min(recall.low, precision.low) >= _STRONG_CLASS:
            given[name] = recall.value, precision.value
    return given


def bayes_predictions(columns: Tensor, labels: Tensor, classes: int, folds: Tensor) -> Tensor:
    """The class of each image by naive Bayes on binned numbers, fitted without the image's fold: int64 (N,).

    Each column is cut at its quantiles, so that any relation shows, not only a straight one, and equal numbers share a
    bin; a column that says nothing leaves the largest class.
    """
    most = min(_BINS, max(2, round(len(labels) ** 0.5)))
    scores = torch.zeros(len(labels), classes)
    targets = F.one_hot(labels, classes).float()
    sums = torch.stack([targets[folds == fold].sum(0) for fold in range(FOLDS)])
    counts = sums.sum(0) - sums  # (5, K): of the images outside each fold
    scores += torch.log(counts.clamp(min=1e-9))[folds]
    for column in columns.T.contiguous():
        cuts = torch.unique(torch.quantile(_some(column), torch.linspace(0, 1, most + 1)[1:-1]))
        bins = torch.bucketize(column, cuts, right=True)
        n = len(cuts) + 1
        table = torch.zeros(FOLDS, n, classes).index_put_((folds, bins, labels), torch.ones(1), accumulate=True)
        outside = table.sum(0) - table + 1.0  # Laplace's rule
        scores += torch.log(outside / outside.sum(1, keepdim=True))[folds, bins]
    return scores.argmax(1)


def _some(column: Tensor) -> Tensor:
    """At most 100,000 numbers spread over a column: torch takes quantiles of 2^24 at most."""
    return column[:: max(1, len(column) // 100_000)]
