"""Style transfer behind the interface of all augmenters."""

import torch
from style_cases import photos

from robustaug.data.augmenter import Augmenter
from robustaug.style import Gatys, RandomStyle, StyleAugmenter, StyleBank


def test_a_row_is_the_transfer_of_what_its_seed_draws(bank: StyleBank, tiny: Gatys) -> None:
    augmenter: Augmenter = StyleAugmenter(RandomStyle(bank, p=0.0, strength=(0.4, 1.0), method=tiny))
    assert (augmenter.kind, augmenter.name) == ("stylised", "gatys")
    images, seeds = photos(4, 16, 16), torch.tensor([3, 10**15, -7, 0])
    result = augmenter.augment(images, torch.zeros(4, dtype=torch.int64), seeds)
    paintings = {painting.name: painting for painting in bank.paintings}
    for image, seed, found in zip(images, seeds.tolist(), result, strict=True):
        row = augmenter.drawn(seed)
        expected = tiny(image[None], paintings[row["style"]], strength=row["strength"])[0]
        assert torch.equal(found, expected)
    assert augmenter.describe()["paintings"] == [painting.sha256 for painting in bank.paintings]
