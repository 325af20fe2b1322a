"""Labelled images in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class Skipped:
    """A file that could not be used: listed, never silent."""

    path: str
    reason: str


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one size, kept as bytes.

    Attributes:
        images: uint8, shape (N, 3, H, W), RGB.
        labels: int64, shape (N,), indices into ``class_names``.
        keys: a name for each sample, unique in the set; every random choice for a sample derives from it.
        sha256: of the file's bytes, or of the array's bytes where there is no file.
        class_names: what the labels stand for.
        from_table: whether a table gives the labels, so that the keys do not tell them.

    Raises:
        RobustAugError: the parts do not belong together.
    """

    images: Tensor
    labels: Tensor
    keys: tuple[str, ...]
    sha256: tuple[str, ...]
    class_names: tuple[str, ...]
    from_table: bool = False

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise RobustAugError(
                f"an image set needs uint8 images of shape (N, 3, H, W), "
                f"got {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        n = len(self.images)
        if self.labels.dtype != torch.int64 or self.labels.shape != (n,):
            raise RobustAugError(f"an image set of {n} images needs {n} labels of type int64")
        if len(self.keys) != n or len(set(self.keys)) != n or len(self.sha256) != n:
            raise RobustAugError(f"an image set of {n} images needs {n} different keys and {n} hashes")
        if n and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.class_names):
            raise RobustAugError(f"the labels of an image set must lie in 0 to {len(self.class_names) - 1}")

    def __len__(self) -> int:
        return len(self.images)

    def select(self, indices: Sequence[int] | Tensor) -> "ImageSet":
        """The samples at ``indices``, in that order, under the same class names."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        rows: list[int] = index.tolist()
        return ImageSet(
            self.images[index],
            self.labels[index],
            tuple(self.keys[i] for i in rows),
            tuple(self.sha256[i] for i in rows),
            self.class_names,
            self.from_table,
        )

    @property
    def identities(self) -> tuple[str, ...]:
        """A name for each sample that is another one under another label: the key, or what :func:`identity` makes."""
        if not self.from_table:
            return self.keys
        return tuple(
            identity(key, self.class_names[label]) for key, label in zip(self.keys, self.labels.tolist(), strict=True)
        )

    def first(self, count: int) -> "ImageSet":
        """The first so many samples, or all if there are fewer."""
        return self.select(range(min(count, len(self))))

    def float_images(self, device: torch.device | None = None) -> Tensor:
        """All images as float32 in [0, 1], shape (N, 3, H, W), on ``device``."""
        return self.images.to(device) / 255


def identity(key: str, label: str) -> str:
    """Key and label in one, for what depends on both where a key does not tell the label."""
    return f"{key}\t{label}"
