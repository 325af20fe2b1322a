"""Checks of the data: what is measured on must not have been trained on, nor chosen with."""

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional as F

from robustaug.data.imageset import ImageSet
from robustaug.evaluation.checks.check import Check
from robustaug.files import sha256

# Two images are nearly equal if, on a grid of 16 x 16 mean colours and each less its own mean, the root mean square of
# their differences is at most a tenth of the image's own. Copies of photographs and of digits saved as JPEG of quality
# 75, lightened by 3% or with noise of 4 levels of 255 stay below (median 0.03); the two most alike of 4,500 handwritten
# digits are 0.125 apart, of 4,000 small photographs 0.33.
_GRID = 16
_APART = 0.1
_ALLOWED = 0.01  # of the test images: known data sets have some, and so few move no accuracy by a point
_ROWS = 256  # images at a time
_ROOM = 0.5  # distances out of matrix products lose the last digits of images that are nearly equal


def check_splits(train: ImageSet, test: ImageSet, validation: ImageSet | None = None) -> list[Check]:
    """All checks of the data."""
    rows = [no_test_image_in_training(set(pixel_hashes(train)), test), no_near_duplicate(train, test)]
    return rows if validation is None else [*rows, no_test_image_in_validation(validation, test)]


def no_test_image_in_training(known: Collection[str], test: ImageSet) -> Check:
    """No test image may be, pixel for pixel, a training image.

    Args:
        known: ``pixel_hashes`` of the training images.
        test: what is measured on.
    """
    return _shared("no test image is a training image", known, test)


def no_test_image_in_validation(validation: ImageSet, test: ImageSet) -> Check:
    """No test image may be, pixel for pixel, a validation image: the model was chosen with those."""
    return _shared("no test image is a validation image", set(pixel_hashes(validation)), test)


def no_near_duplicate(train: ImageSet, test: ImageSet) -> Check:
    """At most 1% of the test images may nearly equal a training image: scaled, saved again, lightened a little.

    Moved, cut or mirrored copies are not found.
    """
    near = near_duplicates(train, test)
    found = [key for key, number in zip(test.keys, near.tolist(), strict=True) if number >= 0]
    detail = f"{len(found)} of {len(test)} test images"
    if found:
        twin = train.keys[int(near[test.keys.index(found[0])])]
        detail += f", for example {found[0]}, which nearly equals {twin}"
    return Check(
        "hardly any test image nearly equals a training image", None, len(found) <= _ALLOWED * len(test), detail
    )


def near_duplicates(known: ImageSet, images: ImageSet) -> Tensor:
    """For each image the position of the known image that it nearly equals, int64 (N,), or -1.

    The mean colours of a grid of 8 x 8 come first: they never differ by more than those of 16 x 16.
    """
    fine_known, fine = _mean_colours(known.images), _mean_colours(images.images)
    coarse_known, coarse = F.avg_pool2d(fine_known, 2).flatten(1), F.avg_pool2d(fine, 2).flatten(1)
    limit = _APART * fine.flatten(1).square().mean(1).sqrt()
    found = torch.full((len(images),), -1)
    if len(known) == 0:
        return found
    for start in range(0, len(images), _ROWS):
        rows = slice(start, start + _ROWS)
        apart = torch.cdist(coarse[rows], coarse_known) / coarse.shape[1] ** 0.5
        for row, other in (apart <= limit[rows, None] + _ROOM).nonzero().tolist():
            difference = (fine[start + row] - fine_known[other]).square().mean().sqrt()
            if found[start + row] < 0 and difference <= limit[start + row]:
                found[start + row] = other
    return found


def pixel_hashes(images: ImageSet) -> list[str]:
    """The first 48 bits of the SHA-256 of each image's pixels, in hexadecimal: short enough to keep in a checkpoint."""
    return [sha256(image.numpy().tobytes())[:12] for image in images.images]


def _shared(name: str, known: Collection[str], test: ImageSet) -> Check:
    shared = [key for key, digest in zip(test.keys, pixel_hashes(test), strict=True) if digest in known]
    detail = f"{len(shared)} of {len(test)} test images" + (f", for example {shared[0]}" if shared else "")
    return Check(name, None, not shared, detail)


def _mean_colours(images: Tensor) -> Tensor:
    """The grid of each image less its mean, float32 (N, 3, 16, 16) from uint8 (N, 3, H, W), a part at a time."""
    if len(images) == 0:
        return torch.zeros(0, 3, _GRID, _GRID)
    starts = range(0, len(images), _ROWS)
    grids = torch.cat([F.adaptive_avg_pool2d(images[start : start + _ROWS].float(), _GRID) for start in starts])
    return grids - grids.mean((1, 2, 3), keepdim=True)
