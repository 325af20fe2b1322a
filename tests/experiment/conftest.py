"""One finished run that the tests of this folder look at, and never write to."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from experiment_cases import coloured_squares, quick_style, quiet, tiny

from robustaug.experiment import run_experiment
from robustaug.models import Checkpoint, load_checkpoint


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of ten images."""
    return coloured_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="session")
def finished(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        quick_style(patch)
        run_experiment(tiny(squares), folder, console=quiet())
    return folder


@pytest.fixture
def copy_of_finished(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Style transfer in no time."""
    quick_style(monkeypatch)
    return lambda: quick_style(monkeypatch)


@pytest.fixture
def checkpoint(finished: Path) -> Checkpoint:
    return load_checkpoint(finished / "arms" / "clean" / "model.safetensors")
