"""Training, validation and test parts: stratified, seeded, the same whatever the order of the files."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from robustaug.data.imageset import ImageSet, Skipped
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.randomness import derive_seed


@dataclass(frozen=True)
class Source:
    """What a reader found, before any split is made.

    Attributes:
        name: of the data set, for reports and messages.
        images: everything that was found.
        given: part ("train", "validation", "test") to indices into ``images``, where the data set brings its own parts.
        skipped: files that could not be used.
    """

    name: str
    images: ImageSet
    given: Mapping[str, Sequence[int]] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class DataSplits:
    """Three parts of a data set without a common sample.

    Attributes:
        name: of the data set.
        train: what models learn from and what variants are made of.
        validation: what chooses the checkpoint.
        test: what is reported; it never touches training.
        skipped: files that could not be used.
        fingerprint: SHA-256 over the sorted pairs of key and hash of all parts; the same for the same data. The labels
            are in it, too: keys tell them, or with a table identities.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    skipped: tuple[Skipped, ...]
    fingerprint: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels stand for."""
        return self.train.class_names

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in px."""
        return self.train.images.shape[2], self.train.images.shape[3]


def make_splits(
    source: Source, seed: int, *, validation_share: float = 0.1, test_share: float = 0.2, train_share: float = 1.0
) -> DataSplits:
    """Keep the parts that the source brings and cut the missing ones from its training part.

    The test part depends on (seed, test_share) and each class's own keys alone. Identical images never straddle a cut.

    Args:
        source: what was read.
        seed: chooses the samples.
        validation_share: of all that is split.
        test_share: of all that is split.
        train_share: of the training part that is left; see ``first_share``. The other parts do not depend on it.

    Raises:
        RobustAugError: shares out of range, a single class, a class that is too small or missing from a part.
    """
    test_given, validation_given = "test" in source.given, "validation" in source.given
    rest_share = 1.0 if test_given else 1 - test_share
    if not (0 < test_share <= 0.5 and 0 < validation_share <= rest_share / 2):
        raise RobustAugError(
            f"test_share {test_share:g} with validation_share {validation_share:g} cannot be split; "
            "take a test_share of at most 0.5 and a validation_share of at most half of what is left for training"
        )
    pixels = [sha256(image.numpy().tobytes()) for image in source.images.images]
    _check_classes(source, pixels, parts_to_cut=(not test_given) + (not validation_given))
    train: Sequence[int] = source.given.get("train", range(len(source.images)))
    test, validation = source.given.get("test", ()), source.given.get("validation", ())
    if not test_given:
        test, train = _cut(source.images, pixels, train, test_share, seed)
    if not validation_given:
        validation, train = _cut(source.images, pixels, train, validation_share / rest_share, seed)
    return DataSplits(
        source.name,
        train=first_share(source.images.select(train), train_share, seed),
        validation=source.images.select(validation),
        test=source.images.select(test),
        skipped=source.skipped,
        fingerprint=fingerprint(source.images.identities, source.images.sha256),
    )


def first_share(images: ImageSet, share: float, seed: int) -> ImageSet:
    """The first images of each class in its seeded order, in the order of ``images``: a smaller share lies in a larger.

    Args:
        images: what is chosen from.
        share: of each class, above 0 and at most 1; at least one image of each is kept.
        seed: chooses the images, each class by its own keys alone.

    Raises:
        RobustAugError: a share out of range.
    """
    if not 0 < share <= 1:
        raise RobustAugError(f"train_share is {share:g}; it is a share of the training images, above 0 and at most 1")
    if share == 1:
        return images
    orders = _seeded_orders(images.keys, images.labels.tolist(), seed)
    return images.select(sorted(index for order in orders.values() for index in order[: quota(len(order), share)]))


def fingerprint(identities: Iterable[str], hashes: Iterable[str]) -> str:
    """SHA-256 over the sorted pairs of identity (see ``ImageSet.identities``) and hash."""
    pairs = sorted(zip(identities, hashes, strict=True))
    return sha256("\n".join(f"{name}\t{digest}" for name, digest in pairs).encode())


def limit_per_class(keys: Sequence[str], labels: Sequence[int], limit: int | None, seed: int) -> list[int]:
    """Indices, ascending, of the first ``limit`` samples of each class in its seeded order.

    A prefix of the order in which splits are cut: what is a test image under a limit is one without it, too.
    """
    if limit is None:
        return list(range(len(keys)))
    return sorted(index for order in _seeded_orders(keys, labels, seed).values() for index in order[:limit])


def quota(n: int, share: float) -> int:
    """How many of the first ``n`` samples of a class are cut off: ``share * n`` to the nearest, and at least one.

    For a share of at most one half it never falls nor jumps as ``n`` grows, and leaves at least one of two.
    """
    return 0 if n == 0 else max(1, math.ceil(share * n - 0.5 - 1e-9))


def _cut(
    images: ImageSet, pixels: Sequence[str], pool: Sequence[int], share: float, seed: int
) -> tuple[list[int], list[int]]:
    """Split ``pool`` into (cut off, left), both ascending; the share holds in each class, counting distinct images."""
    labels: list[int] = images.labels.tolist()
    groups: dict[str, list[int]] = defaultdict(list)
    for index in pool:
        groups[pixels[index]].append(index)
    by_class: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for digest, members in groups.items():
        # One image under two labels can prove nothing in a test: it is left for training.
        if len({labels[index] for index in members}) == 1:
            first = min(derive_seed(seed, images.keys[index], "split") for index in members)
            by_class[labels[members[0]]].append((first, digest))
    cut: set[int] = set()
    for order in by_class.values():
        for rank, (_, digest) in enumerate(sorted(order)):
            if quota(rank + 1, share) > quota(rank, share):
                cut.update(groups[digest])
    return sorted(cut), sorted(set(pool) - cut)


def _seeded_orders(keys: Sequence[str], labels: Sequence[int], seed: int) -> dict[int, list[int]]:
    orders: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(keys)), key=lambda index: derive_seed(seed, keys[index], "split")):
        orders[labels[index]].append(index)
    return orders


def _check_classes(source: Source, pixels: Sequence[str], parts_to_cut: int) -> None:
    names, images = source.images.class_names, source.images
    if len(names) < 2:
        raise RobustAugError(f"{source.name} has only one class ({', '.join(names)}); a classifier needs at least two")
    if source.given and "train" not in source.given:
        raise RobustAugError(f"{source.name} has no train part; add a folder train/ with the same classes")
    labels: list[int] = images.labels.tolist()
    for part, indices in source.given.items() or [("", range(len(images)))]:
        counts: dict[int, set[str]] = {label: set() for label in range(len(names))}
        totals = [0] * len(names)
        for index in indices:
            counts[labels[index]].add(pixels[index])
            totals[labels[index]] += 1
        needed = 1 + parts_to_cut if part in ("", "train") else 1
        where = f" in {part}" if part else ""
        for label, name in enumerate(names):
            distinct = len(counts[label])
            if distinct < needed:
                found = f"{totals[label]} usable image{'s' * (totals[label] != 1)}{where}"
                if distinct != totals[label]:
                    found += f", {distinct} of them different"
                raise RobustAugError(
                    f"{source.name}: class '{name}' has {found}, where at least {needed} must be; "
                    "add images, remove the class, or raise the limit"
                )
