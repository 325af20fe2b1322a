"""The corruptions against the authors' own code, and against definitions written out."""

import colorsys
import math
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest, kstest, poisson

from robustaug import randomness
from robustaug.errors import RobustAugError
from robustaug.evaluation.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    mean_corruption_error,
    parameters_for,
    relative_mean_corruption_error,
)
from robustaug.evaluation.corruptions.digital import _box
from robustaug.evaluation.corruptions.weather import frost_texture, plasma

REFERENCES = np.load(Path(__file__).with_name("corruption_references.npz"))
NAMES = list(CORRUPTIONS)
# 255 * ours - theirs. Theirs is cut to 8 bits at the end: between 0 and 1. Some are cut or rounded on the way, too.
DIFFERENCE = {
    "glass_blur": (0, 2),
    "snow": (0, 4),
    "pixelate": (-1, 1),
    "jpeg_compression": (-3, 3),  # another build of libjpeg may round otherwise
}


def pictures(n=6, height=32, width=32, seed=0):
    """Smooth coloured images with an edge, 8-bit values."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    smooth[:, :, height // 3, :] = 1.0
    return (smooth * 255).round() / 255


@pytest.mark.parametrize("parameters", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", sorted({key.split("/")[1] for key in REFERENCES.files if "/" in key}))
def test_the_authors_code_makes_the_same_image(name, parameters):
    image = torch.from_numpy(REFERENCES["image"]).permute(2, 0, 1)[None].float() / 255
    low, high = DIFFERENCE.get(name, (0, 1))
    for severity in SEVERITIES:
        theirs = REFERENCES[f"{parameters}/{name}/{severity}"]
        ours = corrupt(image, name, severity, torch.tensor([7]), parameters=parameters)
        difference = ours[0].permute(1, 2, 0).numpy() * 255 - theirs
        assert low - 0.01 <= difference.min(), severity
        assert difference.max() <= high + 0.01, severity


def test_there_are_references_for_all_that_can_have_one():
    named = {key.split("/")[1] for key in REFERENCES.files if "/" in key}
    assert named == set(NAMES) - {"shot_noise", "impulse_noise", "frost"}
    assert len(NAMES) == 15


@pytest.mark.parametrize("parameters", ["cifar", "imagenet"])
def test_shot_noise_is_the_poisson_quantile(parameters):
    images, seeds = pictures(2, 16, 16), torch.tensor([3, 4])
    images[0, :, 0] = 0.0
    uniform = randomness.uniform(seeds, (3, 16, 16)).double().numpy()
    for severity in SEVERITIES:
        (photons,) = getattr(CORRUPTIONS["shot_noise"], parameters)[severity - 1]
        counts = poisson.ppf(uniform, images.double().numpy().round(9) * photons)
        expected = np.clip(counts.clip(0) / photons, 0, 1)
        found = corrupt(images, "shot_noise", severity, seeds, parameters=parameters).numpy()
        assert (np.abs(found - expected) > 1e-6).mean() <= 1e-3  # rates of float32 levels may move a quantile
        assert np.abs(found - expected).max() <= 1 / photons + 1e-6


def test_impulse_noise_changes_its_share_of_values_to_black_and_white():
    images = torch.full((20, 3, 32, 32), 0.5)
    for severity, share in zip(SEVERITIES, (0.03, 0.06, 0.09, 0.17, 0.27), strict=True):
        found = corrupt(images, "impulse_noise", severity, torch.arange(20), parameters="imagenet")
        black, white = int((found == 0).sum()), int((found == 1).sum())
        assert int((found == 0.5).sum()) == images.numel() - black - white
        assert binomtest(black, images.numel(), share / 2).pvalue > 1e-4
        assert binomtest(white, images.numel(), share / 2).pvalue > 1e-4


def test_gaussian_noise_is_normal():
    images = torch.full((10, 3, 32, 32), 0.5)
    noise = corrupt(images, "gaussian_noise", 2, torch.arange(10)) - 0.5
    assert kstest(noise.flatten().numpy() / 0.06, "norm").pvalue > 1e-3


def test_brightness_keeps_hue_and_saturation():
    images = pictures(1, 8, 8)
    images[0, :, 0, 0] = 0.0
    found = corrupt(images, "brightness", 4, torch.tensor([0]))
    for y in range(8):
        for x in range(8):
            h, s, v = colorsys.rgb_to_hsv(*images[0, :, y, x].tolist())
            assert found[0, :, y, x].tolist() == pytest.approx(colorsys.hsv_to_rgb(h, s, min(v + 0.2, 1)), abs=1e-6)


def test_jpeg_is_pillows():
    image = pictures(1, 40, 24)
    pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=58)
    found = corrupt(image, "jpeg_compression", 3, torch.tensor([0]))
    assert np.array_equal((found[0] * 255).round().byte().permute(1, 2, 0).numpy(), np.asarray(Image.open(buffer)))


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 60), st.integers(2, 90))
def test_box_resampling_is_pillows(source, target):
    row = np.random.default_rng(source).random((1, source)).astype(np.float32)
    theirs = np.asarray(Image.fromarray(row).resize((target, 1), Image.Resampling.BOX))[0]
    assert np.allclose(_box(source, target).numpy() @ row[0].astype(np.float64), theirs, atol=1e-5)


def test_glass_blur_moves_pixels_as_the_sequential_loop_does():
    """No blur at severity 1 of CIFAR's: the loop alone, one copy after another."""
    n, side, reach = 3, 12, 1
    images, seeds = torch.rand(n, 3, side, side), torch.tensor([5, 6, 7])
    draws = randomness.uniform(randomness.fold(seeds, 0), (2, side * side)).numpy()
    expected = images.numpy().copy()
    for i in range(n):
        for y in range(side - reach, reach, -1):
            for x in range(side - reach, reach, -1):
                down, right = (math.floor(u * 2 * reach) - reach for u in draws[i, :, y * side + x])
                expected[i, :, y, x] = expected[i, :, y + down, x + right]
    assert np.array_equal(corrupt(images, "glass_blur", 1, seeds).numpy(), expected)
    assert (expected != images.numpy()).mean() > 0.3


def test_plasma_spans_its_range_and_gets_rougher_with_slower_decay():
    maps = {decay: plasma(torch.arange(5), 32, decay) for decay in (1.5, 3.0)}
    for found in maps.values():
        assert torch.equal(found.amin((1, 2)), torch.zeros(5))
        assert torch.equal(found.amax((1, 2)), torch.ones(5))
    assert maps[1.5].diff(dim=1).abs().mean() > 2 * maps[3.0].diff(dim=1).abs().mean()


@pytest.mark.parametrize("side", [32, 224])
def test_frost_has_about_the_photographs_mean_colour_and_contrast(side):
    """Of the first five photographs: mean (0.57, 0.66, 0.70), standard deviation of the grey 0.07 to 0.17."""
    texture = frost_texture(torch.arange(12), side, side)
    mean = texture.mean((0, 2, 3))
    assert mean.tolist() == pytest.approx([0.57, 0.66, 0.70], abs=0.05)
    assert 0.05 < texture.mean(1).flatten(1).std(1).mean() < 0.17
    image = torch.full((12, 3, side, side), 0.3)
    frosted = corrupt(image, "frost", 5, torch.arange(12), parameters="cifar")
    assert torch.allclose(frosted, (0.75 * 0.3 + 0.45 * texture).clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "parameters"), [((32, 32), "auto"), ((8, 8), "imagenet"), ((9, 21), "auto")])
def test_no_result_depends_on_its_batch(name, size, parameters):
    images, seeds = pictures(5, *size), torch.tensor([2**62, 1, 2, 3, 2**40])
    state = torch.get_rng_state()
    for severity in (1, 5):
        together = corrupt(images, name, severity, seeds, parameters=parameters)
        assert together.shape == images.shape
        assert together.dtype == torch.float32
        assert together.min() >= 0
        assert together.max() <= 1
        for rows in ([4], [2, 0], [3, 1, 4]):
            assert torch.equal(
                corrupt(images[rows], name, severity, seeds[rows], parameters=parameters), together[rows]
            )
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_noise_follows_the_seed_and_severity_hurts(name):
    images = pictures()
    first, other = (corrupt(images, name, 3, torch.arange(6) + shift) for shift in (0, 100))
    chance = name not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
    assert torch.equal(first, other) != chance
    distances = [
        (corrupt(images, name, severity, torch.arange(6), parameters="imagenet") - images).square().mean()
        for severity in (1, 5)
    ]
    # The published elastic transform of ImageNet-C moves pixels farthest at severities 1 and 2.
    assert (distances[1] > distances[0]) == (name != "elastic_transform")


def test_the_parameters_follow_the_size():
    assert [parameters_for(side, 300) for side in (8, 28, 32, 64, 84)] == ["cifar"] * 5
    assert [parameters_for(300, side) for side in (85, 96, 128, 224, 512)] == ["imagenet"] * 5
    images, seeds = pictures(2, 96, 96), torch.arange(2)
    auto = corrupt(images, "contrast", 1, seeds)
    assert torch.equal(auto, corrupt(images, "contrast", 1, seeds, parameters="imagenet"))
    assert not torch.equal(auto, corrupt(images, "contrast", 1, seeds, parameters="cifar"))


def test_what_cannot_be_corrupted():
    images, seeds = torch.rand(2, 3, 8, 8), torch.arange(2)
    for arguments, message in (
        ((images, "fogg", 1, seeds), "no corruption 'fogg'; did you mean fog"),
        ((images, "x", 1, seeds), "no corruption 'x'; known are gaussian_noise, shot_noise"),
        ((images, "fog", 0, seeds), "severity is 1, 2, 3, 4 or 5, not 0"),
        ((images[:, :1], "fog", 1, seeds), r"need images \(N, 3, H, W\)"),
        ((images[..., :7], "fog", 1, seeds), "at least 8 px"),
        ((images, "fog", 1, seeds[:1]), "one int64 seed for each of 2 images"),
        ((images, "fog", 1, seeds.float()), "one int64 seed"),
        ((images * 255, "fog", 1, seeds), r"values in \[0, 1\]"),
        ((images * float("nan"), "fog", 1, seeds), r"values in \[0, 1\]"),
    ):
        with pytest.raises(RobustAugError, match=message) as caught:
            corrupt(*arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(RobustAugError, match="parameters 'tiny' are unknown"):
        corrupt(images, "fog", 1, seeds, parameters="tiny")
    assert corrupt(images[:0], "fog", 1, seeds[:0]).shape == (0, 3, 8, 8)


def test_mean_corruption_error_by_hand():
    baseline = {"fog": [0.4, 0.6], "snow": [0.5, 0.5]}
    errors = {"fog": [0.2, 0.3], "snow": [0.5, 0.25]}
    assert mean_corruption_error(baseline, baseline) == 1
    assert mean_corruption_error(errors, baseline) == pytest.approx((0.5 + 0.75) / 2)
    relative = relative_mean_corruption_error(errors, 0.1, baseline, 0.3)
    assert relative == pytest.approx((0.3 / 0.4 + 0.55 / 0.4) / 2)
    for wrong, message in (
        (({}, {}), "at least one corruption"),
        ((errors, {"fog": [0.4, 0.6]}), "other corruptions or severities"),
        ((errors, baseline | {"snow": [0.5]}), "other corruptions or severities"),
        ((errors, baseline | {"snow": [0.0, 0.0]}), "no more errors under snow"),
    ):
        with pytest.raises(RobustAugError, match=message):
            mean_corruption_error(*wrong)
