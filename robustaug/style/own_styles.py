"""The images themselves as styles."""

import heapq
from collections.abc import Sequence
from contextlib import suppress

import torch

from robustaug.data.content import Item
from robustaug.data.images import resize
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.randomness import derive_seed
from robustaug.style.bank import MIN_OWN_SIDE, StyleBank

_OWN_SIDE = 192  # px: of images that serve as styles


def own_styles(items: Sequence[Item], *, other_class: bool = False, seed: int = 0, most: int = 256) -> StyleBank:
    """The images themselves as styles: a random choice of them, because a bank stays in memory.

    Args:
        items: the content; those that cannot be read or used are left out.
        other_class: give an image only such as no image of its own class is.
        seed: of the choice.
        most: how many at most.

    Raises:
        RobustAugError: no image can be used, or all are of one class.
    """
    chosen = heapq.nsmallest(most, items, key=lambda item: derive_seed(seed, item.key, "own styles"))
    images, used = [], []
    for item in chosen:
        with suppress(RobustAugError):  # the job lists it, when its turn comes
            image = item.load()
            if min(image.shape[1:]) >= MIN_OWN_SIDE:
                images.append(resize(image, _OWN_SIDE))
                used.append(item)
    if not used:
        raise RobustAugError("none of the images can serve as a style; name a folder of paintings")
    names = sorted({item.label for item in used})
    labels = torch.tensor([names.index(item.label) for item in used], dtype=torch.int64)
    keys = tuple(item.key for item in used)
    hashes = tuple(sha256(image.numpy().tobytes()) for image in images)
    return StyleBank.from_images(
        ImageSet(torch.stack(images), labels, keys, hashes, tuple(names)), other_class=other_class
    )
