"""``robustaug compose`` on what the other commands wrote."""

from pathlib import Path

import pytest
from cli_cases import CommandLine

from robustaug.data import load_data
from robustaug.data.decisions import DecisionLog
from robustaug.files import read_jsonl


@pytest.fixture
def attacked(cli: CommandLine, work: Path) -> Path:
    """Adversarial images of all 24 images."""
    assert cli("attack", "model.safetensors", "images", "--steps", 1, "--out", "attacked").code == 0
    return work / "attacked"


def test_stylised_and_adversarial_variants_join(cli: CommandLine, work: Path, attacked: Path) -> None:
    assert cli("stylize", "images", "stylised", "--set", "steps=1", "--size", 16).code == 0
    path = next(row["path"] for row in read_jsonl(work / "stylised" / "manifest.jsonl"))
    source = next(row["source"] for row in read_jsonl(work / "stylised" / "manifest.jsonl"))
    log = DecisionLog(work / "stylised")
    log.decide(path, "reject")
    log.close()
    answer = cli("compose", "images", "larger", "--variants", "stylised", "--variants", "attacked", "--seed", 3)
    assert answer.code == 0, answer.err
    data, larger = load_data("images", seed=3), load_data("larger")
    in_train = source in data.train.keys
    styled = len(data.train) - in_train
    assert answer.out.splitlines()[0] == (
        f"24 originals and {styled + len(data.train)} variants are in larger; see larger/DATACARD.md."
    )
    assert "attacked: " + f"{len(data.train)} variants added" in answer.out
    assert f"  {len(data.test)} left out: its source is a test image" in answer.out
    assert "  1 left out: rejected in the review" in answer.out
    assert len(larger.train) == 2 * len(data.train) + styled
    assert len(larger.test) == len(data.test)
    card = (work / "larger" / "DATACARD.md").read_text()
    assert "public domain, embedded in robustaug" in card
    assert "PGD, linf eps" in card
    again = cli("compose", "images", "larger", "--variants", "stylised", "--variants", "attacked", "--seed", 3)
    assert (again.code, again.out) == (0, answer.out)


def test_files_that_cannot_be_used_are_listed(cli: CommandLine, work: Path, attacked: Path) -> None:
    (attacked / "red" / "03.png").write_bytes(b"")
    (work / "images" / "red" / "notes.txt").write_text("")
    answer = cli("compose", "images", "larger", "--variants", "attacked")
    assert answer.code == 1
    assert answer.err.splitlines() == [
        "2 files could not be used:",
        "  images/red/notes.txt: not an image file (.txt)",
        "  attacked/red/03.png: the file is empty",
    ]
    card = (work / "larger" / "DATACARD.md").read_text()
    assert "| attacked/red/03.png | the file is empty |" in card


def test_refusals_are_one_line(cli: CommandLine, work: Path, attacked: Path) -> None:
    options = ("--variants", "attacked")
    assert "lie inside each other" in cli("compose", "images", "images/larger", *options).line()
    assert "Missing option" in cli("compose", "images", "larger").line()
    assert "is not one of" in cli("compose", "images", "larger", *options, "--layout", "zip").line()
    assert "does not exist" in cli("compose", "nowhere/images", "larger", *options).line()
    assert not (work / "larger").exists()
