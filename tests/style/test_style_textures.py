"""Textures: bytes that never change, borders that meet, few colours, and kinds that can be told apart."""

import hashlib

import pytest
import torch
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.style import StyleBank
from robustaug.style.losses import gram, style_loss
from robustaug.style.textures import KINDS, textures
from robustaug.style.vgg import VGGEncoder


@pytest.fixture(scope="module")
def made() -> list[tuple[str, Tensor]]:
    return textures(12, seed=3)


def test_the_kinds_come_in_turn_and_fewer_are_a_prefix(made: list[tuple[str, Tensor]]) -> None:
    assert [name for name, _ in made] == [f"{i:04}_{list(KINDS)[i % len(KINDS)]}" for i in range(12)]
    for (name, image), (again, same) in zip(made, textures(3, seed=3), strict=False):
        assert name == again
        assert torch.equal(image, same)
    assert all(not torch.equal(image, other) for (_, image), (_, other) in zip(made, textures(3, seed=4), strict=False))


def test_the_bytes_are_those_of_the_day_they_were_written(made: list[tuple[str, Tensor]]) -> None:
    digest = hashlib.sha256(b"".join(image.numpy().tobytes() for _, image in made)).hexdigest()
    assert digest == "a432d4d607efb10d46d6abe3620187e824ee6089964b8138f941ce8da4493c1d"


def test_each_has_two_or_three_colours_of_different_lightness(made: list[tuple[str, Tensor]]) -> None:
    for name, image in made:
        assert image.shape == (3, 256, 256)
        window = image.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)
        plain = (window == window[..., :1]).all(3).all(0)  # all but the smooth edges
        assert plain.float().mean() > 0.25, name
        colours = image[:, 1:-1, 1:-1][:, plain].unique(dim=1).double()
        assert colours.shape[1] in (2, 3), name
        lightness = (colours.amax(0) + colours.amin(0)) / 510
        assert float(lightness.max() - lightness.min()) > 0.3, name


def test_the_borders_meet(made: list[tuple[str, Tensor]]) -> None:
    for name, image in made:
        values = image.double()
        for along in (1, 2):
            inside = (values - values.roll(1, along)).abs().mean((0, 3 - along))
            assert inside[0] <= 1.5 * inside.max(), name
            # A border that does not meet would be the sharpest line of the picture.
            assert inside[0] <= max(2.5 * inside.mean(), float(inside.sort().values[-8])), name


def test_no_two_look_alike_to_the_encoder(made: list[tuple[str, Tensor]], encoder: VGGEncoder) -> None:
    small = torch.nn.functional.interpolate(
        torch.stack([image for _, image in made]).float() / 255, (64, 64), mode="area"
    )
    layers = ("conv1_1", "conv2_1")
    with torch.no_grad():
        grams = {layer: gram(value) for layer, value in encoder(small, layers).items()}
    for i in range(len(made)):
        target = {layer: value[i : i + 1].expand_as(value) for layer, value in grams.items()}
        distance = style_loss(grams, target)
        assert float(distance[i]) == 0
        assert float(distance[torch.arange(len(made)) != i].min()) > 0.05


def test_the_bank_of_textures() -> None:
    bank = StyleBank.textures(7, seed=1)
    assert len(bank) == 7
    assert bank.paintings[6].name == "0006_noise"
    training, held_out = bank.split(2)
    assert (len(training), len(held_out)) == (5, 2)
    for count in (0, 10_001):
        with pytest.raises(RobustAugError, match=f"cannot draw {count} textures"):
            StyleBank.textures(count)
