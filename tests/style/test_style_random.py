"""The transform: which images, paintings and strengths are drawn, and what is left as it was."""

import pickle
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from style_cases import photos
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from robustaug.errors import RobustAugError
from robustaug.style import Blend, Gatys, Painting, StyleBank, StyleTransfer, TargetCache, VGGEncoder
from robustaug.style.random_style import RandomStyle

LEVELS = (0.0, 0.25, 0.5, 1.0)  # of the plain paintings below
BANK = StyleBank(tuple(Painting.from_tensor(torch.full((3, 16, 16), level), f"grey_{level:g}") for level in LEVELS))


class Tint(StyleTransfer):
    """A method whose result is known: the image mixed with the painting's mean colour."""

    name: ClassVar[str] = "tint"

    def describe(self) -> dict[str, Any]:
        return {"method": self.name}

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def _transfer(
        self, work: Tensor, shape: tuple[int, int], blends: Sequence[Blend], strength: Tensor, cache: TargetCache
    ) -> tuple[Tensor, dict[str, Tensor]]:
        CALLS.append((len(work), work.dtype, torch.is_autocast_enabled("cpu")))
        means = torch.stack([blend.paintings[0].image.float().mean((1, 2), keepdim=True) / 255 for blend in blends])
        return torch.lerp(work, means.expand_as(work), strength[:, None, None, None]), {}


CALLS: list[tuple[int, torch.dtype, bool]] = []


@pytest.fixture
def tint(encoder: VGGEncoder) -> Tint:
    CALLS.clear()
    return Tint(encoder=encoder, batch_size=10_000)


def drawn(seed: int, n: int, p: float, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
    """What the documentation promises: three uniform numbers an image from the global generator."""
    torch.manual_seed(seed)
    changed, painting, strength = torch.rand(3, n).unbind()
    levels = (torch.tensor(LEVELS) * 255).round() / 255
    return changed < p, levels[(painting * 4).long()], low + (high - low) * strength


def expected(images: Tensor, seed: int, p: float, low: float, high: float) -> Tensor:
    changed, level, strength = (each[:, None, None, None] for each in drawn(seed, len(images), p, low, high))
    return torch.where(changed, images + strength * (level - images), images)


@pytest.mark.parametrize(("p", "strength"), [(0.3, (0.3, 1.0)), (1.0, (0.5, 0.5)), (0.5, (0.0, 1.0)), (0.0, (1, 1))])
def test_each_image_is_drawn_and_changed_on_its_own(tint: Tint, p: float, strength: tuple[float, float]) -> None:
    images, style = photos(40, 16, 20), RandomStyle(BANK, p, strength, method=tint)
    torch.manual_seed(7)
    result = style(images)
    torch.testing.assert_close(result, expected(images, 7, p, *strength), atol=1e-6, rtol=0)
    changed = (result != images).flatten(1).any(1)
    asked = drawn(7, 40, p, *strength)[0]
    assert torch.equal(changed, asked)
    assert sum(count for count, _, _ in CALLS) == int(asked.sum())  # no other image went through the method


def test_the_shares_are_those_asked_for(tint: Tint) -> None:
    style = RandomStyle(BANK, 0.3, (0.2, 0.6), method=tint)
    torch.manual_seed(0)
    change = style(torch.full((8000, 3, 16, 16), 0.75))[:, 0, 0, 0] - 0.75
    assert abs(float((change != 0).float().mean()) - 0.3) < 0.02  # standard deviation 0.005
    lightened = change[change > 0] / 0.25  # by the white painting, one of four
    assert abs(len(lightened) / 8000 - 0.075) < 0.012  # standard deviation 0.003
    assert 0.2 <= float(lightened.min()) < 0.21
    assert 0.59 < float(lightened.max()) <= 0.6 + 1e-6
    assert abs(float(lightened.mean()) - 0.4) < 0.02  # standard deviation 0.005


def test_nothing_but_the_drawn_rows_changes_and_the_input_is_not_written_to(tint: Tint) -> None:
    images = photos(12, 16, 16)
    before = images.clone()
    style = RandomStyle(BANK, 0.5, method=tint)
    torch.manual_seed(1)
    result = style(images)
    assert torch.equal(images, before)
    assert result is not images
    assert RandomStyle(BANK, 0.0, method=tint)(images) is images


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_values_are_kept(tint: Tint, dtype: torch.dtype) -> None:
    images = photos(6, 16, 16)
    given = images.mul(255).round().to(dtype) if dtype == torch.uint8 else images.to(dtype)
    style = RandomStyle(BANK, 1.0, (0.4, 0.9), method=tint)
    torch.manual_seed(3)
    result = style(given)
    assert result.dtype == dtype
    as_float = given.float() / 255 if dtype == torch.uint8 else given.float()
    exact = expected(as_float, 3, 1.0, 0.4, 0.9)
    if dtype == torch.uint8:
        assert (result.float() - 255 * exact).abs().max() <= 0.5 + 1e-3  # the nearest level
    else:
        torch.testing.assert_close(result, exact.to(dtype), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(3, 16, 18), (1, 3, 16, 18), (5, 3, 16, 18), (2, 3, 3, 16, 18)])
def test_any_leading_shape(tint: Tint, shape: tuple[int, ...]) -> None:
    flat = photos(max(1, int(torch.tensor(shape[:-3]).prod())), 16, 18)
    style = RandomStyle(BANK, 0.7, method=tint)
    torch.manual_seed(5)
    result = style(flat.view(shape))
    torch.testing.assert_close(result, expected(flat, 5, 0.7, 0.3, 1.0).view(shape), atol=1e-6, rtol=0)


def test_memory_format_views_and_no_images(tint: Tint) -> None:
    images, style = photos(8, 16, 16), RandomStyle(BANK, 1.0, method=tint)
    wanted = expected(images, 2, 1.0, 0.3, 1.0)
    for given in (images.contiguous(memory_format=torch.channels_last), images.mT.contiguous().mT):
        torch.manual_seed(2)
        torch.testing.assert_close(style(given), wanted, atol=1e-6, rtol=0)
    assert style(images[:0]).shape == (0, 3, 16, 16)


def test_what_is_no_image_passes_through(tint: Tint) -> None:
    style = RandomStyle(BANK, 1.0, method=tint)
    image = tv_tensors.Image(photos(1, 20, 20)[0])
    boxes = tv_tensors.BoundingBoxes(torch.tensor([[1, 2, 3, 4]]), format="XYXY", canvas_size=(20, 20))
    mask, scores = tv_tensors.Mask(torch.ones(20, 20)), torch.rand(3, 20, 20)
    sample = {"image": image, "target": [boxes, mask, scores, 7, "cat"]}
    result = style(sample)
    assert isinstance(result["image"], tv_tensors.Image)
    assert not torch.equal(result["image"], image)
    for kept, given in zip(result["target"], sample["target"], strict=True):
        assert kept is given
    images, labels = photos(4, 16, 16), torch.arange(4)
    styled, same = style(images, labels)
    assert same is labels
    assert type(styled) is Tensor
    assert not torch.equal(styled, images)


def test_it_stands_in_a_pipeline(tint: Tint) -> None:
    pipeline = v2.Compose(
        [v2.ToImage(), RandomStyle(BANK, 1.0, (1.0, 1.0), method=tint), v2.ToDtype(torch.float32, scale=True)]
    )
    result = pipeline(Image.new("RGB", (18, 16), (200, 100, 0)))
    assert result.shape == (3, 16, 18)
    assert float(result[0, 0, 0]) in [pytest.approx(round(255 * level) / 255) for level in LEVELS]
    assert result.unique().numel() == 1


def test_a_generator_draws_in_place_of_the_global_one(tint: Tint) -> None:
    images = photos(20, 16, 16)
    style = RandomStyle(BANK, 0.5, method=tint, generator=torch.Generator().manual_seed(7))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    torch.testing.assert_close(style(images), expected(images, 7, 0.5, 0.3, 1.0), atol=1e-6, rtol=0)
    torch.manual_seed(99)
    assert torch.equal(torch.get_rng_state(), state)


def test_neither_autocast_nor_gradients_reach_the_method(tint: Tint) -> None:
    images = photos(4, 16, 16).requires_grad_()
    torch.manual_seed(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = RandomStyle(BANK, 1.0, method=tint)(images)
    torch.testing.assert_close(result, expected(images, 4, 1.0, 0.3, 1.0), atol=1e-6, rtol=0)
    (call,) = CALLS
    assert call == (4, torch.float32, False)


def test_a_real_method_gives_what_it_gives_alone_and_keeps_its_targets(tiny: Gatys, stripes: Painting) -> None:
    style, images = RandomStyle(StyleBank((stripes,)), 1.0, (0.6, 0.6), method=tiny), photos(3, 24, 24)
    assert torch.equal(style(images), tiny(images, stripes, strength=0.6))
    kept = dict(style._cache.targets)
    style(images)
    assert list(style._cache.targets) == list(kept)
    assert all(style._cache.targets[key] is value for key, value in kept.items())


def test_the_default_method_is_adain(monkeypatch: pytest.MonkeyPatch, tint: Tint) -> None:
    monkeypatch.setattr("robustaug.style.adain.AdaIN", lambda: tint)
    style = RandomStyle(BANK, p=1.0)
    style(photos(2, 16, 16))
    assert len(CALLS) == 1
    assert repr(style) == "RandomStyle(4 paintings, p=1.0, strength=(0.3, 1.0), method=tint)"


def test_the_method_follows_the_images_and_the_callers_own_stays(tint: Tint) -> None:
    style = RandomStyle(BANK, method=tint)
    assert style._on(torch.device("cpu")) is tint
    moved = style._on(torch.device("meta"))
    assert moved.device == torch.device("meta")
    assert style._on(torch.device("meta")) is moved
    assert tint.device == torch.device("cpu")


class _Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    def __init__(self, transform: RandomStyle) -> None:
        self.images, self.transform = photos(6, 16, 16), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self.transform(self.images[index])
        return image, index


def test_it_works_in_a_worker_and_is_the_same_after_pickling(tint: Tint) -> None:
    style = RandomStyle(BANK, 1.0, (1.0, 1.0), method=tint)
    loader = DataLoader(_Pictures(style), batch_size=3, num_workers=2, generator=torch.Generator().manual_seed(0))
    images = torch.cat([batch for batch, _ in loader])
    assert images.flatten(1).std(1).max() < 1e-6  # each is one of the plain paintings
    assert images.flatten(1).mean(1).unique().numel() > 1
    again = pickle.loads(pickle.dumps(style))
    results = []
    for transform in (style, again):
        torch.manual_seed(8)
        results.append(transform(photos(5, 16, 16)))
    assert torch.equal(*results)


def test_refusals(tint: Tint) -> None:
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(RobustAugError, match="probability that an image is changed"):
            RandomStyle(BANK, p, method=tint)
    for strength in ((0.6, 0.5), (-0.1, 1.0), (0.0, 1.5), (float("nan"), 1.0)):
        with pytest.raises(RobustAugError, match="is no range inside"):
            RandomStyle(BANK, strength=strength, method=tint)
    with pytest.raises(RobustAugError, match="without other_class"):
        RandomStyle(StyleBank(BANK.paintings, other_class=True), method=tint)
    style = RandomStyle(BANK, 0.0, method=tint)  # refused whatever is drawn
    with pytest.raises(RobustAugError, match=r"no image tensor; put v2.ToImage\(\) before it"):
        style(Image.new("RGB", (16, 16)), torch.zeros(3))
    for wrong in (torch.arange(4), torch.zeros(4, 1, 16, 16), torch.zeros(2, 3, 16, 16, dtype=torch.int64)):
        with pytest.raises(RobustAugError, match=r"takes images \(..., 3, H, W\)"):
            style(wrong)
    with pytest.raises(RobustAugError, match="batches of different length"):
        style(tv_tensors.Image(photos(2, 16, 16)), tv_tensors.Image(photos(3, 16, 16)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_restyled_from_own_seeds(tint: Tint, dtype: torch.dtype) -> None:
    images, seeds = photos(9, 16, 20), torch.arange(9) * 7
    style = RandomStyle(BANK, 0.0, (0.2, 0.9), method=tint)  # p is of calls alone
    state = torch.get_rng_state()
    given = v2.functional.to_dtype(images, dtype, scale=True)
    result = style.restyle(given, seeds)
    assert result.dtype == dtype
    assert torch.equal(torch.get_rng_state(), state)
    drawn = [style.drawn(seed) for seed in seeds.tolist()]
    assert len({each["strength"] for each in drawn}) == 9
    for each, before, after in zip(drawn, given, result, strict=True):
        painting = next(painting for painting in BANK.paintings if painting.name == each["style"])
        assert each["style_sha256"] == painting.sha256
        assert each["method"] == "tint"
        assert 0.2 <= each["strength"] <= 0.9
        scale = 255 if dtype == torch.uint8 else 1
        level = painting.image.float().mean() / 255
        expected = torch.lerp(before / scale, level.expand_as(before), each["strength"])
        torch.testing.assert_close(after / scale, expected, atol=1e-6 if scale == 1 else 0.51 / 255, rtol=0)
    order = [4, 0, 8]
    assert torch.equal(style.restyle(given[order], seeds[order]), result[order])
    assert style.describe() == {
        "paintings": [painting.sha256 for painting in BANK.paintings],
        "strength": [0.2, 0.9],
        "method": {"method": "tint"},
    }
