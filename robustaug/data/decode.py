"""Many image files at once into one tensor, in a thread pool."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from robustaug import hardware
from robustaug.data.images import decode_image, image_size, resize
from robustaug.data.imageset import ImageSet, Skipped
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.progress import progress_bar

KEEP_SIZE_UP_TO = 128
DEFAULT_SIZE = 64

_SHARE_OF_MEMORY = 0.4  # splits are copies, so twice the images are held for a moment

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image of a class."""

    path: Path
    key: str
    label: int


def decode_files(
    files: Sequence[ImageFile], class_names: tuple[str, ...], size: int | None
) -> tuple[ImageSet, list[Skipped]]:
    """Read all files that can be read, in the given order, and list the others.

    Args:
        files: what to read.
        class_names: what the labels stand for.
        size: side of the square images in px; None takes the ``common_shape`` of the files.

    Raises:
        RobustAugError: the images would not fit into memory.
    """
    if size is None:
        shapes = parallel(lambda file: _guarded(file, image_size), files, "Looking at images")
        shape = common_shape(shape for shape in shapes if not isinstance(shape, Skipped))
    else:
        shape = (size, size)
    check_memory(len(files), shape)
    images = torch.empty(len(files), 3, *shape, dtype=torch.uint8)

    def read(index: int) -> str | Skipped:
        def store(content: bytes) -> str:
            images[index] = fit(decode_image(content), shape)
            return sha256(content)

        return _guarded(files[index], store)

    hashes = list(parallel(read, range(len(files)), "Reading images"))
    kept = [index for index, found in enumerate(hashes) if not isinstance(found, Skipped)]
    decoded = ImageSet(
        images if len(kept) == len(files) else images[kept],
        torch.tensor([files[index].label for index in kept], dtype=torch.int64),
        tuple(files[index].key for index in kept),
        tuple(str(hashes[index]) for index in kept),
        class_names,
    )
    return decoded, [found for found in hashes if isinstance(found, Skipped)]


def common_shape(shapes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The images' own (H, W) if all are equal and at most 128 px a side, else 64 x 64."""
    different = set(shapes)
    if len(different) == 1 and max(next(iter(different))) <= KEEP_SIZE_UP_TO:
        return different.pop()
    return DEFAULT_SIZE, DEFAULT_SIZE


def fit(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Images as they are where they have that shape, else resized to a square."""
    return images if tuple(images.shape[-2:]) == shape else resize(images, shape[0])


def check_memory(n: int, shape: tuple[int, int]) -> None:
    """Refuse what would not fit, before anything is read.

    Raises:
        RobustAugError: ``n`` images of that shape take more than 40% of the machine's memory.
    """
    needed, available = n * 3 * shape[0] * shape[1], hardware.total_memory() * _SHARE_OF_MEMORY
    if needed > available:
        fitting = int((available / (3 * n)) ** 0.5)
        raise RobustAugError(
            f"{n} images of {shape[0]}x{shape[1]} px take {needed / 2**30:.1f} GiB, but only "
            f"{available / 2**30:.1f} GiB may be used here; "
            f"set size to at most {fitting}, or set a limit of images per class"
        )


def parallel(function: Callable[[Item], Result], items: Sequence[Item], title: str) -> Iterator[Result]:
    """Results in the items' order, from a thread pool, under a progress bar; an interruption drops what is waiting."""
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        with progress_bar(title, total=len(items)) as advance:
            for result in pool.map(function, items):
                advance()
                yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _guarded(file: ImageFile, function: Callable[[bytes], Result]) -> Result | Skipped:
    try:
        return function(file.path.read_bytes())
    except RobustAugError as error:
        return Skipped(str(file.path), str(error))
    except OSError as error:
        return Skipped(str(file.path), f"cannot be read: {error.strerror or error}")
