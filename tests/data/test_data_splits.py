"""Splits: exact shares, stable samples, no image on both sides."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustaug.data.imageset import ImageSet
from robustaug.data.splits import Source, limit_per_class, make_splits, quota
from robustaug.errors import RobustAugError


def image_set(counts: dict[str, int], pixels: dict[str, int] | None = None) -> ImageSet:
    """One pixel of noise per key, unless ``pixels`` names a common one."""
    names = tuple(sorted(counts))
    keys = [f"{name}/{number:03d}" for name in names for number in range(counts[name])]
    labels = [names.index(key.split("/")[0]) for key in keys]
    images = torch.zeros(len(keys), 3, 2, 2, dtype=torch.uint8)
    for index, key in enumerate(keys):
        code = (pixels or {}).get(key, index + 1000)
        images[index, :, 0, 0] = torch.tensor([code // 65536, code // 256 % 256, code % 256], dtype=torch.uint8)
    hashes = tuple(hashlib.sha256(key.encode()).hexdigest() for key in keys)
    return ImageSet(images, torch.tensor(labels), tuple(keys), hashes, names)


def part_of(images: ImageSet, seed: int = 0, **shares: float) -> dict[str, str]:
    splits = make_splits(Source("set", images), seed, **shares)
    return {
        key: part for part in ("train", "validation", "test") for key in getattr(splits, part).keys
    }  # fails the length check below if a key were in two parts


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(3, 60), min_size=2, max_size=4), st.integers(0, 5))
def test_every_class_has_its_shares(sizes: list[int], seed: int) -> None:
    images = image_set({f"c{index}": size for index, size in enumerate(sizes)})
    splits = make_splits(Source("set", images), seed)
    parts = (splits.train, splits.validation, splits.test)
    assert sorted(key for part in parts for key in part.keys) == sorted(images.keys)
    for label, n in enumerate(sizes):
        train, validation, test = (int((part.labels == label).sum()) for part in parts)
        assert test == max(1, -int(-(n * 2 - 5) // 10))  # 0.2 n to the nearest, halves down
        assert abs(validation - 0.1 * n) <= max(1, 1 - 0.1 * n)
        assert train >= 1
        assert validation >= 1


def test_known_counts() -> None:
    splits = make_splits(Source("set", image_set({"a": 500, "b": 3})), 0)
    counts = [torch.bincount(part.labels).tolist() for part in (splits.train, splits.validation, splits.test)]
    assert counts == [[350, 1], [50, 1], [100, 1]]


@given(st.integers(1, 300), st.floats(0.01, 0.5))
def test_quota_grows_by_steps_of_one_and_leaves_some(n: int, share: float) -> None:
    assert 0 <= quota(n, share) - quota(n - 1, share) <= 1
    assert n == 1 or 1 <= quota(n, share) <= n - 1
    assert abs(quota(n, share) - share * n) <= max(0.5 + 1e-6, 1 - share * n)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_order_and_other_classes_change_nothing(random: object, seed: int) -> None:
    images = image_set({"a": 20, "b": 15})
    order = list(range(len(images)))
    random.shuffle(order)  # type: ignore[attr-defined]
    before = part_of(images, seed)
    assert len(before) == 35
    assert part_of(images.select(order), seed) == before
    wider = part_of(image_set({"0": 9, "a": 20, "b": 15}), seed)
    assert {key: part for key, part in wider.items() if not key.startswith("0")} == before


def test_the_seed_chooses_and_the_validation_share_leaves_the_test_part_alone() -> None:
    images = image_set({"a": 40, "b": 40})
    assert part_of(images, 0) != part_of(images, 1)

    def test_part(validation_share: float) -> set[str]:
        return {key for key, part in part_of(images, 0, validation_share=validation_share).items() if part == "test"}

    assert test_part(0.1) == test_part(0.3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 11), min_size=24, max_size=24), st.integers(0, 3))
def test_identical_images_never_straddle(codes: list[int], seed: int) -> None:
    counts = {"a": 15, "b": 15}
    pixels = {f"{name}/{number:03d}": codes[number * 2 + (name == "b")] for name in counts for number in range(12)}
    images = image_set(counts, pixels)
    parts = part_of(images, seed)
    where: dict[bytes, set[str]] = {}
    for key, image in zip(images.keys, images.images, strict=True):
        where.setdefault(image.numpy().tobytes(), set()).add(parts[key])
    assert all(len(found) == 1 for found in where.values())
    both = {code for code in codes if {code} <= set(codes[0::2]) & set(codes[1::2])}
    assert all(parts[key] == "train" for key, code in pixels.items() if code in both)  # under two labels


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 40), st.integers(0, 3))
def test_a_limit_keeps_each_sample_in_its_part(limit: int, seed: int) -> None:
    images = image_set({"a": 40, "b": 25})
    kept = limit_per_class(images.keys, images.labels.tolist(), limit, seed)
    few = images.select(kept)
    assert torch.bincount(few.labels).tolist() == [min(limit, 40), min(limit, 25)]
    full = part_of(images, seed)
    assert part_of(few, seed) == {key: full[key] for key in few.keys}


def test_given_parts_are_kept() -> None:
    images = image_set({"a": 20, "b": 20})
    given_parts = {"train": [*range(10), *range(20, 30)], "test": [*range(10, 20), *range(30, 40)]}
    splits = make_splits(Source("set", images, given_parts), 0)
    assert splits.test.keys == images.select(given_parts["test"]).keys
    assert len(splits.validation) == 2
    assert set(splits.validation.keys) < set(images.select(given_parts["train"]).keys)
    assert not set(splits.validation.keys) & set(splits.train.keys)


def test_fingerprint_knows_the_data_and_not_the_split() -> None:
    images = image_set({"a": 8, "b": 8})
    expected = hashlib.sha256(
        "\n".join(f"{key}\t{digest}" for key, digest in sorted(zip(images.keys, images.sha256, strict=True))).encode()
    ).hexdigest()
    turned = images.select(list(reversed(range(16))))
    assert make_splits(Source("set", images), 0).fingerprint == expected
    assert make_splits(Source("set", turned), 7).fingerprint == expected
    changed = ImageSet(images.images, images.labels, images.keys, ("0", *images.sha256[1:]), images.class_names)
    assert make_splits(Source("set", changed), 0).fingerprint != expected


@pytest.mark.parametrize(
    ("counts", "pixels", "message"),
    [
        ({"a": 5}, {}, r"only one class \(a\)"),
        ({"a": 5, "b": 2}, {}, "class 'b' has 2 usable images, where at least 3 must be; add images"),
        ({"a": 5, "b": 1}, {}, "class 'b' has 1 usable image, where"),
        ({"a": 5, "b": 4}, {f"b/00{n}": 1 for n in range(3)}, "class 'b' has 4 usable images, 2 of them different"),
    ],
)
def test_classes_that_cannot_be_split(counts: dict[str, int], pixels: dict[str, int], message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        make_splits(Source("set", image_set(counts, pixels)), 0)


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.2), (0.1, 0.0), (0.1, 0.6), (0.5, 0.4), (-0.1, 0.2)])
def test_impossible_shares(validation: float, test: float) -> None:
    with pytest.raises(RobustAugError, match="cannot be split"):
        make_splits(Source("s", image_set({"a": 9, "b": 9})), 0, validation_share=validation, test_share=test)


def test_image_set_refuses_parts_that_do_not_belong_together() -> None:
    good = image_set({"a": 3, "b": 3})
    with pytest.raises(RobustAugError, match="uint8"):
        ImageSet(good.images.float(), good.labels, good.keys, good.sha256, good.class_names)
    with pytest.raises(RobustAugError, match="different keys"):
        ImageSet(good.images, good.labels, ("same",) * 6, good.sha256, good.class_names)
    with pytest.raises(RobustAugError, match="labels"):
        ImageSet(good.images, good.labels + 1, good.keys, good.sha256, good.class_names)
    assert good.float_images().dtype == torch.float32
    assert torch.equal(good.float_images(), good.images.float().div(255))


def test_the_first_samples_of_a_set_or_all_of_them() -> None:
    images = image_set({"a": 2, "b": 2})
    assert images.first(3).keys == images.keys[:3]
    assert images.first(9).keys == images.keys
