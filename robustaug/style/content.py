"""The content of a style job: single images, read when their turn comes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from robustaug.data.images import decode_image
from robustaug.data.imageset import ImageSet
from robustaug.files import sha256


@dataclass(frozen=True, slots=True)
class Item:
    """One content image.

    Attributes:
        key: unique; with a class folder (``shirt/001.jpg``) that folder and the name are kept in the output.
        label: class name; "" for none.
        read: returns the file's bytes, or the image itself, uint8 (3, H, W); a RobustAugError makes the job go on
            without it.
        sha256: of the source, for provenance and to notice that it changed; "" takes that of what was read.
    """

    key: str
    label: str
    read: Callable[[], bytes | Tensor]
    sha256: str = ""

    def load(self) -> Tensor:
        """The image, uint8 (3, H, W).

        Raises:
            RobustAugError: it cannot be read or is none.
        """
        return pixels(self.read())

    def digest(self, content: bytes | Tensor) -> str:
        """SHA-256 of the source, of which ``content`` was read."""
        return self.sha256 or sha256(content if isinstance(content, bytes) else content.numpy().tobytes())


def pixels(content: bytes | Tensor) -> Tensor:
    """What was read, as an image, uint8 (3, H, W).

    Raises:
        RobustAugError: it is none, or cannot be used.
    """
    return content if isinstance(content, Tensor) else decode_image(content)


def items_of(images: ImageSet) -> list[Item]:
    """The images of a set in memory."""
    names = [images.class_names[label] for label in images.labels.tolist()]
    return [
        Item(key, name, partial(_itself, image), digest)
        for key, name, digest, image in zip(images.keys, names, images.sha256, images.images, strict=True)
    ]


def _itself(image: Tensor) -> Tensor:
    return image
