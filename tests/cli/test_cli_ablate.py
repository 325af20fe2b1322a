"""An ablation from the command line: what it prints is what it writes, and every mistake is one line."""

from pathlib import Path

import pytest
from cli_cases import CommandLine

from robustaug.files import read_json


def test_the_tables_are_printed_as_they_are_written(
    cli: CommandLine, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustaug.experiment.pipeline.build_report", lambda path: path / "report.html")
    answer = cli("ablate", "job.toml", "--seeds", "1", "--fractions", "1", "--set", "training.steps=2")
    assert (answer.code, answer.err) == (0, "")
    folder = work / "ablations" / "job"
    written = (folder / "ablation.md").read_text(encoding="utf-8")
    assert answer.out.endswith(f"{written}\nPage: {Path('ablations') / 'job' / 'ablation.html'}\n")
    content = read_json(folder / "ablation.json")
    assert list(content["cells"]) == ["full", "without-adversarial"]
    assert (content["steps"], content["seeds"], content["arm"]) == (2, [0], "adversarial")
    assert "Cell 2 of 2: seed 0, without-adversarial" in answer.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fractions", "half"], "--fractions 'half' is no list of numbers; give for example 0.1,0.25,0.5,1"),
        (["--fractions", ""], "--fractions '' is no list of numbers"),
        (["--fractions", "nan"], "a fraction of nan is no share of the originals"),
        (["--fractions", "10,25"], "a fraction of 10 is no share of the originals"),
        (["--fractions", "0.1"], "a fraction of 0.1 leaves 3 training images, fewer than the 8 of a batch"),
        (["--seeds", "0"], "Invalid value for '--seeds'"),
        (["--arm", "adversary"], "there is no arm 'adversary' in the configuration; choose one of adversarial"),
        (["--set", "arms.adversarial.adversarial=0"], "arm adversarial uses no technique that could be off"),
        (["--set", "training.stesp=2"], "unknown key 'training.stesp'; the nearest known one is 'training.steps'"),
        (["--out", "images/out"], "lies inside the image folder images"),
        (["--out", "job.toml"], "job.toml is a file; choose a folder with --out"),
    ],
)
def test_every_mistake_is_one_line(cli: CommandLine, work: Path, options: list[str], message: str) -> None:
    answer = cli("ablate", "job.toml", *options)
    assert answer.code == 2
    assert message in answer.line()
    assert not (work / "ablations" / "job" / "seed-0").exists()
