"""A folder of coloured squares, an experiment of seconds, and ways to compare two runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from robustaug.experiment import ExperimentConfig
from robustaug.experiment.config import parse_config
from robustaug.files import read_json
from robustaug.style import StyleSettings

COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}
STYLE = StyleSettings(16, 24, ("conv1_2",), ("conv1_1", "conv1_2"), 0.1, 0.0, 2, 0.05)


def coloured_squares(root: Path, per_class: int = 10, size: tuple[int, int] = (16, 16), seed: int = 0) -> Path:
    """Write ROOT/COLOUR/NN.png, noisy squares."""
    generator = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            noise = generator.integers(-40, 41, (size[1], size[0], 3))
            Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(root / name / f"{number:02d}.png")
    return root


def tiny(source: Path, **changes: Any) -> ExperimentConfig:
    """Four arms of four steps each; ``changes`` are texts KEY=VALUE under their key with ``__`` for the dot."""
    content: dict[str, Any] = {
        "name": "tiny",
        "seed": 3,
        "data": {"source": str(source)},
        "threat": {"eps": 0.1},
        "style": {"held_out": 2, "variants": 4},
        "training": {"steps": 4, "batch_size": 8, "validate_every": 2, "attack_steps": 2},
        "evaluation": {
            "samples": 6, "pgd_steps": 2, "pgd_restarts": 2, "noise_draws": 2, "curve_samples": 4, "curve_steps": 2,
            "curve_multiples": [0, 1, 4], "unseen_style_samples": 3,
        },
    }  # fmt: skip
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return parse_config(content, "tiny.toml", overrides)


def quick_style(patch: pytest.MonkeyPatch) -> None:
    """Two steps of style transfer on two layers."""
    patch.setattr("robustaug.style.gatys.settings_for", lambda height, width: STYLE)
    patch.setattr("robustaug.style.gatys.SETTINGS", ((1024, STYLE),))


def quiet() -> Console:
    return Console(quiet=True)


TIMES = ("seconds", "energy", "images_per_second", "created")


def numbers(folder: Path) -> dict[str, Any]:
    """A run's report without its times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(entry) for key, entry in value.items() if key not in TIMES}
        return [timeless(entry) for entry in value] if isinstance(value, list) else value

    report: dict[str, Any] = timeless(read_json(folder / "report.json"))
    return report


def models(folder: Path) -> dict[str, bytes]:
    """The bytes of every arm's model."""
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("arms/*/model.safetensors"))}


def tree(folder: Path, pattern: str = "**/*.png") -> dict[str, bytes]:
    """Bytes by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.glob(pattern))}
