"""Named augmentations: torchvision's own result for the same seed, in any batch, and the global state untouched."""

from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from robustaug.data.augmentation import AUGMENTATIONS, AugmentationName, augment
from robustaug.errors import RobustAugError

# Written out here, not taken from the table: what each name promises.
TORCHVISION = {
    "augmix": v2.AugMix(severity=3, mixture_width=3, chain_depth=-1, alpha=1.0, all_ops=False),
    "trivialaugment": v2.TrivialAugmentWide(),
    "randaugment": v2.RandAugment(num_ops=2, magnitude=9),
}
NAMES: tuple[Any, ...] = tuple(TORCHVISION)


def noise(n: int, height: int = 9, width: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def test_the_table_has_all_names() -> None:
    assert tuple(AUGMENTATIONS) == get_args(AugmentationName) == NAMES


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(seeds=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=12))
def test_torchvision_called_with_the_same_seed(name: AugmentationName, seeds: list[int]) -> None:
    images = noise(len(seeds))
    result = augment(images, torch.tensor(seeds), name)
    assert result.dtype == torch.uint8
    with torch.random.fork_rng(devices=[]):
        for image, seed, found in zip(images, seeds, result, strict=True):
            torch.manual_seed(seed)
            assert torch.equal(found, TORCHVISION[name](image))


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_the_same_in_any_batch_and_order(name: AugmentationName) -> None:
    images, seeds = noise(12), torch.arange(12) * 10**15
    together = augment(images, seeds, name)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augment(images[order], seeds[order], name), together[order])
    assert torch.equal(augment(images[5:6], seeds[5:6], name), together[5:6])
    assert not torch.equal(augment(images, seeds + 1, name), together)


@pytest.mark.parametrize("name", NAMES)
def test_the_global_state_and_the_input_are_untouched(name: AugmentationName) -> None:
    images, copy = noise(6), noise(6)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    result = augment(images, torch.arange(6), name)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, copy)
    weight = torch.ones(3, requires_grad=True)
    torch.autograd.backward(
        (result.float().mean((0, 2, 3)) * weight).sum()
    )  # no tensor of inference mode: a graph takes it


@pytest.mark.parametrize(
    "images",
    [torch.rand(2, 3, 8, 8), torch.zeros(2, 4, 8, 8, dtype=torch.uint8), noise(1)[0]],
    ids=["floats", "four channels", "no batch"],
)
def test_images_that_are_no_bytes_or_not_rgb(images: torch.Tensor) -> None:
    for name in AUGMENTATIONS:
        with pytest.raises(RobustAugError, match=rf"^{name} takes uint8 images of shape \(N, 3, H, W\), got torch"):
            augment(images, torch.arange(len(images)), name)


def test_an_unknown_name() -> None:
    with pytest.raises(RobustAugError, match="no augmentation 'cutmix'; use one of augmix, trivialaugment, randaug"):
        augment(noise(1), torch.tensor([0]), "cutmix")  # type: ignore[arg-type]
