"""``explore``: everything that is found out about a data set before anything is changed."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from robustaug.data.named import NAMED_SETS, read_named
from robustaug.data.sources import read_labels_for
from robustaug.exploration.duplicates import Duplicates, find_duplicates
from robustaug.exploration.features import MOST_PIXELS, FeatureModel
from robustaug.exploration.invariance import Invariance, measure_invariances
from robustaug.exploration.labels import LabelDoubts, doubt_labels
from robustaug.exploration.listing import list_folder
from robustaug.exploration.prediction import FOLDS, Share, fit_ridge, folds_of, share_of
from robustaug.exploration.scan import Scan, scan_folder, scan_source
from robustaug.exploration.shortcuts import Shortcut, find_shortcuts
from robustaug.randomness import sample_seeds

_FEWEST = 4 * FOLDS  # images of all classes together, below which no classifier says anything


@dataclass(frozen=True)
class LabelStudy:
    """The labels of some images as the feature model sees them.

    Attributes:
        examined: positions in the scan.
        accuracy: of the held-out predictions, against the given labels.
        doubts: of the examined images, in their order.
        invariances: what changes of the image cost the model; empty for few images.
    """

    examined: torch.Tensor
    accuracy: Share
    doubts: LabelDoubts
    invariances: Mapping[str, Invariance]


@dataclass(frozen=True)
class Explored:
    """What was found; ``seconds`` by stage. ``study`` is None where there are too few classes or images for one."""

    scan: Scan
    duplicates: tuple[Duplicates, ...]
    shortcuts: tuple[Shortcut, ...]
    study: LabelStudy | None
    seconds: Mapping[str, float]


def explore(
    source: str, *, labels: Path | None = None, root: Path | None = None, limit: int | None = None, seed: int = 0
) -> Explored:
    """Look at every image of a data set.

    Args:
        source: an image folder, ROOT/CLASS/* or ROOT/{train,validation,test}/CLASS/*, or a named set.
        labels: a CSV with the class of every file of an image folder; None: its class folders.
        root: where named sets are kept.
        limit: at most so many images of a class, in each part.
        seed: of the limit and of the folds of cross-validation.

    Raises:
        RobustAugError: no such folder or set, nothing usable in it, classes that differ in case, labels that miss
            files, too little memory.
    """
    clock = _Clock()
    table = read_labels_for(source, labels)
    if source in NAMED_SETS and not Path(source).is_dir():
        scan = scan_source(read_named(source, root=root, size=None, seed=seed, limit=limit))
    else:
        folder = Path(source).expanduser()
        scan = scan_folder(folder, list_folder(folder, table), limit=limit, seed=seed)
    clock.lap("reading")
    duplicates = tuple(find_duplicates(scan))
    clock.lap("duplicates")
    folds = folds_of(_stand_ins(scan, duplicates), seed)
    shortcuts = tuple(find_shortcuts(scan, folds)) if _tells(scan.labels) else ()
    clock.lap("shortcuts")
    study = _study_labels(scan, folds, seed) if _tells(scan.labels[~scan.blank]) else None
    clock.lap("labels")
    return Explored(scan, duplicates, shortcuts, study, clock.seconds)


def _tells(labels: torch.Tensor) -> bool:
    """Whether there are images and classes enough for a classifier to say anything."""
    return len(labels) >= _FEWEST and len(labels.unique()) > 1  # type: ignore[no-untyped-call]


def _stand_ins(scan: Scan, duplicates: Iterable[Duplicates]) -> list[str]:
    """A name for each image that all images equal to it share."""
    names = list(scan.digests)
    for group in duplicates:
        for index in group.members:
            names[index] = scan.digests[group.members[0]]
    return names


def _study_labels(scan: Scan, folds: torch.Tensor, seed: int) -> LabelStudy:
    """All images, or as many of each class in turn as the feature model may look at."""
    most = MOST_PIXELS // scan.images[0, 0].numel()
    examined = torch.arange(len(scan))[~scan.blank]
    if len(examined) > most:
        order = sample_seeds(seed, [scan.keys[index] for index in examined.tolist()], "label study").argsort()
        shuffled = examined[order]
        by_class = [shuffled[scan.labels[shuffled] == label] for label in range(len(scan.class_names))]
        each = most // len(by_class)
        examined = torch.cat([rows[:each] for rows in by_class]).sort().values
    images, labels, folds = scan.images[examined], scan.labels[examined], folds[examined]
    model = FeatureModel()
    ridge = fit_ridge(model(images), labels, len(scan.class_names), folds)
    keys = tuple(scan.keys[index] for index in examined.tolist())
    return LabelStudy(
        examined,
        share_of(ridge.scores.argmax(1) == labels),
        doubt_labels(ridge.scores, labels),
        measure_invariances(model, ridge, images, labels, keys, folds),
    )


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self.last = round(now - self.last, 2), now
