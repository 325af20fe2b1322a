"""A folder to work in, with images, a configuration and a checkpoint; and the command line."""

from pathlib import Path

import pytest
from cli_cases import CONFIG, CommandLine, checkpoint, coloured_squares, quick_style


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.setenv("COLUMNS", "120")
    return CommandLine(monkeypatch, capfd)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: images/, job.toml, model.safetensors."""
    quick_style(monkeypatch)
    monkeypatch.chdir(tmp_path)
    coloured_squares(tmp_path / "images")
    (tmp_path / "job.toml").write_text(CONFIG)
    checkpoint(tmp_path / "model.safetensors")
    return tmp_path
