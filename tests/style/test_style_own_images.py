"""The data set's own images as styles: never the image itself, nor its class where that is asked for."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustaug.data import ImageSet
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.style import StyleBank

CLASSES = ("cat", "dog", "fox")


def images_of(n: int, side: int = 16, copies: dict[int, int] | None = None) -> ImageSet:
    """``n`` different images in three classes, not in the order of their keys; ``copies``: row to original."""
    pixels = torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for row, original in (copies or {}).items():
        pixels[row] = pixels[original]
    labels = torch.arange(n) % 3
    keys = tuple(f"{CLASSES[row % 3]}/{(7 * row) % n:03}.png" for row in range(n))
    return ImageSet(pixels, labels, keys, tuple(sha256(f"file {row}".encode()) for row in range(n)), CLASSES)


@given(seed=st.integers(0, 50), row=st.integers(0, 29), count=st.integers(1, 20), other_class=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_image_gets_itself_or_its_own_class(seed: int, row: int, count: int, other_class: bool) -> None:
    images = images_of(30)
    bank = StyleBank.from_images(images, other_class=other_class)
    key, label = images.keys[row], CLASSES[row % 3]
    chosen = bank.choose(seed, key, count, label=label)
    assert len({painting.name for painting in chosen}) == count
    assert all(not torch.equal(painting.image, images.images[row]) for painting in chosen)
    if other_class:
        assert label not in {next(iter(painting.labels)) for painting in chosen}
    assert chosen == bank.choose(seed, key, 20, label=label)[:count]


def test_every_other_image_is_drawn() -> None:
    images = images_of(30)
    bank = StyleBank.from_images(images)
    assert {painting.sha256 for painting in bank.choose(1, images.keys[4], 29)} == set(images.sha256) - {
        images.sha256[4]
    }
    of_others = StyleBank.from_images(images, other_class=True).choose(1, images.keys[4], 20, label="dog")
    assert {painting.sha256 for painting in of_others} == {images.sha256[row] for row in range(30) if row % 3 != 1}


def test_a_copy_counts_as_the_image_itself_and_belongs_to_both_classes() -> None:
    images = images_of(6, copies={4: 0})  # a dog that is the cat of row 0
    bank = StyleBank.from_images(images)
    assert len(bank) == 5
    for row in (0, 4):
        for seed in range(20):
            chosen = bank.choose(seed, images.keys[row], 4)
            assert all(not torch.equal(painting.image, images.images[0]) for painting in chosen)
        with pytest.raises(RobustAugError, match=r"can take after 4 of the 5 images"):
            bank.choose(0, images.keys[row], 5)
    others = StyleBank.from_images(images, other_class=True)
    for label in ("cat", "dog"):
        chosen = others.choose(0, "new", 2, label=label)
        assert all(not torch.equal(painting.image, images.images[0]) for painting in chosen)


def test_the_bank_depends_on_the_images_and_not_on_their_order() -> None:
    images = images_of(12)
    bank, turned = StyleBank.from_images(images), StyleBank.from_images(images.select(range(11, -1, -1)))
    assert [painting.name for painting in bank.paintings] == [painting.name for painting in turned.paintings]
    assert [p.sha256 for p in bank.choose(3, "k", 5)] == [p.sha256 for p in turned.choose(3, "k", 5)]
    assert bank.paintings[0].name == "cat_000_png"
    of_key = dict(zip(images.keys, images.sha256, strict=True))
    assert [painting.sha256 for painting in bank.paintings] == [of_key[key] for key in sorted(of_key)]


def test_names_are_unique_where_keys_look_alike() -> None:
    images = images_of(3)
    images = ImageSet(images.images, images.labels, ("a b.png", "a_b.png", "x" * 200), images.sha256, CLASSES)
    names = [painting.name for painting in StyleBank.from_images(images).paintings]
    assert len(set(names)) == 3
    assert all(name.startswith("a_b_png_") for name in names[:2])
    assert max(map(len, names)) <= 80


def test_a_split_keeps_the_rule() -> None:
    images = images_of(30)
    training, held_out = StyleBank.from_images(images, other_class=True).split(10)
    assert (len(training), len(held_out)) == (20, 10)
    for bank in (training, held_out):
        assert bank.other_class
        for key, label in zip(images.keys, images.labels.tolist(), strict=True):
            (painting,) = bank.choose(0, key, label=CLASSES[label])
            assert CLASSES[label] not in painting.labels


def test_a_single_painting_does_not_carry_the_whole_set() -> None:
    bank = StyleBank.from_images(images_of(60, side=32))
    assert len(pickle.dumps(bank.paintings[0])) < 8_000  # 3 kB of pixels; the set has 184 kB


def test_refusals() -> None:
    images = images_of(6)
    with pytest.raises(RobustAugError, match="15x15 px is too small for a style"):
        StyleBank.from_images(images_of(3, side=15))
    with pytest.raises(RobustAugError, match="of two classes or more"):
        StyleBank.from_images(images.select([0, 3]), other_class=True)
    with pytest.raises(RobustAugError, match="at least one painting"):
        StyleBank.from_images(images.select([]))
    bank = StyleBank.from_images(images, other_class=True)
    with pytest.raises(RobustAugError, match=r"needs the class of cat/000.png"):
        bank.choose(0, "cat/000.png")
    with pytest.raises(RobustAugError, match="can take after 4 of the 6 images"):
        bank.choose(0, "cat/000.png", 5, label="cat")
