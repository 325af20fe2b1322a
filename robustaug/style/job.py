"""The batch job: a folder or a list of images in, stylised variants and their manifest out, resumable at any point."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustaug.data.images import resize, to_uint8, write_png
from robustaug.data.imageset import ImageSet, Skipped
from robustaug.data.jobs import JobFolder, output_stems
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.progress import progress_bar
from robustaug.style.bank import Painting, StyleBank
from robustaug.style.gatys import Gatys
from robustaug.style.method import StyleTransfer, TargetCache

_MOST_WAITING = 64  # loaded images that wait for others of their size; no result depends on it


@dataclass(frozen=True)
class Item:
    """One content image.

    Attributes:
        key: unique; with a class folder (``shirt/001.jpg``) that folder and the name are kept in the output.
        label: class name; "" for none.
        sha256: of the source, for provenance and to notice that it changed.
        load: returns the image, uint8 (3, H, W); a RobustAugError makes the job go on without it.
    """

    key: str
    label: str
    sha256: str
    load: Callable[[], Tensor]


@dataclass(frozen=True)
class JobResult:
    """Variants written now and found done from before, and the images that could not be used."""

    written: int
    already_done: int
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class _Variant:
    item: Item
    painting: Painting
    path: str
    position: int  # of the item among all: decides the shard


def items_of(images: ImageSet) -> list[Item]:
    """The images of a set in memory, as content of a job."""
    names = [images.class_names[label] for label in images.labels.tolist()]
    return [
        Item(key, name, digest, lambda image=image: image)  # type: ignore[misc]
        for key, name, digest, image in zip(images.keys, names, images.sha256, images.images, strict=True)
    ]


def stylize(
    items: Sequence[Item],
    out_dir: Path,
    bank: StyleBank,
    style: StyleTransfer | None = None,
    *,
    per_image: int = 1,
    seed: int = 0,
    strength: float = 1.0,
    size: int | None = None,
    shard: tuple[int, int] = (0, 1),
) -> JobResult:
    """Make ``per_image`` stylised variants of every item, each with another painting of the bank.

    Files already there from the same job are kept. An item that cannot be loaded, or has an unusable size, is skipped
    and listed. Several shards may work on one folder at once; the last to finish writes ``manifest.jsonl``.

    Args:
        items: the content, in any order.
        out_dir: a new or empty folder, or one that holds an unfinished or finished run of this same job.
        bank: which paintings to choose from; the choice depends on (seed, key, bank).
        style: the transfer; None takes the defaults.
        per_image: variants of each image, 1 to ``len(bank)``.
        seed: of the choice of paintings.
        strength: 0 to 1.
        size: bring each image's shorter side to so many pixels and keep the central square, as ``robustaug run`` does;
            None keeps the images as they are.
        shard: (index, count), index from 0: this call does every ``count``-th item only.

    Raises:
        RobustAugError: bad arguments, a folder of another job or with foreign files, or one that cannot be written to.
    """
    style = style or Gatys()
    _check(items, per_image, bank, strength, shard)
    variants = _plan(items, bank, per_image, seed)
    folder = JobFolder(Path(out_dir), _describe(items, bank, style, per_image, seed, strength, size), shard)
    index, count = shard
    mine = [variant for variant in variants if variant.position % count == index]
    done = folder.resume({variant.path: variant.item.sha256 for variant in mine})
    todo = [variant for variant in mine if variant.path not in done]
    written, skipped, cache = 0, dict[str, Skipped](), TargetCache()
    with progress_bar("Stylising", total=len(mine), done=len(done)) as advance:
        for batch in _batches(todo, style, size, skipped):
            for row, image in _make(batch, style, cache, seed, strength):
                write_png(folder.path / row["path"], image)
                folder.add(row)
                written += 1
                advance()
    folder.finish()
    return JobResult(written, len(done), tuple(skipped.values()))


def _check(items: Sequence[Item], per_image: int, bank: StyleBank, strength: float, shard: tuple[int, int]) -> None:
    if not items:
        raise RobustAugError("there are no images to stylise; name a folder with images in it")
    if not 1 <= per_image <= len(bank):
        raise RobustAugError(
            f"cannot make {per_image} variants an image from {len(bank)} paintings; take 1 to {len(bank)}"
        )
    if not 0 <= strength <= 1:
        raise RobustAugError(f"strength {strength} is outside [0, 1]; 0 keeps the content, 1 takes the whole style")
    if not 0 <= shard[0] < shard[1]:
        raise RobustAugError(
            f"shard {shard[0] + 1} of {shard[1]} does not exist; take 1/{shard[1]} to {shard[1]}/{shard[1]}"
        )


def _plan(items: Sequence[Item], bank: StyleBank, per_image: int, seed: int) -> list[_Variant]:
    """Every variant of the whole job, whatever the shard, in the order of the keys."""
    items = sorted(items, key=lambda item: item.key)
    stems = output_stems([item.key for item in items], [item.label for item in items])
    return [
        _Variant(item, painting, f"{stem}__{painting.name}.png", position)
        for position, (item, stem) in enumerate(zip(items, stems, strict=True))
        for painting in bank.choose(seed, item.key, per_image)
    ]


def _describe(
    items: Sequence[Item],
    bank: StyleBank,
    style: StyleTransfer,
    per_image: int,
    seed: int,
    strength: float,
    size: int | None,
) -> dict[str, Any]:
    """What makes a job the same job: everything that its files depend on, but for the images' bytes (see the rows)."""
    return {
        **style.describe(),
        "per_image": per_image,
        "strength": strength,
        "size": size,
        "seed": seed,
        "paintings": {painting.name: painting.sha256 for painting in bank.paintings},
        "content": sha256("\n".join(sorted(item.key for item in items)).encode()),
    }


def _batches(
    todo: Sequence[_Variant], style: StyleTransfer, size: int | None, skipped: dict[str, Skipped]
) -> Iterator[list[tuple[_Variant, Tensor]]]:
    """Load the images and gather those of one size; an image that cannot be used goes into ``skipped``.

    Where every image has a size of its own batches would never fill: the largest then goes ahead as it is.
    """
    waiting: dict[tuple[int, int], list[tuple[_Variant, Tensor]]] = defaultdict(list)
    for item, variants in itertools.groupby(todo, key=lambda variant: variant.item):
        try:
            image = item.load() if size is None else resize(item.load(), size)
            shape = (image.shape[1], image.shape[2])
            full = style.images_at_once(*shape)
        except RobustAugError as error:
            skipped[item.key] = Skipped(item.key, str(error))
            continue
        for variant in variants:
            waiting[shape].append((variant, image))
            if len(waiting[shape]) == full:
                yield waiting.pop(shape)
            elif sum(map(len, waiting.values())) > _MOST_WAITING:
                yield waiting.pop(max(waiting, key=lambda each: len(waiting[each])))
    yield from waiting.values()


def _make(
    batch: Sequence[tuple[_Variant, Tensor]], style: StyleTransfer, cache: TargetCache, seed: int, strength: float
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Stylise images of one size; yields manifest rows and uint8 images."""
    content = torch.stack([image for _, image in batch]).to(style.device).float() / 255
    result = style.run(content, [variant.painting for variant, _ in batch], strength=strength, cache=cache)
    losses = {name: values.tolist() for name, values in result.losses.items()}
    for row, ((variant, _), image) in enumerate(zip(batch, to_uint8(result.images).cpu(), strict=True)):
        yield (
            {
                "path": variant.path,
                "source": variant.item.key,
                "source_sha256": variant.item.sha256,
                "label": variant.item.label,
                "kind": "stylised",
                "method": style.name,
                "style": variant.painting.name,
                "style_sha256": variant.painting.sha256,
                "strength": strength,
                "color": style.color,
                "seed": seed,
                "size": list(image.shape[1:]),
                **{name: float(f"{values[row]:.5g}") for name, values in losses.items()},
            },
            image,
        )
