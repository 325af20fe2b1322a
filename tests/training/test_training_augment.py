"""Mirroring and shifting: exact pixels, and each image from its own seed."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2
from training_cases import composite

from robustaug.data import Mix
from robustaug.randomness import fold, sample_seeds, uniform
from robustaug.training import TrainingSettings
from robustaug.training.augment import flip_and_shift, prepared
from robustaug.training.settings import Padding

IMAGE = torch.arange(1.0, 13.0).view(1, 1, 3, 4)  # 3 rows of 1 to 12


def seed_with(flip: bool, down: int, right: int, shift: int) -> torch.Tensor:
    """A seed whose three draws mirror (or not) and read rows and columns from so many pixels further."""
    seeds = torch.arange(20_000)
    draws = uniform(seeds, (3,))
    moves = (draws[:, 1:] * (2 * shift + 1)).long() - shift
    wanted = ((draws[:, 0] < 0.5) == flip) & (moves[:, 0] == down) & (moves[:, 1] == right)
    return seeds[wanted][:1]


@pytest.mark.parametrize(
    ("flip", "down", "right", "expected"),
    [
        (False, 0, 0, [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]),
        (True, 0, 0, [[4, 3, 2, 1], [8, 7, 6, 5], [12, 11, 10, 9]]),
        (False, 1, 0, [[5, 6, 7, 8], [9, 10, 11, 12], [9, 10, 11, 12]]),
        (False, 0, -2, [[1, 1, 1, 2], [5, 5, 5, 6], [9, 9, 9, 10]]),
        (False, -1, 1, [[2, 3, 4, 4], [2, 3, 4, 4], [6, 7, 8, 8]]),
    ],
)
def test_exact_pixels(flip: bool, down: int, right: int, expected: list[list[int]]) -> None:
    seeds = seed_with(flip, down, right, 2)
    assert flip_and_shift(IMAGE, seeds, flip=True, shift=2)[0, 0].tolist() == expected


def test_mirrored_and_moved_at_once() -> None:
    moved = flip_and_shift(IMAGE, seed_with(True, 0, 1, 1), flip=True, shift=1)
    # Columns are read mirrored (4 3 2 1) from the first on, and one further in the image: the border repeats.
    assert moved[0, 0, 0].tolist() == [4, 4, 3, 2]


def test_without_flip_no_seed_mirrors() -> None:
    mirrors = seed_with(True, 0, 0, 1)
    assert torch.equal(flip_and_shift(IMAGE, mirrors, flip=False, shift=1), IMAGE)


def test_nothing_to_do_returns_the_images() -> None:
    assert flip_and_shift(IMAGE, torch.tensor([3]), flip=False, shift=0) is IMAGE


def test_every_move_and_both_sides_occur_equally() -> None:
    seeds = torch.arange(4000)
    ramp = torch.arange(49.0).view(1, 1, 7, 7).expand(4000, -1, -1, -1)
    center = flip_and_shift(ramp, seeds, flip=False, shift=1)[:, 0, 3, 3]
    counts = torch.stack([(center == 24 + 7 * row + column).sum() for row in (-1, 0, 1) for column in (-1, 0, 1)])
    assert counts.sum() == 4000
    assert (counts - 4000 / 9).abs().max() < 90  # four standard deviations
    mirrored = (flip_and_shift(ramp, seeds, flip=True, shift=0)[:, 0, 0, 0] == 6).sum()
    assert abs(int(mirrored) - 2000) < 130


@given(st.lists(st.integers(0, 2**62), min_size=2, max_size=6), st.booleans(), st.integers(0, 3))
def test_a_row_depends_on_its_own_seed_alone(seeds: list[int], flip: bool, shift: int) -> None:
    images = torch.rand(len(seeds), 3, 5, 6, generator=torch.Generator().manual_seed(0))
    together = flip_and_shift(images, torch.tensor(seeds), flip=flip, shift=shift)
    backwards = flip_and_shift(images.flip(0), torch.tensor(seeds[::-1]), flip=flip, shift=shift)
    assert torch.equal(together, backwards.flip(0))
    alone = flip_and_shift(images[1:2], torch.tensor(seeds[1:2]), flip=flip, shift=shift)
    assert torch.equal(together[1:2], alone)
    assert together.is_contiguous()


@given(st.integers(0, 2**62), st.integers(1, 3), st.booleans(), st.sampled_from(["edge", "zeros"]))
def test_a_shift_is_a_random_crop_of_the_padded_image(seed: int, shift: int, flip: bool, padding: Padding) -> None:
    image = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    given = torch.tensor([seed])
    draws = uniform(given, (3,))[0]
    mirrored = image.flip(3) if flip and draws[0] < 0.5 else image
    padded = F.pad(mirrored, (shift,) * 4, mode="replicate" if padding == "edge" else "constant")
    top, left = (int(draw * (2 * shift + 1)) for draw in draws[1:])
    # Mirrored columns are read from the right: a move to the right in the source is one to the left in the result.
    result = flip_and_shift(image, given, flip=flip, shift=shift, padding=padding)
    if flip and draws[0] < 0.5:
        left = 2 * shift - left
    assert torch.equal(result, padded[:, :, top : top + 4, left : left + 5])


def test_the_named_augmentation_comes_first_on_bytes_from_a_seed_of_its_own() -> None:
    data = composite(Mix(0.5, 0.5, 0))
    batch, cpu = data.batch(1, 6), torch.device("cpu")
    settings = TrainingSettings(augmentation="trivialaugment", flip=True, shift=1, padding="zeros")
    seeds = sample_seeds(7, batch.keys, "augment")
    named = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(batch.images, fold(seeds, 0).tolist(), strict=True):
            torch.manual_seed(seed)
            named.append(v2.TrivialAugmentWide()((image * 255).round().to(torch.uint8)))
    expected = flip_and_shift(torch.stack(named) / 255, seeds, flip=True, shift=1, padding="zeros")
    assert torch.equal(prepared(data, batch, settings, 7, cpu), expected)
    mirrored = prepared(data, batch, TrainingSettings(flip=True, shift=1), 7, cpu)
    assert torch.equal(mirrored, flip_and_shift(batch.images, seeds, flip=True, shift=1))
    assert prepared(data, batch, TrainingSettings(), 7, cpu) is batch.images
