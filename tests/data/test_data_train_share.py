"""A share of the training part: each class in its share, smaller within larger, everything else as it was."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robustaug.data import ImageSet, load_data, load_images
from robustaug.data.splits import Source, first_share, make_splits
from robustaug.errors import RobustAugError


def image_set(sizes: list[int]) -> ImageSet:
    labels = torch.tensor([label for label, size in enumerate(sizes) for _ in range(size)])
    images = torch.arange(len(labels)).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous().to(torch.uint8)
    keys = tuple(f"{label}/{number}" for number, label in enumerate(labels.tolist()))
    return ImageSet(images, labels, keys, keys, tuple(map(str, range(len(sizes)))))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.floats(0.01, 1.0),
    st.floats(0.01, 1.0),
    st.integers(0, 9),
)
def test_nested_and_stratified(sizes: list[int], one: float, other: float, seed: int) -> None:
    images = image_set(sizes)
    small, large = (first_share(images, share, seed) for share in sorted((one, other)))
    assert set(small.keys) <= set(large.keys) <= set(images.keys)
    assert list(small.keys) == [key for key in images.keys if key in set(small.keys)]  # the order is kept
    for label, size in enumerate(sizes):
        kept = int((small.labels == label).sum())
        assert kept >= 1
        assert abs(kept - min(one, other) * size) <= max(0.5 + 1e-6, 1 - min(one, other) * size)


def test_known_counts_and_seeds() -> None:
    images = image_set([100, 10, 3])
    counts = {share: torch.bincount(first_share(images, share, 0).labels).tolist() for share in (0.1, 0.25, 0.5, 1.0)}
    assert counts == {0.1: [10, 1, 1], 0.25: [25, 2, 1], 0.5: [50, 5, 1], 1.0: [100, 10, 3]}
    assert first_share(images, 0.1, 0).keys == first_share(images, 0.1, 0).keys
    assert first_share(images, 0.1, 0).keys != first_share(images, 0.1, 1).keys


def test_a_class_is_chosen_by_its_own_keys() -> None:
    images = image_set([20, 20])
    alone = images.select(range(20))
    both = first_share(images, 0.3, 4).keys
    assert tuple(key for key in both if key.startswith("0/")) == first_share(alone, 0.3, 4).keys


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(0, 5))
def test_the_other_parts_stay(share: float, seed: int) -> None:
    source = Source("set", image_set([30, 17]))
    whole, part = make_splits(source, seed), make_splits(source, seed, train_share=share)
    assert part.test.keys == whole.test.keys
    assert part.validation.keys == whole.validation.keys
    assert part.fingerprint == whole.fingerprint
    assert part.train.keys == first_share(whole.train, share, seed).keys


def test_parts_that_the_source_brings(tmp_path: Path) -> None:
    for part, count in (("train", 8), ("validation", 2), ("test", 2)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                colour = (number * 20, len(part) * 20, 200 if name == "a" else 0)
                Image.new("RGB", (8, 8), colour).save(tmp_path / part / name / f"{number}.png")
    data = load_data(str(tmp_path), train_share=0.25)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [4, 4, 4]
    images, _ = load_images(str(tmp_path), split="train", train_share=0.25)
    assert images.keys == data.train.keys


@pytest.mark.parametrize("share", [0, -0.1, 1.01])
def test_a_share_out_of_range(share: float) -> None:
    with pytest.raises(RobustAugError, match=r"train_share is .*; it is a share of the training images, above 0"):
        make_splits(Source("set", image_set([5, 5])), 0, train_share=share)
