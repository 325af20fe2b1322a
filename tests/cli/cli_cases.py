"""The command line called in this process, and small things for it to work on."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustaug.cli import main
from robustaug.models import build_model, save_checkpoint
from robustaug.style import StyleSettings

STYLE = StyleSettings(16, 24, ("conv1_2",), ("conv1_1", "conv1_2"), 0.1, 0.0, 2, 0.05)
COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}
PROTOCOL = """
samples = 6
pgd_steps = 2
pgd_restarts = 1
noise_draws = 1
curve_samples = 4
curve_steps = 2
curve_multiples = [0, 1]
unseen_style_samples = 2
"""
CONFIG = f"""
name = "tiny"
[data]
source = "images"
[style]
held_out = 2
variants = 4
[training]
steps = 4
batch_size = 8
validate_every = 2
attack_steps = 2
[evaluation]{PROTOCOL}[arms.adversarial]
adversarial = 0.5
"""


@dataclass(frozen=True)
class Answer:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str

    def line(self) -> str:
        """The one line on standard error of a command that was refused: no traceback, no warning, no box."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("robustaug: ")
        assert "internal error" not in lines[0]
        assert "Traceback" not in self.out + self.err
        return lines[0].removeprefix("robustaug: ")


class CommandLine:
    """``robustaug ...`` without a new process."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capture = patch, capture

    def __call__(self, *arguments: object) -> Answer:
        self.patch.setattr(sys, "argv", ["robustaug", *map(str, arguments)])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        printed = self.capture.readouterr()
        return Answer(int(caught.value.code or 0), printed.out, printed.err)


def coloured_squares(root: Path, per_class: int = 8, side: int = 16) -> Path:
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            noise = generator.integers(-40, 41, (side, side, 3))
            Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(root / name / f"{number:02d}.png")
    return root


def quick_style(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("robustaug.style.gatys.settings_for", lambda height, width: STYLE)


def checkpoint(path: Path, names: tuple[str, ...] = tuple(COLOURS), **changes: Any) -> Path:
    """An untrained small CNN with changed weights, if any: name of a parameter to its new value everywhere."""
    model = build_model("small_cnn", len(names), (16, 16))
    with torch.no_grad():
        for name, value in changes.items():
            model.get_parameter(name.replace("__", ".")).fill_(value)
    save_checkpoint(path, model, class_names=names)
    return path
