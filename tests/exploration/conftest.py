"""Small photographs, made on the spot: smooth random light and softer colours with noise on them, no two alike."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

Photos = Callable[..., list[Image.Image]]
WriteFolder = Callable[..., Path]


@pytest.fixture
def photos() -> Photos:
    def make(count: int, seed: int = 0, side: int = 32) -> list[Image.Image]:
        generator = torch.Generator().manual_seed(seed)
        luma = F.interpolate(torch.rand(count, 1, 6, 6, generator=generator), (side, side), mode="bicubic")
        tint = F.interpolate(torch.rand(count, 3, 2, 2, generator=generator) - 0.5, (side, side), mode="bilinear")
        noisy = luma + 0.4 * tint + 0.03 * torch.randn(luma.shape, generator=generator)
        pixels = (noisy.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(np.ascontiguousarray(image)) for image in pixels]

    return make


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Write ROOT/NAME/NNN.png for each name, which may hold a part: "train/cat"."""

    def write(classes: dict[str, list[Image.Image]], root: Path = tmp_path / "data") -> Path:
        for name, images in classes.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                image.save(root / name / f"{number:03}.png")
        return root

    return write
