"""The optimisation: independence of the batch, strength, cache, how far the style loss falls, every bad input."""

import dataclasses
from itertools import pairwise
from typing import Any

import pytest
import torch
from style_cases import photos, with_settings
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.style import Gatys, Painting, StyleBank, TargetCache, settings_for, transfer
from robustaug.style.colour import rgb_to_yiq, to_grey
from robustaug.style.losses import gram
from robustaug.style.settings import SETTINGS


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(28, 28), (33, 47)])
def test_bytes_do_not_depend_on_the_batch(
    quick: Gatys, stripes: Painting, dots: Painting, precision: Any, size: tuple[int, int]
) -> None:
    style = dataclasses.replace(with_settings(quick, steps=4), precision=precision, batch_size=8)
    content = photos(5, *size)
    paintings = [stripes, dots, stripes, dots, dots]
    together = style(content, paintings, strength=0.9)
    alone = torch.cat([style(content[i : i + 1], paintings[i], strength=0.9) for i in range(5)])
    assert torch.equal(alone, together)
    order = [3, 0, 4, 2, 1]
    assert torch.equal(style(content[order], [paintings[i] for i in order], strength=0.9), together[order])
    assert torch.equal(dataclasses.replace(style, batch_size=2)(content, paintings, strength=0.9), together)


def test_bytes_do_not_depend_on_the_batch_with_several_threads(quick: Gatys, stripes: Painting, dots: Painting) -> None:
    style, content = with_settings(quick, steps=1), photos(3, 28, 28)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = style(content, [stripes, dots, dots])
        assert torch.equal(style(content[2:], dots), together[2:])
        assert torch.equal(style(content[:2], [stripes, dots]), together[:2])
    finally:
        torch.set_num_threads(threads)


def test_targets_are_kept_and_change_nothing(
    quick: Gatys, stripes: Painting, dots: Painting, monkeypatch: pytest.MonkeyPatch
) -> None:
    style, content, cache = with_settings(quick, steps=1), photos(2, 24, 24), TargetCache()
    first = style(content, [stripes, dots], cache=cache)
    assert len(cache.targets) == 2
    kept = {key: dict(value) for key, value in cache.targets.items()}
    assert torch.equal(style(content, [stripes, dots], cache=cache), first)
    assert torch.equal(style(content, [stripes, dots]), first)
    assert all(cache.targets[key][layer] is value[layer] for key, value in kept.items() for layer in value)
    with_settings(style, painting_size=48)(content, stripes, cache=cache)  # another setting, another target
    dataclasses.replace(style, color="luminance")(content, stripes, cache=cache)
    assert len(cache.targets) == 4


def test_strength_zero_is_the_content_exactly(quick: Gatys, stripes: Painting) -> None:
    content = photos(2, 21, 30)
    found = quick.run(content, stripes, strength=0)
    assert torch.equal(found.images, content)
    assert found.losses["style_loss"].tolist() == [0, 0]


def test_strength_leads_to_the_painting(quick: Gatys, stripes: Painting) -> None:
    """The distance to the painting's own Gram matrices falls as strength rises."""
    style = with_settings(quick, content_weight=0.0, steps=20)
    content = photos(2, 32, 32)
    cache = TargetCache()
    style(content, stripes, cache=cache)
    target = next(iter(cache.targets.values()))["conv2_1"]
    distances = []
    for strength in (0.0, 0.3, 0.6, 1.0):
        images = style(content, stripes, strength=strength)
        found = gram(style.encoder(images, ["conv2_1"])["conv2_1"])
        distances.append((found - target).square().sum((1, 2)))
    for weaker, stronger in pairwise(distances):
        assert (stronger < 0.8 * weaker).all()


def test_style_loss_falls_to_a_tenth(quick: Gatys, stripes: Painting, dots: Painting) -> None:
    result = with_settings(quick, steps=40).run(photos(2, 32, 32), [stripes, dots])
    assert (result.losses["style_loss"] <= result.losses["first_style_loss"] / 10).all()
    assert result.images.amin() >= 0
    assert result.images.amax() <= 1


def test_a_painting_in_its_own_style_stays_as_it_is(quick: Gatys, dots: Painting) -> None:
    """Both losses start at zero; only the padding at the borders and the resampling differ from that."""
    style = with_settings(quick, working_size=40, content_weight=1.0)
    small = torch.nn.functional.interpolate(dots.image[None].float() / 255, (45, 40), mode="bicubic", antialias=True)
    result = style.run(small.clamp(0, 1), dots)
    assert result.losses["first_style_loss"].item() < 1e-6
    torch.testing.assert_close(result.images, small.clamp(0, 1), atol=0.12, rtol=0)


def test_content_weight_holds_the_content(quick: Gatys, stripes: Painting) -> None:
    content = photos(2, 32, 32)
    free, held = (with_settings(quick, content_weight=weight).run(content, stripes) for weight in (0.01, 10.0))
    assert (held.losses["content_loss"] < free.losses["content_loss"] / 4).all()
    assert (held.losses["style_loss"] > free.losses["style_loss"]).all()


def test_variation_weight_smooths(quick: Gatys, stripes: Painting) -> None:
    content = photos(1, 32, 32)
    rough, smooth = (with_settings(quick, variation_weight=weight)(content, stripes) for weight in (0.0, 300.0))
    assert smooth.diff(dim=3).square().mean() < rough.diff(dim=3).square().mean() / 2


def test_preserved_colours(quick: Gatys, stripes: Painting) -> None:
    content = 0.4 + 0.2 * photos(2, 32, 32)
    images = dataclasses.replace(quick, color="luminance")(content, stripes, strength=0.3)
    inside = ((images > 0) & (images < 1)).all(1)  # where nothing was clamped
    assert inside.float().mean() > 0.8
    difference = (rgb_to_yiq(images) - rgb_to_yiq(content)).abs()
    assert difference[:, 1:].amax(1)[inside].max() < 1e-5
    assert difference[:, 0].mean() > 0.01


def test_preserved_colours_take_nothing_of_the_paintings_own(quick: Gatys, stripes: Painting) -> None:
    style = with_settings(dataclasses.replace(quick, color="luminance"), steps=1)
    pale = 0.3 + 0.4 * stripes.image.float() / 255  # so that resampling overshoots no bound
    grey = to_grey(pale[None])[0]
    of_grey, of_colour = TargetCache(), TargetCache()
    style(photos(1, 32, 32), grey, cache=of_grey)
    style(photos(1, 32, 32), pale, cache=of_colour)
    for one, other in zip(of_grey.targets.values(), of_colour.targets.values(), strict=True):
        for layer, value in one.items():
            assert (value - other[layer]).norm() < 0.02 * value.norm()  # the grey one is rounded to 8 bits


def test_bfloat16_agrees_with_float32(quick: Gatys, stripes: Painting) -> None:
    content = photos(2, 32, 32)
    exact = quick(content, stripes)
    rounded = dataclasses.replace(quick, precision="bfloat16")(content, stripes)
    assert (exact - rounded).abs().mean() < 0.03


def test_inputs_and_state_are_left_alone(quick: Gatys, stripes: Painting) -> None:
    content = photos(2, 24, 24)
    before, state = content.clone(), torch.get_rng_state()
    with_settings(quick, steps=1)(content, stripes)
    assert torch.equal(content, before)
    assert not content.requires_grad
    assert torch.equal(torch.get_rng_state(), state)


def test_a_painting_may_come_as_a_tensor(quick: Gatys, stripes: Painting) -> None:
    style, content = with_settings(quick, steps=1), photos(2, 24, 24)
    as_tensor = stripes.image.float() / 255
    assert torch.equal(style(content, as_tensor), style(content, stripes))
    assert torch.equal(style(content, torch.stack([as_tensor] * 2)), style(content, [stripes] * 2))
    assert style(content[:0], []).shape == (0, 3, 24, 24)


def test_defaults_work_from_16_pixels_up() -> None:
    painting = StyleBank.embedded().paintings[2].image
    content = photos(1, 16, 20)
    found = transfer(content, painting.float() / 255)
    assert found.shape == content.shape
    assert 0.02 < (found - content).abs().mean() < 0.5
    assert found.amin() >= 0
    assert found.amax() <= 1


def test_settings_follow_the_size() -> None:
    assert settings_for(28, 28) == SETTINGS[0][1]
    assert settings_for(64, 64) == SETTINGS[1][1]
    assert settings_for(128, 128) == SETTINGS[2][1]
    assert settings_for(1024, 224) == settings_for(256, 256) == SETTINGS[3][1]


@pytest.mark.parametrize(
    ("content", "strength", "message"),
    [
        (torch.rand(3, 24, 24), 1.0, r"content must be images of shape \(N, 3, H, W\)"),
        (torch.rand(1, 1, 24, 24), 1.0, r"content must be images of shape \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 24, 24, dtype=torch.uint8), 1.0, r"float images with values in \[0, 1\]"),
        (torch.full((1, 3, 24, 24), 1.5), 1.0, r"float images with values in \[0, 1\]"),
        (torch.full((1, 3, 24, 24), float("nan")), 1.0, r"float images with values in \[0, 1\]"),
        (torch.rand(1, 3, 24, 24), 1.5, r"strength 1.5 is outside \[0, 1\]"),
        (torch.rand(1, 3, 24, 24), float("nan"), r"strength nan is outside \[0, 1\]"),
        (torch.rand(1, 3, 15, 24), 1.0, "24x15 px is too small for style transfer"),
        (torch.rand(1, 3, 1025, 16), 1.0, "16x1025 px is too large for style transfer"),
    ],
)
def test_bad_content(content: Tensor, strength: float, message: str, encoder: Any, stripes: Painting) -> None:
    with pytest.raises(RobustAugError, match=message):
        Gatys(encoder=encoder)(content, stripes, strength=strength)


def test_bad_paintings(quick: Gatys, stripes: Painting) -> None:
    content = photos(2, 24, 24)
    with pytest.raises(RobustAugError, match="3 paintings for 2 images"):
        quick(content, [stripes] * 3)
    for bad in (torch.rand(3, 8, 8), torch.rand(1, 32, 32), torch.rand(3, 32, 32) * 2):
        with pytest.raises(RobustAugError):
            quick(content, bad)
