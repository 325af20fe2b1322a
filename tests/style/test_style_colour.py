"""YIQ, the content's own colours, and colours with the content's statistics."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from robustaug.style.colour import rgb_to_yiq, to_grey, with_colours_of, with_statistics_of, yiq_to_rgb


@given(seed=st.integers(0, 999))
def test_round_trip(seed: int) -> None:
    images = torch.rand(2, 3, 3, 4, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(yiq_to_rgb(rgb_to_yiq(images)), images, atol=1e-6, rtol=0)


def test_known_colours() -> None:
    white, red = torch.ones(1, 3, 1, 1), torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(rgb_to_yiq(white).flatten(), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(rgb_to_yiq(red).flatten(), torch.tensor([0.299, 0.595716, 0.211456]))
    torch.testing.assert_close(to_grey(red).flatten(), torch.full((3,), 0.299))


def test_luminance_from_one_and_chroma_from_the_other() -> None:
    generator = torch.Generator().manual_seed(0)
    content = 0.4 + 0.2 * torch.rand(2, 3, 4, 5, generator=generator)
    stylised = 0.4 + 0.2 * torch.rand(2, 3, 4, 5, generator=generator)
    mixed = rgb_to_yiq(with_colours_of(content, stylised))
    torch.testing.assert_close(mixed[:, 0], rgb_to_yiq(stylised)[:, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(mixed[:, 1:], rgb_to_yiq(content)[:, 1:], atol=1e-6, rtol=0)


@given(seed=st.integers(0, 999))
def test_statistics_of_one_and_pattern_of_the_other(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mixing = 0.5 * torch.eye(3) + torch.rand(2, 3, 3, generator=generator, dtype=torch.float64) / 6

    def picture(which: int, height: int) -> torch.Tensor:
        noise = torch.rand(3, height * 9, generator=generator, dtype=torch.float64) - 0.5
        return (0.5 + 0.3 * mixing[which] @ noise).view(1, 3, height, 9)

    content, painting = picture(0, 8), picture(1, 12)
    found = with_statistics_of(content, painting)
    for given_, expected in ((found, content), (with_statistics_of(painting, painting), painting)):
        torch.testing.assert_close(given_.mean((2, 3)), expected.mean((2, 3)))
        torch.testing.assert_close(torch.cov(given_[0].flatten(1), correction=0),
                                   torch.cov(expected[0].flatten(1), correction=0), atol=2e-6, rtol=1e-3)  # fmt: skip
    torch.testing.assert_close(with_statistics_of(painting, painting), painting, atol=1e-6, rtol=0)


def test_statistics_by_the_closed_form_of_a_diagonal() -> None:
    """Channels that vary alone: each is stretched by the ratio of deviations; symmetric roots mix no channels."""
    signs = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=torch.float64).view(1, 3, 1, 4)
    content = 0.5 + signs * torch.tensor([0.1, 0.2, 0.05], dtype=torch.float64).view(1, 3, 1, 1)
    painting = 0.4 + signs.roll(1, 1).flip(3) * 0.1
    expected = 0.5 + (painting - 0.4) * torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64).view(1, 3, 1, 1)
    torch.testing.assert_close(with_statistics_of(content, painting), expected, atol=1e-4, rtol=0)


def test_statistics_of_grey_and_of_flat_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    grey = torch.rand(1, 1, 6, 6, generator=generator).expand(1, 3, 6, 6)
    colour, flat = torch.rand(1, 3, 7, 5, generator=generator), torch.full((1, 3, 4, 4), 0.3)
    assert (with_statistics_of(grey, colour).std(1) < 2e-3).all()  # no chroma comes of none
    torch.testing.assert_close(with_statistics_of(flat, colour), torch.full((1, 3, 7, 5), 0.3), atol=5e-3, rtol=0)
    assert with_statistics_of(colour, grey).isfinite().all()
    torch.testing.assert_close(with_statistics_of(colour, flat).mean((2, 3)), colour.mean((2, 3)))
