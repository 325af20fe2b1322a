"""A small encoder, two paintings with known looks, and settings that take a second."""

from pathlib import Path

import pytest
import torch
from job_cases import small_content
from style_cases import TINY

from robustaug.style import Gatys, Painting, StyleBank, StyleSettings, VGGEncoder, load_encoder


@pytest.fixture(scope="session")
def encoder() -> VGGEncoder:
    return load_encoder()


@pytest.fixture(scope="session")
def tiny(encoder: VGGEncoder) -> Gatys:
    """Two steps on two layers: all the job's logic needs."""
    return Gatys(encoder=encoder, settings=TINY, precision="float32")


@pytest.fixture(scope="session")
def quick(encoder: VGGEncoder) -> Gatys:
    settings = StyleSettings(32, 40, ("conv2_1",), ("conv1_1", "conv2_1"), 0.05, 0.0, 12, 0.06)
    return Gatys(encoder=encoder, settings=settings, precision="float32")


@pytest.fixture(scope="session")
def stripes() -> Painting:
    """Diagonal red and blue stripes."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(80), indexing="ij")
    red = ((x + y) // 4 % 2).float()
    return Painting.from_tensor(torch.stack([red, 0.2 * torch.ones_like(red), 1 - red]), "stripes")


@pytest.fixture(scope="session")
def dots() -> Painting:
    """Yellow dots on green."""
    y, x = torch.meshgrid(torch.arange(72), torch.arange(64), indexing="ij")
    dot = (((x % 12 - 6) ** 2 + (y % 12 - 6) ** 2) < 16).float()
    return Painting.from_tensor(torch.stack([dot, 0.5 + 0.4 * dot, torch.zeros_like(dot)]), "dots")


@pytest.fixture
def bank(stripes: Painting, dots: Painting) -> StyleBank:
    return StyleBank((dots, stripes))


@pytest.fixture
def content(tmp_path: Path) -> Path:
    return small_content(tmp_path / "content")
