"""What a user may choose: layers and weights, colours by statistics, a mask, coarse to fine; and little memory."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from style_cases import photos, with_settings
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.style import AdaIN, Gatys, Painting, StyleSettings, TargetCache, VGGEncoder
from robustaug.style.gatys import measure
from robustaug.style.losses import content_loss, gram, relative_error, total_variation
from robustaug.style.method import resize_to
from robustaug.style.optimise import minimise


def test_the_objective_is_the_sum_of_all_that_was_chosen(quick: Gatys, stripes: Painting) -> None:
    content, images = photos(2, 32, 32), photos(2, 32, 32, seed=1)
    settings = dataclasses.replace(
        quick.settings,  # type: ignore[type-var]
        content_layers=("conv2_1", "conv1_2"),
        content_layer_weights=(3.0, 1.0),
        style_layer_weights=(1.0, 4.0),
        content_weight=0.3,
        variation_weight=2.0,
    )
    found = measure(images, content, stripes, settings=settings, encoder=quick.encoder)
    picture = resize_to(stripes.image[None].float() / 255, (40, 50))
    layers = ("conv1_1", "conv1_2", "conv2_1")
    at, of_content, of_style = (quick.encoder(x, layers) for x in (images, content, picture))
    expected_content = 0.75 * content_loss(at["conv2_1"], of_content["conv2_1"])
    expected_content += 0.25 * content_loss(at["conv1_2"], of_content["conv1_2"])
    errors = {x: relative_error(gram(at[x]), gram(of_style[x]).expand(2, -1, -1)) for x in layers}
    expected_style = 0.2 * errors["conv1_1"] + 0.8 * errors["conv2_1"]
    torch.testing.assert_close(found["content_loss"], expected_content, rtol=1e-4, atol=0)
    torch.testing.assert_close(found["style_loss"], expected_style, rtol=1e-4, atol=0)
    expected = 0.3 * expected_content + expected_style + 2 * total_variation(images)
    torch.testing.assert_close(found["total_loss"], expected, rtol=1e-4, atol=0)


def test_measured_losses_are_those_that_the_method_reports(quick: Gatys, stripes: Painting, dots: Painting) -> None:
    content = photos(2, 36, 32)
    result = quick.run(content, [stripes, dots])
    found = measure(result.images, content, [stripes, dots], settings=quick.settings, encoder=quick.encoder)
    for name in ("content_loss", "style_loss"):
        torch.testing.assert_close(found[name], result.losses[name], rtol=1e-3, atol=0)
    assert measure(content[:0], content[:0], [], settings=quick.settings)["total_loss"].shape == (0,)


def test_a_layer_that_counts_more_fits_better(quick: Gatys, stripes: Painting) -> None:
    content, fits = photos(2, 32, 32), []
    for weights in ((20.0, 1.0), (1.0, 20.0)):
        style = with_settings(quick, style_layer_weights=weights)
        first_only = dataclasses.replace(style.settings, style_layers=("conv1_1",), style_layer_weights=())  # type: ignore[type-var]
        fits.append(measure(style(content, stripes), content, stripes, settings=first_only, encoder=quick.encoder))
    assert (fits[0]["style_loss"] < fits[1]["style_loss"]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content_layers": ()}, r"content_layers are \(\); give at least one layer"),
        ({"content_layers": "conv2_1"}, "content_layers are 'conv2_1'; give at least one layer, each once"),
        ({"style_layers": ("conv1_1", "conv1_1")}, "give at least one layer, each once"),
        ({"style_layer_weights": (1.0,)}, "1 style_layer_weights for 2 layers"),
        ({"style_layer_weights": (1.0, 0.0)}, "all must be above 0"),
        ({"content_layer_weights": (float("nan"),)}, "all must be above 0"),
        ({"steps": -1}, "steps is -1; it must be at least 0"),
        ({"working_size": 8}, "working_size is 8; it must be at least 16"),
        ({"tolerance": float("nan")}, "tolerance is nan; it must be 0 or more"),
        ({"content_weight": -0.1}, "content_weight is -0.1"),
        ({"optimizer": "sgd"}, "optimizer 'sgd' is unknown; use adam or lbfgs"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str, quick: Gatys) -> None:
    with pytest.raises(RobustAugError, match=message):
        with_settings(quick, **changes)


def test_colours_by_statistics_make_the_painting_the_contents(quick: Gatys, stripes: Painting) -> None:
    """The target is that of the recoloured painting: the same as if that had been the painting."""
    style = dataclasses.replace(quick, color="statistics")
    content, cache = photos(2, 32, 32), TargetCache()
    found = style(content, stripes, cache=cache)
    assert not cache.targets  # it depends on the content
    assert torch.equal(style(content[1:], stripes), found[1:])
    redder = (content * torch.tensor([1.0, 0.5, 0.5]).view(1, 3, 1, 1)).clamp(0, 1)
    for images in (content, redder):
        kept = (style(images, stripes).mean((2, 3)) - images.mean((2, 3))).abs().mean()
        taken = (quick(images, stripes).mean((2, 3)) - images.mean((2, 3))).abs().mean()
        assert kept < taken / 2


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_bytes_do_not_depend_on_the_batch_whatever_is_chosen(
    optimizer: Any, quick: Gatys, stripes: Painting, dots: Painting
) -> None:
    """Coarse to fine, images that stop on their own, statistics, bfloat16."""
    style = with_settings(quick, optimizer=optimizer, coarse_steps=11, steps=11, tolerance=0.3)
    style = dataclasses.replace(style, precision="bfloat16", color="statistics", batch_size=4)
    content, paintings = photos(5, 33, 35), [stripes, dots, stripes, dots, dots]
    together = style(content, paintings, strength=0.9)
    alone = torch.cat([style(content[i : i + 1], paintings[i], strength=0.9) for i in range(5)])
    assert torch.equal(alone, together)
    order = [3, 0, 4, 2, 1]
    assert torch.equal(style(content[order], [paintings[i] for i in order], strength=0.9), together[order])


def test_the_start_is_what_adain_makes(quick: Gatys, encoder: VGGEncoder, stripes: Painting, dots: Painting) -> None:
    content, paintings = photos(2, 64, 72), [stripes, dots]
    strength = torch.tensor([0.4, 1.0])
    start = with_settings(quick, start="adain", steps=0, coarse_steps=5)(content, paintings, strength=strength)
    assert torch.equal(start, AdaIN(encoder, precision="float32")(content, paintings, strength=strength))


def test_without_a_fitting_decoder_the_start_is_the_content(quick: Gatys, stripes: Painting) -> None:
    other = copy.deepcopy(quick.encoder)
    other.fingerprint = "another"
    style = dataclasses.replace(with_settings(quick, start="adain", steps=0), encoder=other)
    content = photos(2, 64, 72)
    assert torch.equal(style(content, stripes), content)
    assert "decoder" not in style.describe()


def test_coarse_to_fine_adds_what_half_the_size_gained(quick: Gatys, stripes: Painting) -> None:
    content = photos(2, 40, 32)
    small = resize_to(content, (20, 16))
    settings = dataclasses.replace(quick.settings, working_size=16, painting_size=20)  # type: ignore[type-var]
    at_half = dataclasses.replace(quick, settings=settings)(small, stripes)
    expected = content + resize_to(at_half, (40, 32)) - resize_to(small, (40, 32))
    found = with_settings(quick, coarse_steps=quick.settings.steps, steps=0)(content, stripes)  # type: ignore[union-attr]
    torch.testing.assert_close(found, expected.clamp(0, 1), atol=1e-5, rtol=0)


def test_lbfgs_needs_fewer_steps_than_adam(quick: Gatys, stripes: Painting, dots: Painting) -> None:
    content, losses = photos(2, 32, 32), {}
    for optimizer, steps in (("adam", 24), ("lbfgs", 12)):
        images = with_settings(quick, optimizer=optimizer, steps=steps)(content, [stripes, dots])
        found = measure(images, content, [stripes, dots], settings=quick.settings, encoder=quick.encoder)
        losses[optimizer] = found["total_loss"]
    assert (losses["lbfgs"] < losses["adam"]).all()


def test_mask(quick: Gatys, stripes: Painting) -> None:
    style, content = with_settings(quick, steps=2), photos(3, 24, 30)
    style = dataclasses.replace(style, batch_size=2)
    plain = style(content, stripes)
    mask = torch.zeros(3, 1, 24, 30)
    mask[0], mask[1, :, :, 15:], mask[2] = 1, 1, 0.25
    found = style(content, stripes, mask=mask)
    assert torch.equal(found[0], plain[0])
    assert torch.equal(found[1, :, :, :15], content[1, :, :, :15])
    assert torch.equal(found[1, :, :, 15:], plain[1, :, :, 15:])
    torch.testing.assert_close(found[2], 0.75 * content[2] + 0.25 * plain[2])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 24, 24), r"the mask has shape \(2, 24, 24\); give one of \(2, 1, 24, 24\)"),
        (torch.ones(1, 1, 24, 24), "the mask has shape"),
        (torch.full((2, 1, 24, 24), 255.0), r"the mask must be float with values in \[0, 1\]"),
        (torch.full((2, 1, 24, 24), float("nan")), r"the mask must be float with values in \[0, 1\]"),
        (torch.ones(2, 1, 24, 24, dtype=torch.bool), r"the mask must be float with values in \[0, 1\]"),
    ],
)
def test_bad_masks(mask: Tensor, message: str, quick: Gatys, stripes: Painting) -> None:
    with pytest.raises(RobustAugError, match=message):
        quick(photos(2, 24, 24), stripes, mask=mask)


def test_where_memory_runs_out_the_batch_is_halved(
    quick: Gatys, stripes: Painting, monkeypatch: pytest.MonkeyPatch
) -> None:
    style, content, sizes = with_settings(quick, steps=1), photos(5, 24, 24), []
    expected = style(content, stripes)

    def little_memory(objective: Any, start: Tensor, *how: Any) -> Tensor:
        sizes.append(len(start))
        if len(start) > limit:
            raise torch.OutOfMemoryError("planted")
        return minimise(objective, start, *how)

    monkeypatch.setattr("robustaug.style.gatys.minimise", little_memory)
    limit = 2
    assert torch.equal(dataclasses.replace(style, batch_size=5)(content, stripes), expected)
    assert sizes == [5, 3, 2, 2, 2]  # the last one is computed as a pair
    limit = 0
    with pytest.raises(RobustAugError, match="memory runs out for a single image"):
        style(content, stripes)


def test_layers_that_the_encoder_lacks_are_one_line(quick: Gatys, stripes: Painting) -> None:
    style = dataclasses.replace(quick, settings=StyleSettings(32, 40, ("conv5_1",), ("conv1_1",), 0.1, 0.0, 1, 0.05))
    with pytest.raises(RobustAugError, match="the encoder holds no layer conv5_1"):
        style(photos(1, 32, 32), stripes)
