"""Progressive resizing: which size a step has, and that the loop trains on it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_cases import run, squares

from robustaug.data import CompositeDataset, ImageSet, Mix
from robustaug.errors import RobustAugError
from robustaug.training.resizing import check_resizing, resized_at

SCHEDULE = ((8, 0.25), (12, 0.5))


@pytest.mark.parametrize(
    ("progress", "size"),
    [(0.0, (8, 4)), (0.249, (8, 4)), (0.25, (12, 6)), (0.499, (12, 6)), (0.5, (16, 8)), (0.9, (16, 8))],
)
def test_the_size_of_a_step(progress: float, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, 16, 8)
    result = resized_at(images, SCHEDULE, progress)
    assert tuple(result.shape[2:]) == size
    assert (result is images) == (size == (16, 8))


def test_halving_is_a_weighted_mean_that_keeps_a_plane() -> None:
    """Antialiased halving weighs four pixels 1:3:3:1; a plane stays what it is away from the border."""
    row = torch.arange(16.0) / 16
    result = resized_at(row.expand(1, 3, 16, 16), ((8, 0.5),), 0.0)[0, 0]
    inner = torch.stack([row[i : i + 4] @ torch.tensor([1.0, 3, 3, 1]) / 8 for i in range(1, 13, 2)])
    assert torch.allclose(result[:, 1:7], inner.expand(8, 6), atol=1e-6)


def test_images_are_never_enlarged() -> None:
    images = torch.rand(1, 3, 10, 10)
    assert resized_at(images, ((24, 0.5),), 0.0) is images


@pytest.mark.parametrize(
    "wrong", [((7, 0.5),), ((16, 0.0),), ((16, 1.0),), ((16, 0.5), (24, 0.4)), ((16, float("nan")),)]
)
def test_what_is_no_schedule(wrong: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(RobustAugError, match=r"pairs of a side of at least 8 px .*\[\[24, 0.5\]\]"):
        check_resizing(wrong)


class _Recording(nn.Module):
    """Logits from mean colours, and the size of every batch that it saw in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.seen = nn.Linear(3, 2), list[int]()

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen.append(images.shape[-1])
        return self.head(images.mean((2, 3)))


def _wide(n: int) -> ImageSet:
    images = squares(n)
    return ImageSet(
        images.images.repeat(1, 1, 2, 2), images.labels, images.keys, images.sha256, images.class_names
    )  # 16 px


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({}, [8] * 2 + [12] * 2 + [16] * 4),
        ({"objective": "free", "replays": 3, "steps": 9}, [8] * 3 + [12] * 3 + [16] * 3),  # 3 / 9 is above a quarter
    ],
)
def test_the_loop_trains_on_these_sizes(tmp_path: Path, changes: dict[str, Any], sizes: list[int]) -> None:
    model, mix = _Recording(), Mix(0, 0, 1)
    run(tmp_path, model, mix, data=CompositeDataset(_wide(24), None, mix, 0), resizing=SCHEDULE, **changes)
    assert model.seen == sizes


def test_a_network_that_does_not_take_a_size(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    with pytest.raises(RobustAugError) as caught:
        run(tmp_path, model, Mix(), data=CompositeDataset(_wide(24), None, Mix(), 0), resizing=SCHEDULE)
    assert str(caught.value) == (
        "the model does not take images of 8 px, which training.resizing asks for; take a network with global pooling, "
        "for example preact_resnet18, or remove training.resizing"
    )
