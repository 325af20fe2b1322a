"""YIQ and the content's own colours."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from robustaug.style.colour import rgb_to_yiq, to_grey, with_colours_of, yiq_to_rgb


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
