"""The batch job of augmentation: images in, variants and their manifest out, resumable at any point.

Images are read ahead and written behind in threads, so that the augmenter waits for neither.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from robustaug.data import Skipped
from robustaug.data.augmenter import Augmenter, ClassicalAugmenter, as_rows
from robustaug.data.balance import variants_each
from robustaug.data.batches import BySize
from robustaug.data.content import Item, pixels
from robustaug.data.images import to_uint8
from robustaug.data.jobs import LONGEST_NAME, JobFolder, fitting_name, output_stems
from robustaug.data.threads import WriteBehind, read_ahead
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.hardware import default_device
from robustaug.progress import progress_bar
from robustaug.randomness import derive_seed

_BATCH = 128  # images at once, of so many pixels together
_PIXELS = 1 << 20
_AHEAD = 32  # images read before they are needed: those of a camera take 36 MB each
_BEHIND = 64  # images waiting to be written
_TRIES = 100  # seeds for a variant in which something is drawn


@dataclass(frozen=True)
class AugmentSettings:
    """How many variants of each image.

    Attributes:
        per_image: Variants of each image, at least 1; with a balance, 0 makes those alone that it needs.
        balance: Bring each class to so large a share of the largest one, originals and variants together, by more
            variants of its images; larger than 0, up to 1.
        seed: Of all random choices, which depend on it, the image's key and the variant's number alone.

    Raises:
        RobustAugError: a number outside its range.
    """

    per_image: int = 1
    balance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        least = 1 if self.balance is None else 0
        if self.per_image < least:
            raise RobustAugError(f"cannot make {self.per_image} variants an image; take {least} or more")
        if self.balance is not None and not 0 < self.balance <= 1:
            raise RobustAugError(
                f"balance is {self.balance:g}; it is a share of the largest class, above 0 and up to 1"
            )

    def counts(self, items: Sequence[Item]) -> list[int]:
        """Variants of each item."""
        if self.balance is None:
            return [self.per_image] * len(items)
        labels, keys = [item.label for item in items], [item.key for item in items]
        return variants_each(labels, keys, self.balance, self.seed, each=self.per_image)


@dataclass(frozen=True)
class AugmentResult:
    """Variants written now, found done from before; images that could not be used."""

    written: int
    already_done: int
    skipped: tuple[Skipped, ...]


def augment_images(
    items: Sequence[Item],
    out_dir: Path,
    augmenter: Augmenter,
    settings: AugmentSettings | None = None,
    *,
    classes: Sequence[str] | None = None,
    shard: tuple[int, int] = (0, 1),
    overwrite: bool = False,
) -> AugmentResult:
    """Write variants of every item: ``CLASS/NAME__augmented-1.png``, ... and ``manifest.jsonl``.

    Files already there from the same job are kept. An item that cannot be loaded, or used, is skipped and listed.
    Several shards may work on one folder at once; the last to finish writes the manifest. The files are the same
    whatever the shards and the interruptions. A classical variant in which nothing would be drawn is drawn again: each
    differs from its source in at least one operation.

    Args:
        items: The content, in any order.
        out_dir: A new or empty folder, or one that holds an unfinished or finished run of this same job.
        augmenter: What makes the variants.
        settings: How many; None takes one variant an image.
        classes: What the labels that the augmenter gets stand for, in order: an attack's model knows no names. None:
            the classes that occur, by name.
        shard: (index, count), index from 0: this call does every ``count``-th item only.
        overwrite: Where the folder holds another job, delete that one's files first, and no others.

    Raises:
        RobustAugError: nothing to augment, a label that is none of ``classes``, a folder of another job or with foreign
            files, or one that cannot be written to.
    """
    plan = _Plan(items, augmenter, settings or AugmentSettings(), classes)
    folder = JobFolder(Path(out_dir), plan.describe(), shard, overwrite=overwrite)
    positions = range(shard[0], len(plan.items), shard[1])
    total = sum(plan.counts[position] for position in positions)
    written, done, skipped = 0, 0, list[Skipped]()
    waiting = BySize[_Variant](lambda size: max(1, min(_BATCH, _PIXELS // size[1:].numel())), 2 * _BATCH)
    with (
        progress_bar("Augmenting", total=total) as advance,
        closing(read_ahead(partial(plan.load, folder=folder), positions, _AHEAD)) as steps,
        WriteBehind(_BEHIND) as writing,
        _one_thread(),
    ):

        def store(row: dict[str, Any], image: Tensor) -> None:
            folder.write(row, image)
            advance()

        def make(batch: Sequence[_Variant]) -> int:
            for row, image in plan.made(batch):
                writing.call(store, row, image)
            return len(batch)

        for step in steps:
            if isinstance(step, Skipped):
                skipped.append(step)
                continue
            done += step.done
            advance(step.done)
            for variant in step.todo:
                written += make(waiting.add(variant.image.shape, variant))
        for batch in waiting.rest():
            written += make(batch)
    folder.finish()
    return AugmentResult(written, done, tuple(skipped))


@contextmanager
def _one_thread() -> Iterator[None]:
    """A block in which torch computes in one thread: the other cores read, encode and write meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, eq=False)
class _Variant:
    """One to make: of an item (its position) and its image, uint8 (3, H, W); its number, and where it goes."""

    position: int
    number: int
    path: str
    digest: str
    image: Tensor


@dataclass(frozen=True, eq=False)
class _Loaded:
    todo: Sequence[_Variant]
    done: int


class _Plan:
    def __init__(
        self, items: Sequence[Item], augmenter: Augmenter, settings: AugmentSettings, classes: Sequence[str] | None
    ) -> None:
        if not items:
            raise RobustAugError("there are no images to augment; name a folder with images in it")
        self.items = sorted(items, key=lambda item: item.key)
        self.augmenter, self.settings = augmenter, settings
        self.counts = settings.counts(self.items)
        stems = output_stems([item.key for item in self.items], [item.label for item in self.items])
        self._stems = [str(stem) for stem in stems]  # a path object is ten times as large
        found = sorted({item.label for item in self.items})
        self._labels = {label: number for number, label in enumerate(found if classes is None else classes)}
        if strangers := [label for label in found if label not in self._labels]:
            raise RobustAugError(
                f"'{strangers[0]}' is none of the classes {', '.join(self._labels)}; name it, or leave it"
            )

    def describe(self) -> dict[str, Any]:
        """What makes a job the same job: everything that its files depend on, but for the images' bytes."""
        content = sha256("\n".join(item.identity for item in self.items).encode())
        return {"kind": self.augmenter.kind, **self.augmenter.describe(), **asdict(self.settings), "content": content}

    def load(self, position: int, folder: JobFolder) -> _Loaded | Skipped:
        """Read the image at a position, unless all its variants are there; safe in any thread."""
        item, count = self.items[position], self.counts[position]
        paths = [self._path(position, number) for number in range(1, count + 1)]
        try:
            content = item.read()
            digest = item.digest(content)
            missing = [number for number, path in enumerate(paths, 1) if not folder.has(path, digest)]
            image = pixels(content) if missing else None
        except RobustAugError as error:
            for path in paths:
                folder.remove(path)
            return Skipped(item.key, str(error))
        todo = [] if image is None else [_Variant(position, n, paths[n - 1], digest, image) for n in missing]
        return _Loaded(todo, count - len(missing))

    def made(self, batch: Sequence[_Variant]) -> Iterator[tuple[dict[str, Any], Tensor]]:
        """Manifest row and image, uint8 (3, H, W), of each variant; all are of one size."""
        if not batch:
            return
        device, items = default_device(), [self.items[variant.position] for variant in batch]
        seeds, drawn = self._drawn(batch)
        labels = torch.tensor([self._labels[item.label] for item in items], device=device)
        images = torch.stack([variant.image for variant in batch]).to(device) / 255
        made = to_uint8(self.augmenter.augment(images, labels, seeds)).cpu()
        for variant, item, values, image in zip(batch, items, drawn, made, strict=True):
            row = {
                "path": variant.path,
                "source": item.key,
                "source_sha256": variant.digest,
                "label": item.label,
                "kind": self.augmenter.kind,
            }
            yield {**row, **values, "variant": variant.number, "seed": self.settings.seed}, image

    def _drawn(self, batch: Sequence[_Variant]) -> tuple[Tensor, list[dict[str, Any]]]:
        """Each variant's seed, and what it draws: of several seeds the first with which anything changes."""
        seeds, drawn = torch.zeros(len(batch), dtype=torch.int64), [dict[str, Any]() for _ in batch]
        open_rows = list(range(len(batch)))
        for attempt in range(_TRIES):
            for row in open_rows:
                key, number = self.items[batch[row].position].key, batch[row].number
                seeds[row] = derive_seed(self.settings.seed, key, number, "augment", attempt)
            for row, values in zip(open_rows, self._rows(seeds[open_rows]), strict=True):
                drawn[row] = values
            open_rows = [row for row in open_rows if drawn[row].get("operations") == []]
            if not open_rows:
                break
        return seeds, drawn

    def _rows(self, seeds: Tensor) -> list[dict[str, Any]]:
        if isinstance(self.augmenter, ClassicalAugmenter):  # all at once costs what one does
            return as_rows(self.augmenter.draw(seeds), len(seeds))
        return [dict(self.augmenter.drawn(seed)) for seed in seeds.tolist()]

    def _path(self, position: int, number: int) -> str:
        stem, suffix = PurePosixPath(self._stems[position]), f"__augmented-{number}.png"
        return str(stem.with_name(fitting_name(stem.name, LONGEST_NAME - len(suffix)) + suffix))
