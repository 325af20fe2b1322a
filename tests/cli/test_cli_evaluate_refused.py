"""What ``evaluate`` and ``report`` refuse from the command line: one line each, and no folder is left behind."""

import shutil
from pathlib import Path

import pytest
import torch
from cli_cases import CommandLine
from torch import Tensor, nn

HOSTILE = "<script>alert(1)<script>"  # what a folder can be called


class Scripted(nn.Module):
    """Loads, and cannot run: its weight is of another shape than any image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 3))

    def forward(self, images: Tensor) -> Tensor:
        return images @ self.weight


def refused(cli: CommandLine, *arguments: object) -> str:
    answer = cli(*arguments)
    assert answer.code == 2
    return answer.line()


def test_a_torchscript_file_that_cannot_run(cli: CommandLine, work: Path) -> None:
    torch.jit.save(torch.jit.script(Scripted()), work / "broken.pt")
    line = refused(cli, "evaluate", "broken.pt", "images", "--out", "out")
    assert "broken.pt cannot be run on a batch of 1 images of 3x16x16" in line
    assert not (work / "out").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[attacks]]\nattack = 'autoatack'", "attack 'autoatack' is unknown; did you mean 'autoattack'?"),
        ("conflict_method = 'magic'", "'conflict_method' = 'magic'"),
        ("conflict_samples = -1", "conflict_samples is -1; it must be at least 0"),
    ],
)
def test_a_protocol_of_ones_own_that_is_wrong(cli: CommandLine, work: Path, text: str, told: str) -> None:
    (work / "mine.toml").write_text(text)
    line = refused(cli, "evaluate", "model.safetensors", "images", "--protocol", "mine.toml", "--out", "out")
    assert line.startswith("mine.toml: ")
    assert told in line
    assert not (work / "out").exists()


def test_data_without_some_class(cli: CommandLine, work: Path) -> None:
    shutil.rmtree(work / "images" / "red")
    line = refused(cli, "evaluate", "model.safetensors", "images", "--out", "out")
    assert "knows 3 classes, the data has 2" in line
    assert not (work / "out").exists()


def test_a_report_folder_from_a_newer_version(cli: CommandLine, work: Path) -> None:
    (work / "newer").mkdir()
    (work / "newer" / "report.json").write_text('{"schema_version": 99}')
    line = refused(cli, "report", "newer")
    assert "has schema version 99, this robustaug reads up to 1; update robustaug" in line
    assert not (work / "newer" / "report.html").exists()


def test_classes_that_are_html_are_shown_as_text(cli: CommandLine, work: Path) -> None:
    """A folder may be called so; the model is the function of a file, whose classes have no names."""
    (work / "images" / "red").rename(work / "images" / HOSTILE)
    (work / "cli_refused_models.py").write_text(
        "import torch\nfrom robustaug.models import load_checkpoint\n"
        "def network(): return load_checkpoint('model.safetensors').model\n"
    )
    (work / "tiny.toml").write_text(
        "samples = 3\npgd_steps = 1\npgd_restarts = 1\nnoise_draws = 1\ncurve_samples = 2\ncurve_steps = 1\n"
        "curve_multiples = [0, 1]\nunseen_style_samples = 1\n"
    )
    answer = cli(
        "evaluate", "cli_refused_models:network", "images", "--protocol", "tiny.toml", "--out", "out", "--size", 16
    )
    assert (answer.code, answer.err) == (0, "")
    page = (work / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in (work / "out" / "summary.md").read_text(encoding="utf-8")
