"""A bank of styles: the embedded paintings, a folder's, textures, or the data set's own images.

Any of them splits into training and held-out styles.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from robustaug.data.images import SUFFIXES, decode_image, to_uint8
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.randomness import permutation
from robustaug.style.textures import textures

# Of a picture that somebody chose as a style: a smaller one shows no strokes once it is enlarged.
MIN_SIDE = 64
# Of the data set's own images and of tensors, as of content: both are then enlarged for the encoder, and the style's
# detail is no coarser than the content's.
MIN_OWN_SIDE = 16
# Larger pictures are reduced when read: no setting looks at a painting more closely, and a bank stays in memory.
MAX_SHORTER_SIDE = 512


@dataclass(frozen=True, eq=False)
class Painting:
    """A style image.

    Attributes:
        name: short, unique within a bank, usable in a file name.
        sha256: of the file's bytes (or of the array's, for a tensor).
        image: uint8 (3, H, W), RGB.
        keys: of the images of a data set that this is, in a bank of the data set's own; empty for all others.
        labels: their class names.
    """

    name: str
    sha256: str
    image: Tensor
    keys: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()

    @classmethod
    def from_tensor(cls, image: Tensor, name: str = "painting") -> "Painting":
        """A painting from (3, H, W): uint8, or float in [0, 1], which is rounded to 8 bits.

        Raises:
            RobustAugError: another shape or range, or fewer than 16 pixels a side.
        """
        if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < MIN_OWN_SIDE:
            raise RobustAugError(
                f"a painting has shape (3, H, W) and {MIN_OWN_SIDE} px a side or more, got {tuple(image.shape)}"
            )
        image = to_uint8(image).cpu().contiguous()
        return cls(name, sha256(repr(tuple(image.shape)).encode() + image.numpy().tobytes()), image)


@dataclass(frozen=True, eq=False)
class Blend:
    """Paintings whose styles mix in one image.

    Attributes:
        paintings: at least one, all different.
        weights: share of each, above 0, brought to a sum of 1.

    Raises:
        RobustAugError: no paintings, one of them twice, or weights that do not match them.
    """

    paintings: tuple[Painting, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.paintings or len(self.paintings) != len(self.weights):
            raise RobustAugError(f"a blend has {len(self.paintings)} paintings and {len(self.weights)} weights")
        if len({painting.sha256 for painting in self.paintings}) < len(self.paintings):
            raise RobustAugError("a blend holds the same painting twice; give it a larger weight instead")
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise RobustAugError(f"the weights of a blend are {self.weights}; all must be above 0")
        total = math.fsum(self.weights)
        object.__setattr__(self, "weights", tuple(weight / total for weight in self.weights))

    @classmethod
    def of(cls, style: "Painting | Blend | Tensor") -> "Blend":
        """A blend of one, from a painting or a tensor; a blend as it is."""
        if isinstance(style, Blend):
            return style
        return cls((style if isinstance(style, Painting) else Painting.from_tensor(style),), (1.0,))

    @property
    def name(self) -> str:
        """The paintings' names, joined."""
        return "+".join(painting.name for painting in self.paintings)


@dataclass(frozen=True, eq=False)
class StyleBank:
    """Paintings, in an order that decides what :meth:`choose` gives: that of their names or files.

    Attributes:
        paintings: at least one.
        other_class: whether a sample never gets a painting of its own class: for the data set's own images.

    Raises:
        RobustAugError: no paintings, or two of one name or one content (one could then be held out and yet trained on).
    """

    paintings: tuple[Painting, ...]
    other_class: bool = False

    def __post_init__(self) -> None:
        if not self.paintings:
            raise RobustAugError("a style bank needs at least one painting")
        for attribute in ("name", "sha256"):
            seen: dict[str, Painting] = {}
            for painting in self.paintings:
                other = seen.setdefault(getattr(painting, attribute), painting)
                if other is not painting:
                    what = "have one name" if attribute == "name" else "are the same file"
                    raise RobustAugError(f"the paintings {other.name} and {painting.name} {what}; remove one of them")

    def __len__(self) -> int:
        return len(self.paintings)

    @classmethod
    def embedded(cls) -> "StyleBank":
        """The twelve paintings inside the package (public domain, see NOTICE), 288 px on the shorter side."""
        with as_file(files("robustaug.style") / "assets" / "paintings") as folder:
            return cls.from_folder(folder)

    @classmethod
    def from_folder(cls, folder: Path) -> "StyleBank":
        """All pictures directly in a folder; those above 512 px on the shorter side are reduced to that.

        Raises:
            RobustAugError: no such folder, no pictures in it, or one that cannot be read or is below 64 px a side.
        """
        folder = Path(folder)
        try:
            if not folder.is_dir():
                what = "a file, no folder of paintings, is" if folder.exists() else "there is no folder of paintings"
                raise RobustAugError(f"{what} {folder}; name one with pictures in it")
            found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
            paintings = tuple(_read(path) for path in found if path.name[0] != "." and not path.is_dir())
        except OSError as error:
            raise RobustAugError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
        if not paintings:
            raise RobustAugError(f"the folder of paintings {folder} holds no pictures; put some in or name another")
        return cls(paintings)

    @classmethod
    def textures(cls, count: int = 24, seed: int = 0) -> "StyleBank":
        """Generated textures (see :mod:`robustaug.style.textures`); of one seed, fewer are the first of more.

        Raises:
            RobustAugError: ``count`` is below 1.
        """
        return cls(tuple(Painting.from_tensor(image, name) for name, image in textures(count, seed)))

    @classmethod
    def from_images(cls, images: ImageSet, *, other_class: bool = False) -> "StyleBank":
        """The data set's own images as styles: no image gets itself, nor a copy of itself under another name.

        Args:
            images: 16 px a side or more; the order does not matter. Identical images become one painting.
            other_class: give an image only such as no image of its own class is.

        Raises:
            RobustAugError: no images, smaller ones, or ``other_class`` with all images in one class.
        """
        if len(images) and min(images.images.shape[2:]) < MIN_OWN_SIDE:
            height, width = images.images.shape[2:]
            raise RobustAugError(
                f"{height}x{width} px is too small for a style; load the images at {MIN_OWN_SIDE} px or more"
            )
        same: dict[str, list[int]] = {}
        for row in sorted(range(len(images)), key=images.keys.__getitem__):
            same.setdefault(sha256(images.images[row].numpy().tobytes()), []).append(row)
        names = [images.class_names[label] for label in images.labels.tolist()]
        if other_class and len(set(names)) < 2:
            raise RobustAugError("styles of another class need images of two classes or more; leave other_class out")
        slugs = [slug(images.keys[rows[0]]) for rows in same.values()]
        shared = Counter(slugs)
        paintings = [
            Painting(
                name if shared[name] == 1 else f"{name[:63]}_{digest[:16]}",
                images.sha256[rows[0]],
                images.images[rows[0]].clone(),  # a view would drag the whole set along when it is pickled
                frozenset(images.keys[row] for row in rows),
                frozenset(names[row] for row in rows),
            )
            for name, (digest, rows) in zip(slugs, same.items(), strict=True)
        ]
        return cls(tuple(paintings), other_class)

    def split(self, held_out: int = 4, seed: int = 0) -> tuple["StyleBank", "StyleBank"]:
        """Two banks without a common painting: one to train with, one of ``held_out`` paintings to test with.

        Raises:
            RobustAugError: fewer than one painting would remain on either side.
        """
        if not 0 < held_out < len(self):
            raise RobustAugError(
                f"cannot hold out {held_out} of {len(self)} paintings; hold out between 1 and {len(self) - 1}"
            )
        order = permutation(len(self), seed, "held-out paintings").tolist()
        return self._select(sorted(order[held_out:])), self._select(sorted(order[:held_out]))

    def without(self, hashes: Collection[str]) -> "StyleBank":
        """The paintings whose SHA-256 is not among these.

        Raises:
            RobustAugError: none remains.
        """
        remaining = [index for index, painting in enumerate(self.paintings) if painting.sha256 not in hashes]
        if not remaining:
            raise RobustAugError(
                f"all {len(self)} paintings were used in training; name a folder of others with --styles"
            )
        return self._select(remaining)

    def choose(self, seed: int, key: str, count: int = 1, *, label: str | None = None) -> tuple[Painting, ...]:
        """``count`` different paintings for a sample; they depend on its key and label, the seed and the bank alone.

        Fewer are a prefix. Among the data set's own images, the sample itself is left out, and with ``other_class`` all
        of its class.

        Args:
            seed: of the choice.
            key: of the sample.
            count: how many.
            label: the sample's class name; needed with ``other_class`` alone.

        Raises:
            RobustAugError: fewer paintings than ``count`` are left, or ``other_class`` without a label.
        """
        if self.other_class and label is None:
            raise RobustAugError(f"a style of another class needs the class of {key}; give its label")
        if not 1 <= count <= len(self):
            raise RobustAugError(
                f"cannot take {count} different paintings of {len(self)}; take 1 to {len(self)}, or add paintings"
            )
        chosen: list[Painting] = []
        for index in permutation(len(self), seed, key, "style").tolist():
            painting = self.paintings[index]
            if key in painting.keys or (self.other_class and label in painting.labels):
                continue
            chosen.append(painting)
            if len(chosen) == count:
                return tuple(chosen)
        raise RobustAugError(
            f"{key} can take after {len(chosen)} of the {len(self)} images in the bank, not {count}; take fewer"
        )

    def _select(self, indices: Sequence[int]) -> "StyleBank":
        return replace(self, paintings=tuple(self.paintings[index] for index in indices))


def _read(path: Path) -> Painting:
    content = path.read_bytes()
    try:
        image = decode_image(content, min_side=MIN_SIDE)
    except RobustAugError as error:
        raise RobustAugError(f"cannot use the painting {path}: {error}; replace it or remove it") from error
    shorter = min(image.shape[1:])
    if shorter > MAX_SHORTER_SIDE:
        size = [round(side * MAX_SHORTER_SIDE / shorter) for side in image.shape[1:]]
        image = F.interpolate(image[None], size, mode="bicubic", antialias=True)[0]
    return Painting(slug(path.stem), sha256(content), image)


def slug(name: str) -> str:
    """A name in lower case, with underscores for all but letters and digits, at most 80 long: safe in a file name."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")[:80] or "painting"
