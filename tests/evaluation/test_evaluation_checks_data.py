"""Test images that were trained on, or nearly: found by name, whatever was done to the copy; others are let pass."""

import io

import numpy as np
import pytest
import torch
from evaluation_cases import image_set
from PIL import Image
from torch.nn import functional as F

from robustaug.data.imageset import ImageSet
from robustaug.evaluation import check_splits, checks

EXACT = "no test image is a training image"
NEAR = "hardly any test image nearly equals a training image"
VALIDATION = "no test image is a validation image"


def smooth(n: int, seed: int, side: int = 32) -> ImageSet:
    """Images with large shapes in them, as photographs have."""
    generator = torch.Generator().manual_seed(seed)
    rough = 0.8 * torch.rand(n, 1, 6, 6, generator=generator) + 0.2 * torch.rand(n, 3, 6, 6, generator=generator)
    images = F.interpolate(rough, (side, side), mode="bicubic").clamp(0, 1)
    keys = tuple(f"{seed}/{i}" for i in range(n))
    return ImageSet((images * 255).round().byte(), torch.arange(n) % 2, keys, keys, ("x", "y"))


def with_images(samples: ImageSet, images: torch.Tensor) -> ImageSet:
    return ImageSet(images, samples.labels, samples.keys, samples.sha256, samples.class_names)


def failed(rows: list[checks.Check]) -> dict[str, str]:
    return {row.name: row.detail for row in rows if not row.passed}


def as_jpeg(images: torch.Tensor, quality: int = 75) -> torch.Tensor:
    copies = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        copies.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(copies)


CHANGES = {
    "JPEG": as_jpeg,
    "3% lighter": lambda images: (images.float() * 1.03).clamp(0, 255).round().byte(),
    "noise of 4 levels": lambda images: (
        (images.float() + 4 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0)))
        .clamp(0, 255)
        .round()
        .byte()
    ),
    "scaled up and down": lambda images: (
        F.interpolate(F.interpolate(images.float(), scale_factor=2, mode="bilinear"), images.shape[2:], mode="area")
        .round()
        .byte()
    ),
}


def test_splits_that_share_nothing():
    rows = check_splits(smooth(60, 1), smooth(40, 2), smooth(40, 3))
    assert [row.name for row in rows] == [EXACT, NEAR, VALIDATION]
    assert failed(rows) == {}
    assert {row.arm for row in rows} == {None}
    assert [row.detail for row in rows] == ["0 of 40 test images"] * 3


def test_a_test_image_among_the_training_images():
    train, test = image_set(30, seed=1), image_set(10, seed=2)
    leaked = with_images(test, torch.cat([test.images[:9], train.images[7:8]]))
    assert failed(check_splits(train, leaked)) == {
        EXACT: "1 of 10 test images, for example 2/9",
        NEAR: "1 of 10 test images, for example 2/9, which nearly equals 1/7",
    }


def test_a_test_image_among_the_validation_images():
    train, test = image_set(30, seed=1), image_set(10, seed=2)
    found = failed(check_splits(train, test, with_images(test, test.images.flip(0)).select([3, 4])))
    assert found == {VALIDATION: "2 of 10 test images, for example 2/5"}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_copies_that_were_changed_a_little(change):
    train, test = smooth(60, 1), smooth(40, 2)
    copies = change(train.images[20:25])
    assert not (copies == train.images[20:25]).flatten(1).all(1).any()
    leaked = with_images(test, torch.cat([test.images[:35], copies]))
    near = checks.near_duplicates(train, leaked)
    assert near.tolist() == [-1] * 35 + [20, 21, 22, 23, 24]
    assert failed(check_splits(train, leaked)).keys() == {NEAR}


def test_one_in_a_hundred_is_let_pass_and_told():
    train, test = smooth(60, 1), smooth(100, 2)
    one = with_images(test, torch.cat([test.images[:99], as_jpeg(train.images[:1])]))
    assert checks.no_near_duplicate(train, one).passed
    assert checks.no_near_duplicate(train, one).detail.startswith("1 of 100 test images, for example 2/99")
    two = with_images(test, torch.cat([test.images[:98], as_jpeg(train.images[:2])]))
    assert not checks.no_near_duplicate(train, two).passed


def test_pale_images_are_not_all_alike():
    """Skies that differ by less than 4 levels each: what counts is the difference against the image's own spread."""
    pale = [
        with_images(s, (128 + (s.images.float() - 128) / 32).round().byte()) for s in (smooth(20, 1), smooth(20, 2))
    ]
    apart = (pale[0].images.float() - pale[1].images.float()).square().mean((1, 2, 3)).sqrt()
    assert apart.max() < 4
    assert (checks.near_duplicates(*pale) < 0).all()
    assert checks.near_duplicates(pale[0], pale[0]).tolist() == list(range(20))


def test_nothing_to_compare_with():
    assert checks.near_duplicates(smooth(3, 1).select([]), smooth(4, 2)).tolist() == [-1] * 4
