"""Planted shortcuts are flagged, with the class that they give away; honest data have none."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from robustaug.exploration.listing import list_folder
from robustaug.exploration.prediction import folds_of
from robustaug.exploration.scan import scan_folder
from robustaug.exploration.shortcuts import Shortcut, bayes_predictions, find_shortcuts

Photos = Callable[..., list[Image.Image]]
WriteFolder = Callable[..., Path]


def shortcuts(root: Path) -> dict[str, Shortcut]:
    scan = scan_folder(root, list_folder(root))
    return {each.name: each for each in find_shortcuts(scan, folds_of(scan.digests))}


def framed(image: Image.Image) -> Image.Image:
    return ImageOps.expand(ImageOps.crop(image, 3), 3, (180, 40, 40))


def test_data_without_a_shortcut_show_none(photos: Photos, write_folder: WriteFolder) -> None:
    images = photos(150)
    found = shortcuts(write_folder({"a": images[:50], "b": images[50:100], "c": images[100:]}))
    assert found.keys() == {"border colour", "file size"}  # one size, one format: those tell nothing
    assert {each.level for each in found.values()} <= {"none", "slight"}
    assert all(each.gives_away == {} for each in found.values())


def test_a_border_of_one_class_is_a_strong_shortcut_that_gives_it_away(
    photos: Photos, write_folder: WriteFolder
) -> None:
    images = photos(200)
    classes = {
        "a": images[:50],
        "b": [framed(image) for image in images[50:100]],
        "c": images[100:150],
        "d": images[150:],
    }
    found = shortcuts(write_folder(classes))["border colour"]
    assert found.level == "strong"
    assert found.gives_away.keys() == {"b"}
    assert found.accuracy.low > found.majority == 0.25


def test_sizes_and_formats_are_shortcuts(photos: Photos, write_folder: WriteFolder) -> None:
    images = photos(80)
    root = write_folder({"small": images[:40], "large": [image.resize((48, 40)) for image in images[40:]]})
    for path in sorted((root / "large").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    found = shortcuts(root)
    for name in ("image size", "file format and colour mode"):
        assert found[name].level == "strong"
        assert found[name].accuracy.value == 1
        assert found[name].lift == 1


def test_a_column_that_says_nothing_leaves_the_largest_class() -> None:
    labels = torch.tensor([0] * 30 + [1] * 70)
    folds = torch.arange(100) % 5
    assert bayes_predictions(torch.zeros(100, 1), labels, 2, folds).tolist() == [1] * 100


def test_a_column_that_says_all_is_always_right_and_never_fitted_on_its_own_image() -> None:
    labels = torch.arange(100) % 4
    folds = torch.arange(100) // 4 % 5
    assert torch.equal(bayes_predictions(labels.float()[:, None], labels, 4, folds), labels)
    alone = torch.arange(100.0)[:, None]  # a number for each image: nothing to carry over from the others
    assert (bayes_predictions(alone, labels, 4, folds) == labels).float().mean() < 0.5


@pytest.mark.parametrize("ratio", [1, 3])
def test_the_majority_is_what_the_accuracy_is_held_to(photos: Photos, write_folder: WriteFolder, ratio: int) -> None:
    images = photos(30 + 30 * ratio)
    for each in shortcuts(write_folder({"few": images[:30], "many": images[30:]})).values():
        assert each.majority == ratio / (1 + ratio)
        assert each.level in ("none", "slight")
