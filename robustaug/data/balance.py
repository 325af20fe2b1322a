"""Balance: variants of the classes with few training images, until each has a stated share of the largest one's.

The variants for a smaller share are among those for a larger one, so that arms with different shares take theirs from
one folder.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from robustaug.data.augmenter import Augmenter
from robustaug.data.images import to_uint8
from robustaug.data.imageset import ImageSet
from robustaug.data.jobs import JobFolder, output_stems
from robustaug.data.variants import VariantSet, load_variants
from robustaug.files import sha256
from robustaug.hardware import default_device
from robustaug.progress import progress_bar
from robustaug.randomness import derive_seed

MANY = 20  # variants of one image; more show a model little but that image
_BATCH = 100


@dataclass(frozen=True)
class Planned:
    """A variant that the balance wants: of which training image (its row), its how many-th, and where it goes."""

    row: int
    number: int
    path: str


def class_counts(images: ImageSet) -> list[int]:
    """How many images each class has, in the order of the class names."""
    counts: list[int] = torch.bincount(images.labels, minlength=len(images.class_names)).tolist()
    return counts


def variants_each(
    labels: Sequence[str | int], keys: Sequence[str], ratio: float, seed: int, *, each: int = 0
) -> list[int]:
    """How many variants of each image bring every class to ``ratio`` times the largest class, rounded up.

    Originals and variants count together. In each class the images take turns, in an order that the seed draws, so
    that no two images of a class differ by more than one variant. A class without images cannot be brought up.

    Args:
        labels: of the images.
        keys: of the images.
        ratio: in (0, 1].
        seed: of the orders.
        each: variants that every image gets in any case.
    """
    members: dict[str | int, list[int]] = {label: [] for label in labels}
    for row in sorted(range(len(keys)), key=lambda row: derive_seed(seed, keys[row], "balance")):
        members[labels[row]].append(row)
    target = _target([len(order) * (1 + each) for order in members.values()], ratio)
    counts = [each] * len(keys)
    for order in members.values():
        for turn in range(target - len(order) * (1 + each)):
            counts[order[turn % len(order)]] += 1
    return counts


def plan(train: ImageSet, ratio: float, seed: int) -> list[Planned]:
    """The variants of a balance, see ``variants_each``: of each image, in the order of their numbers."""
    names = [train.class_names[label] for label in train.labels.tolist()]
    counts, stems = variants_each(names, train.keys, ratio, seed), output_stems(train.keys, names)
    return [
        Planned(row, number, f"{stem}-{number}.png")
        for row, (stem, count) in enumerate(zip(stems, counts, strict=True))
        for number in range(1, count + 1)
    ]


def _target(counts: Sequence[int], ratio: float) -> int:
    return math.ceil(ratio * max(counts) - 1e-9)


def stretched(train: ImageSet, ratio: float) -> list[str]:
    """A line for each class of which a balance to ``ratio`` would make more than ``MANY`` variants an image."""
    counts = class_counts(train)
    target = _target(counts, ratio)
    return [
        f"Class '{name}' has {n} training images for {target}: {math.ceil((target - n) / n)} variants of each show a "
        f"model little more than {n} images do; collect more, or lower balance (more than {MANY} are too many)"
        for name, n in zip(train.class_names, counts, strict=True)
        if n and target - n > MANY * n
    ]


def make_balance(folder: Path, train: ImageSet, ratio: float, augmenter: Augmenter, seed: int) -> VariantSet | None:
    """Make the planned variants, or find them done, as PNG files with a manifest; None if no class wants any.

    Every variant follows from (seed, its source's key, its number) and the augmenter: a job that was killed goes on
    where it stopped, and what is made for a larger ratio does not change what a smaller one takes.

    Args:
        folder: new or empty, or of this same balance.
        train: the training images, and no others.
        ratio: as in ``plan``.
        augmenter: what makes the variants.
        seed: of orders and variants.

    Raises:
        RobustAugError: the folder holds something else or cannot be written, or what ``load_variants`` refuses.
    """
    wanted = plan(train, ratio, seed)
    if not wanted:
        return None
    job = {
        "job": "balance",
        "ratio": ratio,
        "augmenter": augmenter.describe(),
        "seed": seed,
        "content": sha256("\n".join(train.keys).encode()),
    }
    jobs = JobFolder(folder, job)
    todo = [one for one in wanted if not jobs.has(one.path, train.sha256[one.row])]
    with progress_bar("Balancing", total=len(wanted), done=len(wanted) - len(todo)) as progress:
        for start in range(0, len(todo), _BATCH):
            _make(jobs, train, todo[start : start + _BATCH], augmenter, seed)
            progress(len(todo[start : start + _BATCH]))
    jobs.finish()
    return load_variants(folder, train, kinds=(augmenter.kind,))


def balance_for(variants: VariantSet, train: ImageSet, ratio: float, seed: int) -> VariantSet:
    """Of the variants of a larger ratio, those that this one wants, without what a review has left out."""
    paths = {one.path for one in plan(train, ratio, seed)}
    rows = [row for row, parameters in enumerate(variants.parameters) if parameters["path"] in paths]
    return dataclasses.replace(
        variants,
        images=variants.images[rows],
        labels=variants.labels[rows],
        sources=tuple(variants.sources[row] for row in rows),
        parameters=tuple(variants.parameters[row] for row in rows),
    )


def _make(jobs: JobFolder, train: ImageSet, batch: Sequence[Planned], augmenter: Augmenter, seed: int) -> None:
    rows, device = torch.tensor([one.row for one in batch]), default_device()
    seeds = [derive_seed(seed, train.keys[one.row], one.number, "balance") for one in batch]
    images, labels = train.images[rows].to(device) / 255, train.labels[rows].to(device)
    made = to_uint8(augmenter.augment(images, labels, torch.tensor(seeds))).cpu()
    for one, own, image in zip(batch, seeds, made, strict=True):
        row = {
            "path": one.path,
            "source": train.keys[one.row],
            "source_sha256": train.sha256[one.row],
            "label": train.class_names[int(train.labels[one.row])],
            "kind": augmenter.kind,
            **augmenter.drawn(own),
        }
        jobs.write(row, image)
