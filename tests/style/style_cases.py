"""Images and settings that the tests of this folder share."""

import dataclasses

import torch

from robustaug.style import Gatys, StyleSettings

TINY = StyleSettings(16, 24, ("conv1_2",), ("conv1_1", "conv1_2"), 0.1, 0.0, 2, 0.05)


def photos(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth random images, float (n, 3, height, width) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 5, 5, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def with_settings(style: Gatys, **changes: object) -> Gatys:
    assert style.settings is not None
    return dataclasses.replace(style, settings=dataclasses.replace(style.settings, **changes))  # type: ignore[arg-type]
