"""A flat folder of images and a table of labels, through every step: the labels are the table's all the way."""

import csv
import shlex
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from cli_cases import PROTOCOL, CommandLine

from robustaug.data import ImageSet, load_data
from robustaug.files import read_json, read_jsonl

OPTIONS = ("--labels", "labels.csv")
CLASSES = {"blue": 8, "green": 8, "red": 8}


@pytest.fixture
def label_of(work: Path) -> dict[str, str]:
    """Writes photos/NNN.png and labels.csv in place of images/; the class of each file."""
    (work / "photos").mkdir()
    label_of = {}
    for number, path in enumerate(sorted(work.glob("images/*/*.png"), key=lambda path: path.read_bytes())):
        label_of[f"{number:03}.png"] = path.parent.name
        path.rename(work / "photos" / f"{number:03}.png")
    write(work, label_of)
    (work / "flips.toml").write_text('techniques = ["horizontal_flip"]\n')
    return label_of


def write(folder: Path, label_of: dict[str, str]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *label_of.items()])


def named(images: ImageSet) -> dict[str, str]:
    return {key: images.class_names[label] for key, label in zip(images.keys, images.labels.tolist(), strict=True)}


def test_explore_tells_the_classes_and_its_recipe_has_the_table(
    cli: CommandLine, work: Path, label_of: dict[str, str]
) -> None:
    answer = cli("explore", "photos", "--out", "seen", *OPTIONS)
    assert (answer.code, answer.err) == (0, "")
    assert "24 images in 3 classes (24 all); all classes are of one size." in answer.out
    counts = read_json(work / "seen" / "explore.json")["counts"]["by_class"]
    assert {name: sum(parts.values()) for name, parts in counts.items()} == CLASSES
    section = tomllib.loads((work / "seen" / "recipe.toml").read_text())["data"]
    assert section["labels"] == str((work / "labels.csv").resolve())
    found = load_data(section["source"], labels=Path(section["labels"]))
    assert named(found.train) | named(found.validation) | named(found.test) == label_of


def test_variants_and_the_larger_data_set(cli: CommandLine, work: Path, label_of: dict[str, str]) -> None:
    answer = cli("augment", "photos", "made", "--recipe", "flips.toml", *OPTIONS)
    assert (answer.code, answer.err) == (0, "")
    rows = read_jsonl(work / "made" / "manifest.jsonl")
    assert {row["source"]: row["label"] for row in rows} == label_of
    assert all(row["path"] == f"{row['label']}/{Path(row['source']).stem}__augmented-1.png" for row in rows)
    assert cli("augment", "photos", "made", "--recipe", "flips.toml", *OPTIONS).out.startswith("Nothing to do")
    attacked = ("attack", "model.safetensors", "photos", "--steps", 1, "--out", "attacked", *OPTIONS)
    assert cli(*attacked).code == 0
    assert cli("stylize", "photos", "styled", "--set", "steps=1", "--size", 16, *OPTIONS).code == 0
    composing = ("compose", "photos", "larger", *OPTIONS)
    for folder in ("made", "attacked", "styled"):
        composing += ("--variants", folder)
    answer = cli(*composing)
    assert (answer.code, answer.err) == (0, "")
    larger, data = load_data("larger"), load_data("photos", labels=work / "labels.csv")
    assert Counter(larger.class_names[label] for label in larger.train.labels.tolist()) == {
        name: 4 * count for name, count in Counter(named(data.train).values()).items()
    }
    for row in read_jsonl(work / "larger" / "manifest.jsonl"):
        assert row["label"] == label_of[row["source"]]
        assert row["path"].split("/")[1] == row["label"]
    assert {key.split("/")[-1] for key in larger.test.keys} == set(data.test.keys)
    card = (work / "larger" / "DATACARD.md").read_text()
    assert "--labels labels.csv" in card
    assert cli(*composing).out == answer.out


def test_a_changed_label_is_another_job(cli: CommandLine, work: Path, label_of: dict[str, str]) -> None:
    jobs = [
        ("augment", "photos", "made", "--recipe", "flips.toml", *OPTIONS),
        ("stylize", "photos", "styled", "--set", "steps=1", "--size", 16, *OPTIONS),
        ("attack", "model.safetensors", "photos", "--steps", 1, "--out", "attacked", *OPTIONS),
    ]
    for job in jobs:
        assert cli(*job).code == 0
    other = next(key for key, label in label_of.items() if label != label_of["000.png"])
    write(work, label_of | {"000.png": label_of[other], other: label_of["000.png"]})
    for job in jobs:
        assert "holds another job (its content differ)" in cli(*job).line()
    assert "has label" in cli("compose", "photos", "larger", "--variants", "made", *OPTIONS).line()


def test_train_run_and_evaluate(cli: CommandLine, work: Path, label_of: dict[str, str]) -> None:
    source = ("--set", "data.source=photos", "--set", "data.labels=labels.csv")
    trained = cli("train", "job.toml", *source)
    assert trained.code == 0, trained.err
    words = shlex.split(trained.out.splitlines()[-1].removeprefix("Next: "))
    assert words[3:] == ["photos", "--labels", "labels.csv"]
    ran = cli("run", "job.toml", *source, "--resume")
    assert ran.code == 0, ran.err
    assert read_json(work / "runs" / "job" / "report.json")["data"]["classes"] == list(CLASSES)
    assert tomllib.loads((work / "runs" / "job" / "config.toml").read_text())["data"]["labels"] == "labels.csv"
    (work / "protocol.toml").write_text(PROTOCOL)
    answer = cli(*words[1:], "--protocol", "protocol.toml", "--out", "measured")
    assert answer.code == 0, answer.err
    told = read_json(work / "measured" / "report.json")
    assert told["data"]["split"] == "test"  # the very images that the run left out
    assert told["config"]["given"]["--labels"] == "labels.csv"
    arm = read_json(work / "runs" / "job" / "report.json")["arms"]["adversarial"]
    assert told["arms"]["adversarial"]["metrics"]["clean"] == arm["metrics"]["clean"]
    other = next(key for key, label in label_of.items() if label != label_of["000.png"])
    write(work, label_of | {"000.png": label_of[other], other: label_of["000.png"]})
    assert "the images or their labels have changed since the run" in cli("run", "job.toml", *source, "--resume").line()


def test_every_command_refuses_labels_that_miss_files(cli: CommandLine, work: Path, label_of: dict[str, str]) -> None:
    write(work, {key: label for key, label in label_of.items() if key > "001.png"})
    line = (
        "labels.csv has no row for 2 of the 24 images in photos, the first is 000.png; add a row for each, with its "
        "path below the folder"
    )
    for words in (
        ("explore", "photos", "--out", "out"),
        ("augment", "photos", "out", "--recipe", "flips.toml"),
        ("stylize", "photos", "out"),
        ("attack", "model.safetensors", "photos", "--out", "out"),
        ("evaluate", "model.safetensors", "photos", "--out", "out"),
        ("preserve", "photos", "--out", "out"),
        ("compose", "photos", "out", "--variants", "made"),
    ):
        assert cli(*words, *OPTIONS).line() == line
    for command in ("run", "train"):
        answer = cli(
            command, "job.toml", "--out", "out", "--set", "data.source=photos", "--set", "data.labels=labels.csv"
        )
        assert answer.line() == line
    assert not any((work / "out").glob("*"))
    assert cli("explore", "photos").line().endswith("or ROOT/train/CLASS/image.png, or give a table of labels")
    assert cli("augment", "photos", "bare", "--recipe", "flips.toml").code == 0  # content may have no classes
    write(work, label_of)
    refused = cli("compose", "photos", "out", "--variants", "bare", *OPTIONS).line()
    assert refused.endswith("a variant keeps its source's label: make the variants with the same labels")
    assert "mnist5k brings its labels" in cli("explore", "mnist5k", *OPTIONS).line()
