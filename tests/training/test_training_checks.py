"""What a training refuses before its first step: one clear line each, and nothing is written."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_cases import SIZE, composite, network, pgd, run, settings, squares

from robustaug.data import CompositeDataset, ImageSet, Mix
from robustaug.errors import RobustAugError
from robustaug.training import train


def labelled(labels: list[int], names: tuple[str, ...]) -> ImageSet:
    images = squares(len(labels))
    return ImageSet(images.images, torch.tensor(labels), images.keys, images.sha256, names)


def of(images: ImageSet, mix: Mix | None = None) -> CompositeDataset:
    return CompositeDataset(images, None, mix or Mix(), seed=0)


def logits_of(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, classes))


PETS = ("cat", "dog", "fish")
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an objective without adversarial rows": (
        {"data": composite(Mix()), "objective": "trades"},
        "the objective trades needs adversarial rows, but there is no adversarial share; give the mix one",
    ),
    "adversarial rows without an attack": (
        {"data": composite(Mix(0.5, 0, 0.5)), "attack": None},
        "the mix has an adversarial share of 0.5 but there is no attack; give one",
    ),
    "an objective without an attack": (
        {"data": composite(Mix(0, 0, 1)), "attack": None, "objective": "n_fgsm"},
        "the mix has an adversarial share of 1 but there is no attack; give one",
    ),
    "fewer images than a batch": (
        {"data": composite(Mix(), n=7)},
        "there are 7 training images, fewer than the 8 of a batch; set training.batch_size to 7 or less",
    ),
    "one class only": (
        {"data": of(labelled([0] * 8, ("cat",)))},
        "all training images are of one class (cat); a classifier needs at least two",
    ),
    "images of one class only": (
        {"data": of(labelled([1] * 8, PETS))},
        "all training images are of one class (dog); a classifier needs at least two",
    ),
    "labels with a gap": (
        {"data": of(labelled([0, 2] * 4, PETS)), "model": logits_of(3)},
        "class 'dog' (label 1) has no training image; number the labels without gaps, or add images",
    ),
    "labels that end too early": (
        {"data": of(labelled([0, 1] * 4, PETS)), "model": logits_of(3)},
        "class 'fish' (label 2) has no training image; number the labels without gaps, or add images",
    ),
    "fewer outputs than classes": (
        {"data": of(labelled([0, 1, 2] * 4, PETS)), "model": logits_of(2)},
        "the model has 2 outputs for 3 classes; build it with one for each",
    ),
    "no logits": (
        {"model": nn.Conv2d(3, 2, 1)},
        "the model returned (2, 2, 8, 8) for 2 images; it must return logits of shape (2, classes)",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_refused_in_one_line(tmp_path: Path, what: str) -> None:
    changes, message = BAD[what]
    with pytest.raises(RobustAugError) as caught:
        run(tmp_path, changes.get("model", network()), Mix(), **{k: v for k, v in changes.items() if k != "model"})
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_no_validation_images(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match="there are no validation images to choose the weights by; give some"):
        train(network(), composite(Mix()), squares(10).select([]), attack=pgd(), settings=settings(), folder=tmp_path)


def test_as_many_images_as_a_batch_will_do(tmp_path: Path) -> None:
    run(tmp_path, network(), Mix(), data=composite(Mix(), n=8))
