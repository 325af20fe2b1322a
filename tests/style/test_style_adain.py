"""AdaIN: statistics in closed form, independence of the batch, what the embedded decoder makes, every bad file."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from style_cases import photos
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.style import AdaIN, Blend, Painting, StyleBank, TargetCache, VGGEncoder
from robustaug.style.decoder import (
    EMBEDDED_DECODER,
    Decoder,
    Statistics,
    adain,
    load_decoder,
    save_decoder,
    statistics,
)
from robustaug.style.losses import content_loss, gram, style_loss

LAYERS = ("conv1_1", "conv2_1", "conv3_1")


@pytest.fixture(scope="module")
def fast(encoder: VGGEncoder) -> AdaIN:
    return AdaIN(encoder=encoder, precision="float32")


def test_statistics_are_mean_and_deviation_over_positions() -> None:
    features = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    found = statistics(features)
    assert found.mean.flatten().tolist() == [4, 2]
    assert found.std.flatten().tolist() == pytest.approx([5**0.5, 1e-5**0.5], rel=1e-4)


def test_adain_gives_features_the_styles_statistics() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 5, 6, 7, generator=generator) * 4 + 1
    style = Statistics(torch.randn(3, 5, 1, 1, generator=generator), torch.rand(3, 5, 1, 1, generator=generator) + 0.5)
    moved = adain(features, style, torch.tensor([1.0, 0.0, 0.25]))
    found = statistics(moved)
    assert torch.allclose(found.mean[0], style.mean[0], atol=1e-4)
    assert torch.allclose(found.std[0], style.std[0], atol=1e-4)
    assert torch.allclose(moved[1], features[1])
    whole = adain(features, style, torch.ones(3))
    assert torch.allclose(moved[2], 0.75 * features[2] + 0.25 * whole[2], atol=1e-4)  # equation 14


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(28, 28), (33, 47), (80, 89)])
def test_bytes_do_not_depend_on_the_batch(
    encoder: VGGEncoder, stripes: Painting, dots: Painting, precision: Any, size: tuple[int, int]
) -> None:
    style = AdaIN(encoder=encoder, precision=precision)
    content, paintings, strengths = photos(5, *size), [stripes, dots, stripes, dots, dots], torch.linspace(0.2, 1, 5)
    together = style(content, paintings, strength=strengths)
    assert together.shape == content.shape
    alone = [style(content[i : i + 1], paintings[i], strength=float(strengths[i])) for i in range(5)]
    assert torch.equal(torch.cat(alone), together)
    assert torch.equal(dataclasses.replace(style, batch_size=2)(content, paintings, strength=strengths), together)


def test_statistics_of_paintings_are_kept_and_change_nothing(fast: AdaIN, stripes: Painting, dots: Painting) -> None:
    content, cache = photos(2, 24, 24), TargetCache()
    first = fast(content, [stripes, dots], cache=cache)
    assert len(cache.targets) == 2
    assert torch.equal(fast(content, [stripes, dots], cache=cache), first)
    assert torch.equal(fast(content, [stripes, dots]), first)
    fast(photos(1, 80, 80), stripes, cache=cache)  # another size of strokes
    dataclasses.replace(fast, color="luminance")(content, stripes, cache=cache)
    assert len(cache.targets) == 4


@pytest.mark.parametrize("size", [64, 128])
def test_the_embedded_decoder_makes_style_and_keeps_content(fast: AdaIN, size: int) -> None:
    """The style loss falls to less than half of the content's; the content stays nearer than a stranger."""
    content, paintings = photos(4, size, size), StyleBank.embedded().paintings[:4]
    stylised = fast(content, paintings)
    pictures = torch.cat([fast._picture(painting, round(1.5 * size), content.device)[:, :, :size, :size]
                          for painting in paintings])  # fmt: skip
    targets = {layer: gram(features) for layer, features in fast.encoder(pictures, LAYERS).items()}

    def distance(images: Tensor) -> Tensor:
        return style_loss({layer: gram(value) for layer, value in fast.encoder(images, LAYERS).items()}, targets)

    def loss(images: Tensor) -> Tensor:
        deep = ["conv3_1"]
        return content_loss(fast.encoder(images, deep)["conv3_1"], fast.encoder(content, deep)["conv3_1"])

    assert (distance(stylised) < distance(content) / 2).all()
    assert (loss(stylised) < loss(content.roll(1, 0))).all()
    assert (distance(fast(content, paintings, strength=0.5)) > distance(stylised)).all()


def test_little_strength_changes_little(fast: AdaIN, stripes: Painting) -> None:
    content = photos(2, 64, 64)
    changes = [(fast(content, stripes, strength=s) - content).abs().mean() for s in (0.02, 0.5, 1.0)]
    assert changes[0] < changes[1] < changes[2]
    assert changes[0] < 0.05


def test_a_blend_of_two_lies_between(fast: AdaIN, stripes: Painting, dots: Painting) -> None:
    content = photos(1, 64, 64)
    mixed = [fast(content, Blend((stripes, dots), (w, 1 - w))) for w in (0.01, 0.5, 0.99)]
    pure = fast(content, dots), fast(content, stripes)
    assert (mixed[0] - pure[0]).abs().mean() < (mixed[1] - pure[0]).abs().mean() < (mixed[2] - pure[0]).abs().mean()
    assert (mixed[2] - pure[1]).abs().mean() < 0.02


def test_bfloat16_agrees_with_float32(encoder: VGGEncoder, fast: AdaIN, stripes: Painting) -> None:
    content = photos(2, 64, 64)
    difference = (AdaIN(encoder=encoder, precision="bfloat16")(content, stripes) - fast(content, stripes)).abs()
    assert difference.mean() < 0.01


def test_the_embedded_decoder_is_small_and_for_the_embedded_encoder(encoder: VGGEncoder) -> None:
    from importlib.resources import files  # noqa: PLC0415

    assert len((files("robustaug.style") / "assets" / EMBEDDED_DECODER).read_bytes()) <= 8e6
    assert load_decoder(encoder=encoder.fingerprint).level == "conv3_1"


def test_a_decoder_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    decoder = Decoder("conv3_1").half().float()
    save_decoder(decoder, tmp_path / "d.safetensors", encoder="e")
    found = load_decoder(tmp_path / "d.safetensors", encoder="e")
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in decoder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_bad_decoders(tmp_path: Path, encoder: VGGEncoder) -> None:
    save_decoder(Decoder(), tmp_path / "other.safetensors", encoder="another")
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    save_file(
        {"x": torch.zeros(2)}, tmp_path / "wrong.safetensors", metadata={"robustaug_decoder": '{"level": "conv3_1"}'}
    )
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:900])
    for name, words in (
        ("missing.safetensors", "there is no decoder"),
        ("other.safetensors", "another encoder"),
        ("foreign.safetensors", "no decoder of this program"),
        ("wrong.safetensors", "cannot read the decoder"),
        ("torn.safetensors", "cannot read the decoder"),
    ):
        with pytest.raises(RobustAugError, match=words) as caught:
            AdaIN(encoder=encoder, decoder=tmp_path / name)(photos(1, 32, 32), photos(1, 32, 32)[0])
        assert "\n" not in str(caught.value)
    with pytest.raises(RobustAugError, match="cannot start at 'conv5_1'"):
        Decoder("conv5_1")
