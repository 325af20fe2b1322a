"""Small image folders, made on the spot."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write ROOT/CLASS/NN.png with different noise in each file; a class name may hold a split: "train/cat"."""

    def make(classes: Mapping[str, int], size: tuple[int, int] = (10, 12), root: Path = tmp_path / "images") -> Path:
        generator = np.random.default_rng(0)
        root.mkdir(exist_ok=True)
        for name, count in classes.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
        return root

    return make
