"""What a step trains on: styles made in the loop, styles under attack, named augmentation; the same after a kill."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_cases import THREAT, Planted, history, pgd, run, settings, squares

from robustaug.data import CompositeDataset, ImageSet, Mix
from robustaug.data.augmentation import build_techniques
from robustaug.data.augmenter import ClassicalAugmenter
from robustaug.errors import RobustAugError
from robustaug.randomness import sample_seeds, uniform
from robustaug.style import Painting, RandomStyle, StyleBank
from robustaug.training import TrainingSettings, train
from robustaug.training.augment import flip_and_shift

MIX = Mix(0.25, 0.25, 0.5, attacked_style=0.5)


class Recorder(nn.Module):
    """A linear classifier that keeps every training batch it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 2)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen.append(images.detach().clone())
        logits: Tensor = self.linear(images.flatten(1))
        return logits


class Fade:
    """A restyler whose result is known: each image halved, and a draw of its own added."""

    def __init__(self, name: str = "fade") -> None:
        self.name = name

    def restyle(self, images: Tensor, seeds: Tensor) -> Tensor:
        return images / 2 + uniform(seeds, (1,))[:, :, None, None] / 2

    def drawn(self, seed: int) -> Mapping[str, Any]:
        return {"style": self.name, "seed": seed}

    def describe(self) -> Mapping[str, Any]:
        return {"method": self.name}


def test_styles_are_made_and_attacked_before_the_model_sees_them(tmp_path: Path) -> None:
    asked: list[Tensor] = []

    def inverse(images: Tensor, labels: Tensor) -> Tensor:
        asked.append(images.clone())
        return 1 - images

    model, data = Recorder(), CompositeDataset(squares(24), Fade(), MIX, 0)
    run(tmp_path, model, MIX, data=data, steps=3, validate_every=3, attack=Planted(THREAT, make=inverse))
    assert len(model.seen) == 3
    for step, images in enumerate(model.seen):
        batch = data.batch(step, 8)
        seeds = sample_seeds(0, batch.keys, "style")
        faded = batch.images / 2 + uniform(seeds, (1,))[:, :, None, None] / 2
        assert [row.kind for row in batch.provenance] == ["original"] * 2 + ["stylised"] * 2 + ["adversarial"] * 4
        assert [bool(row.parameters) for row in batch.provenance] == [False] * 2 + [True] * 2 + [False] * 2 + [True] * 2
        assert torch.equal(images[:2], batch.images[:2])
        assert torch.equal(images[2:4], faded[2:4])
        base = torch.cat([batch.images[4:6], faded[6:8]])
        assert torch.equal(asked[step], base)
        assert torch.equal(images[4:], 1 - base)


def test_every_row_is_augmented_by_name_and_then_attacked(tmp_path: Path) -> None:
    asked: list[Tensor] = []

    def keep(images: Tensor, labels: Tensor) -> Tensor:
        asked.append(images.clone())
        return images

    model, data = Recorder(), CompositeDataset(squares(24), Fade(), MIX, 0)
    options: dict[str, Any] = {"augmentation": "randaugment", "flip": True, "shift": 2, "padding": "zeros"}
    run(
        tmp_path, model, MIX, data=data, steps=2, validate_every=2, seed=9, attack=Planted(THREAT, make=keep), **options
    )
    for step, images in enumerate(model.seen):
        batch = data.batch(step, 8)
        styled = data.restyle(batch, batch.images)
        seeds = sample_seeds(9, batch.keys, "augment")
        named = ClassicalAugmenter(build_techniques("randaugment", "")).augment(styled, batch.labels, seeds)
        expected = flip_and_shift(named, seeds, flip=True, shift=2, padding="zeros")
        assert torch.equal(images, expected)
        assert torch.equal(asked[step], expected[4:])


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def test_a_run_with_styles_from_the_loop_goes_on_bitwise(tmp_path: Path) -> None:
    """AdaIN itself, at 16 px: painting and strength are drawn anew at every use."""
    few = squares(12)
    pixels = few.images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    originals = ImageSet(pixels, few.labels, few.keys, few.sha256, few.class_names)
    paintings = uniform(torch.arange(3), (3, 16, 16))
    bank = StyleBank(tuple(Painting.from_tensor(image, str(number)) for number, image in enumerate(paintings)))

    def trained(folder: Path, cut: int | None = None) -> dict[str, Tensor]:
        calls = []

        def progress(count: int = 1, note: str | None = None) -> None:
            calls.append(count)
            if len(calls) == cut:
                raise Killed

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))
        folder.mkdir(exist_ok=True)
        train(
            model,
            CompositeDataset(originals, RandomStyle(bank, strength=(0.2, 0.9)), MIX, 1),
            originals.select(range(4)),
            attack=pgd(),
            settings=settings(steps=4, augmentation="augmix"),
            folder=folder,
            progress=progress,
        )
        return model.state_dict()

    whole = trained(tmp_path / "whole")
    torch.manual_seed(123)  # the global state is nothing to it
    with pytest.raises(Killed):
        trained(tmp_path / "cut", cut=5)  # the third step is done and not saved
    assert [row["step"] for row in history(tmp_path / "cut")] == [2]
    resumed = trained(tmp_path / "cut")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_state_of_other_styles_is_refused(tmp_path: Path) -> None:
    for name in ("fade", "fade"):  # the same again is taken
        run(tmp_path, Recorder(), MIX, data=CompositeDataset(squares(24), Fade(name), MIX, 0))
    with pytest.raises(RobustAugError, match="belongs to a run with other settings"):
        run(tmp_path, Recorder(), MIX, data=CompositeDataset(squares(24), Fade("other"), MIX, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augmentation": "cutmx"}, "training.augmentation: there is no technique 'cutmx'; did you mean 'cutmix'?"),
        ({"augmentation": ()}, "training.augmentation is empty; name a technique"),
        ({"augmentation": ["crop"], "shift": 2}, "training.shift and the technique crop do the same; keep one"),
        (
            {"augmentation": [{"name": "horizontal_flip"}], "flip": True},
            "training.flip and the technique horizontal_flip do the same; keep one",
        ),
        ({"augmentation": "mixup", "objective": "trades"}, "mixup mixes labels, and the objective trades takes one"),
        ({"augmentation": ["cutmix"], "objective": "mart"}, "cutmix mixes labels, and the objective mart takes one"),
        ({"padding": "reflect"}, "training.padding is 'reflect'; use edge or zeros"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        TrainingSettings(**changes)
