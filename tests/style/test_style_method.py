"""What every method shares: a strength for each image, blends."""

import pytest
import torch
from style_cases import photos

from robustaug.errors import RobustAugError
from robustaug.style import Blend, Gatys, Painting
from robustaug.style.gatys import measure


def test_each_image_has_its_own_strength(quick: Gatys, stripes: Painting) -> None:
    content, strengths = photos(4, 24, 24), [0.0, 0.3, 1.0, 0.0]
    together = quick(content, stripes, strength=torch.tensor(strengths))
    alone = [quick(content[i : i + 1], stripes, strength=strength) for i, strength in enumerate(strengths)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together[[0, 3]], content[[0, 3]])
    assert not torch.equal(together[1], together[2])


@pytest.mark.parametrize("strength", [torch.ones(3), torch.tensor([0.5, 1.1]), torch.tensor([0.5, float("nan")]), -0.1])
def test_bad_strengths(quick: Gatys, stripes: Painting, strength: float | torch.Tensor) -> None:
    with pytest.raises(RobustAugError, match="strength"):
        quick(photos(2, 24, 24), stripes, strength=strength)


def test_a_blend_lies_between_its_paintings(quick: Gatys, stripes: Painting, dots: Painting) -> None:
    """The result's distance to each painting's Gram matrices follows the weights."""
    content = photos(1, 32, 32)
    losses = [
        float(measure(quick(content, Blend((stripes, dots), (weight, 1 - weight))), content, stripes)["style_loss"])
        for weight in (0.1, 0.5, 0.9)
    ]
    assert losses[0] > losses[1] > losses[2]


def test_a_blend_of_one_is_its_painting(quick: Gatys, stripes: Painting) -> None:
    content = photos(2, 24, 24)
    assert torch.equal(quick(content, Blend((stripes,), (3.0,))), quick(content, stripes))
    assert Blend((stripes,), (3.0,)).weights == (1.0,)


def test_bad_blends(stripes: Painting, dots: Painting) -> None:
    for paintings, weights, words in (
        ((), (), "0 paintings"),
        ((stripes, dots), (1.0,), "1 weights"),
        ((stripes, stripes), (1.0, 1.0), "twice"),
        ((stripes, dots), (1.0, 0.0), "above 0"),
        ((stripes, dots), (1.0, float("nan")), "above 0"),
    ):
        with pytest.raises(RobustAugError, match=words):
            Blend(paintings, weights)
