"""Copies planted across parts are found, in the forms that copies take; images that only look alike are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from robustaug.exploration.duplicates import find_duplicates
from robustaug.exploration.listing import list_folder
from robustaug.exploration.scan import Scan, scan_folder

Photos = Callable[..., list[Image.Image]]
WriteFolder = Callable[..., Path]


def scanned(folder: Path) -> Scan:
    return scan_folder(folder, list_folder(folder))


def named(scan: Scan) -> set[tuple[str, ...]]:
    return {tuple(scan.keys[index] for index in group.members) for group in find_duplicates(scan)}


@pytest.mark.parametrize(
    ("copy", "suffix"),
    [
        (lambda image: image, ".bmp"),
        (lambda image: image, ".jpg"),
        (lambda image: image.resize((47, 47), Image.Resampling.BICUBIC), ".png"),
        (lambda image: image.resize((24, 24), Image.Resampling.LANCZOS), ".png"),
        (lambda image: ImageEnhance.Brightness(image).enhance(1.03), ".png"),
    ],
    ids=["exact", "jpeg", "larger", "smaller", "lighter"],
)
def test_copies_across_parts_are_found_and_nothing_else(
    photos: Photos, write_folder: WriteFolder, copy: Callable[[Image.Image], Image.Image], suffix: str
) -> None:
    train, test = photos(60), photos(20, seed=1)
    root = write_folder(
        {"train/cat": train[:30], "train/dog": train[30:], "test/cat": test[:10], "test/dog": test[10:]}
    )
    planted = set()
    for number in (0, 7, 19):
        copy(train[number]).save(root / "test" / "cat" / f"copy{number}{suffix}", quality=75)
        planted.add((f"train/cat/{number:03}.png", f"test/cat/copy{number}{suffix}"))
    scan = scanned(root)
    assert {frozenset(group) for group in named(scan)} == {frozenset(pair) for pair in planted}
    for group in find_duplicates(scan):
        assert group.straddles
        assert not group.contradicts
        assert group.exact == (suffix == ".bmp")


def test_one_image_under_two_labels_contradicts(photos: Photos, write_folder: WriteFolder) -> None:
    images = photos(12)
    root = write_folder({"cat": images[:6], "dog": [*images[6:], images[0]]})
    (group,) = find_duplicates(scanned(root))
    assert group.labels == (0, 1)
    assert group.contradicts
    assert not group.straddles


def test_copies_of_copies_are_one_group(photos: Photos, write_folder: WriteFolder) -> None:
    images = photos(10)
    root = write_folder({"cat": [*images, images[3]]})
    images[3].save(root / "cat" / "again.jpg", quality=80)
    assert named(scanned(root)) == {("cat/003.png", "cat/010.png", "cat/again.jpg")}


def test_plain_small_images_are_no_false_alarms(write_folder: WriteFolder) -> None:
    """A perceptual hash of a plain image is the hash of its noise, and of a gradient that of its direction."""
    generator = np.random.default_rng(0)
    plain, gradients = [], []
    for _ in range(30):
        colour = generator.integers(30, 220, 3)
        plain.append(Image.fromarray((colour + generator.integers(-3, 4, (32, 32, 3))).astype(np.uint8)))
        ends = generator.integers(0, 256, (2, 3))
        ramp = np.linspace(ends[0], ends[1], 32)[None].repeat(32, 0)
        gradients.append(Image.fromarray(ramp.astype(np.uint8)))
    blank = [Image.new("RGB", (32, 32), (value, value, value)) for value in range(0, 250, 25)]
    assert named(scanned(write_folder({"plain": plain, "gradient": gradients, "blank": blank}))) == set()
