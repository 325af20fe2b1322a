"""Data by name or by folder."""

import difflib
from pathlib import Path
from typing import Literal

from robustaug.data.folder import read_folder
from robustaug.data.images import MIN_SIDE
from robustaug.data.imageset import ImageSet, Skipped
from robustaug.data.labels import Labels, read_labels
from robustaug.data.named import NAMED_SETS, read_named
from robustaug.data.splits import DataSplits, Source, make_splits
from robustaug.errors import RobustAugError

Part = Literal["all", "train", "validation", "test"]


def load_data(
    source: str,
    *,
    labels: Path | None = None,
    root: Path | None = None,
    size: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    train_share: float = 1.0,
) -> DataSplits:
    """Load a labelled image set in three parts; parts that it lacks are cut from its training part.

    Args:
        source: a named set (``NAMED_SETS``), or an image folder: ROOT/CLASS/* or ROOT/{train,validation,test}/CLASS/*.
        labels: a CSV with the class of every file of an image folder, see ``read_labels``; None: its class folders.
        root: where named sets are kept; default: the environment variable ROBUSTAUG_DATA or ~/.cache/robustaug/data.
        size: side of the square images in px; None keeps the images' size if all are equal and at most 128 px, else 64.
        seed: chooses the samples of each part and of the limit.
        limit: at most so many images of a class, from each part that the source brings.
        validation_share: of all images that are split.
        test_share: of all images that are split.
        train_share: of the training images of each class, always the same first ones: a smaller share lies in a larger.

    Raises:
        RobustAugError: unknown source, nothing usable in it, classes that cannot be split, too little memory.
    """
    found = _read(source, labels, root, size, seed, limit)
    shares = {"validation_share": validation_share, "test_share": test_share, "train_share": train_share}
    return make_splits(found, seed, **shares)


def load_images(
    source: str,
    *,
    labels: Path | None = None,
    root: Path | None = None,
    size: int | None = None,
    split: Part = "all",
    seed: int = 0,
    limit: int | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    train_share: float = 1.0,
) -> tuple[ImageSet, tuple[Skipped, ...]]:
    """Load one part of a labelled image set: the one that ``load_data`` makes with the same arguments, or everything.

    Raises:
        RobustAugError: as ``load_data``.
    """
    found = _read(source, labels, root, size, seed, limit)
    if split == "all":
        return found.images, found.skipped
    if split != "train" and found.given.get(split):
        return found.images.select(found.given[split]), found.skipped
    shares = {"validation_share": validation_share, "test_share": test_share, "train_share": train_share}
    splits = make_splits(found, seed, **shares)
    part = {"train": splits.train, "validation": splits.validation, "test": splits.test}[split]
    return part, found.skipped


def read_labels_for(source: str, labels: Path | None) -> Labels | None:
    """The table of labels of a source, if there is one.

    Raises:
        RobustAugError: as ``read_labels``; a named set, which brings its labels.
    """
    if labels is None:
        return None
    if source in NAMED_SETS:
        raise RobustAugError(f"{source} brings its labels; {labels} can label an image folder only, leave it out")
    return read_labels(labels)


def _read(
    source: str, labels: Path | None, root: Path | None, size: int | None, seed: int, limit: int | None
) -> Source:
    if size is not None and size < MIN_SIDE:
        raise RobustAugError(f"size {size} is too small; take at least {MIN_SIDE} px")
    if limit is not None and limit < 1:
        raise RobustAugError(f"limit {limit} leaves no image; take at least 1, and 3 where splits are made")
    table = read_labels_for(source, labels)
    if source in NAMED_SETS:
        return read_named(source, root=root, size=size, seed=seed, limit=limit)
    folder = Path(source).expanduser()
    if folder.exists() or folder.name != source:
        return read_folder(folder, size=size, seed=seed, limit=limit, labels=table)
    nearest = difflib.get_close_matches(source.lower(), NAMED_SETS, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'" if nearest else f"known sets: {', '.join(NAMED_SETS)}"
    raise RobustAugError(
        f"'{source}' is neither a known data set nor a folder in {Path.cwd()}; {hint}, or name an image folder"
    )
