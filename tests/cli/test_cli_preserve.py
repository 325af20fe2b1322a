"""``robustaug preserve``: what it prints and writes, and what it refuses."""

import json
from pathlib import Path

import pytest
from cli_cases import CommandLine, coloured_squares

from robustaug.experiment import preserve_job
from robustaug.training import TrainingSettings


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preserve_job, "TRAINING", TrainingSettings(steps=30, batch_size=12, validate_every=10))


def test_a_measurement_from_images_alone(cli: CommandLine, work: Path, quick_training: None) -> None:
    coloured_squares(work / "images", per_class=20)
    (work / "images" / "red" / "notes.txt").write_text("not an image")
    first = cli("preserve", "images", "--samples", 6, "--out", "kept")
    assert first.code == 1  # one file could not be used
    assert "notes.txt: not an image file" in first.err
    content = json.loads((work / "kept" / "preservation.json").read_text())
    assert content["part"] == "test"
    assert [point["n"] for point in content["kept"]] == [6] * 5
    for point in content["kept"]:
        assert f"{100 * point['value']:.1f} [{100 * point['low']:.1f}" in first.out
    best = content["recommended_strength"]
    said = "No strength above 0 keeps 90%" if best is None else f"Recommended: --strength {best:g}, the largest"
    assert said in first.out
    assert (work / "kept" / "preservation.svg").exists()
    assert len(list((work / "kept" / "variants").rglob("*.png"))) >= 24
    again = cli("preserve", "images", "--samples", 6, "--out", "kept")
    assert again.out == first.out


def test_refusals(cli: CommandLine, work: Path) -> None:
    guesses = cli("preserve", "images", "--checkpoint", "model.safetensors", "--out", "new")
    assert "too little to judge by" in guesses.line()
    assert "lies inside the image folder" in cli("preserve", "images", "--out", "images/new").line()
    assert "there is no folder of paintings" in cli("preserve", "images", "--styles", "none", "--out", "new").line()
    assert "--decoder goes with --method adain" in cli("preserve", "images", "--decoder", "x", "--out", "new").line()
    assert "share of labels" in cli("preserve", "images", "--keep", "2", "--out", "another").line()
    assert "neither a known data set nor a folder" in cli("preserve", "imagse", "--out", "third").line()
    for name in ("new", "another", "third"):
        assert not (work / name).exists()
