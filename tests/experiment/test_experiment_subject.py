"""What a checkpoint is measured on by default: never on images that it was trained with."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from experiment_cases import coloured_squares

from robustaug.attacks import ThreatModel
from robustaug.data import load_data, load_images
from robustaug.errors import RobustAugError
from robustaug.evaluation.checks import pixel_hashes
from robustaug.experiment.subject import check_subject, load_subject, threat_of
from robustaug.models import Checkpoint, build_model


def trained(checkpoint: Checkpoint, root: Path, **changes: Any) -> Checkpoint:
    """As if trained on a folder, with these settings of the data section."""
    options = {"size": None, "limit": None, "validation_share": 0.1, "test_share": 0.2, "seed": 3} | changes
    data = load_data(str(root), **options)
    return dataclasses.replace(
        checkpoint, extra={"data": options | {"name": data.name, "fingerprint": data.fingerprint}}
    )


def test_the_flat_folder_it_was_trained_on(checkpoint: Checkpoint, squares: Path) -> None:
    images, skipped, split = load_subject(checkpoint, str(squares))
    data = load_data(str(squares), seed=3)
    assert (split, skipped) == ("test", ())
    assert images.keys == data.test.keys
    # A copy of it elsewhere is the same data.
    assert load_subject(checkpoint, f"{squares}/../squares")[0].keys == data.test.keys


@pytest.mark.parametrize("limit_then", [None, 6])
@pytest.mark.parametrize("limit_now", [None, 4, 8])
def test_a_limit_lets_no_training_image_in(
    checkpoint: Checkpoint, squares: Path, limit_then: int | None, limit_now: int | None
) -> None:
    then = load_data(str(squares), seed=3, limit=limit_then)
    images, _, split = load_subject(trained(checkpoint, squares, limit=limit_then), str(squares), limit=limit_now)
    assert split == "test"
    assert len(images) > 0
    assert not set(images.keys) & (set(then.train.keys) | set(then.validation.keys))


def test_its_own_shares_and_seed(checkpoint: Checkpoint, squares: Path) -> None:
    options = {"seed": 11, "test_share": 0.4, "validation_share": 0.2}
    images, _, _ = load_subject(trained(checkpoint, squares, **options), str(squares))
    assert images.keys == load_data(str(squares), **options).test.keys  # type: ignore[arg-type]
    assert len(images) == 12


def test_the_test_part_of_a_table(checkpoint: Checkpoint, squares: Path, tmp_path: Path) -> None:
    """A column ``split`` brings the part as a folder ``test`` does; a folder of that name does not beside a table."""
    root = tmp_path / "photos"
    shutil.copytree(squares, root / "test")
    keys = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    split_of = {key: ("train", "test")[number % 2] for number, key in enumerate(keys)}
    shutil.copyfile(root / keys[0], root / "more.png")  # so that not every path begins with a part
    for head, last, expected in (
        ("path,label,split", "more.png,red,train", {key for key, split in split_of.items() if split == "test"}),
        ("path,label,note", "more.png,red,train", {*keys, "more.png"}),
    ):
        rows = [f"{key},{key.split('/')[1]},{split}" for key, split in split_of.items()]
        (tmp_path / "labels.csv").write_text("\n".join([head, *rows, last]))
        images, _, split = load_subject(checkpoint, str(root), labels=tmp_path / "labels.csv")
        assert set(images.keys) == expected
        assert split == ("test" if head.endswith("split") else "all")


def test_another_folder_is_taken_whole(checkpoint: Checkpoint, tmp_path: Path) -> None:
    other = coloured_squares(tmp_path / "other", per_class=4, seed=9)
    images, _, split = load_subject(checkpoint, str(other))
    assert (len(images), split) == (12, "all")
    assert load_subject(dataclasses.replace(checkpoint, extra={}), str(other))[2] == "all"
    assert len(load_subject(checkpoint, str(other), limit=2)[0]) == 6


def test_its_folder_with_changed_files_is_refused(checkpoint: Checkpoint, squares: Path, tmp_path: Path) -> None:
    """Which images were for training cannot be told any more: a number on all of them would be a lie."""
    root = tmp_path / "squares"
    shutil.copytree(squares, root)
    own = trained(checkpoint, root)
    shutil.copy(root / "red" / "00.png", root / "red" / "new.png")
    with pytest.raises(
        RobustAugError, match=r"have changed since .* was trained on them, so its test part is not known"
    ):
        load_subject(own, str(root))
    assert len(load_subject(own, str(root), split="all")[0]) == 31


def test_a_folder_with_a_test_part(checkpoint: Checkpoint, tmp_path: Path) -> None:
    coloured_squares(tmp_path / "tree" / "train", per_class=5)
    coloured_squares(tmp_path / "tree" / "test", per_class=2, seed=1)
    images, _, split = load_subject(checkpoint, str(tmp_path / "tree"))
    assert (len(images), split) == (6, "test")
    assert all(key.startswith("test/") for key in images.keys)
    assert len(load_subject(checkpoint, str(tmp_path / "tree"), split="all")[0]) == 21


def test_a_named_set(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint) -> None:
    asked: list[str] = []

    def load(source: str, **options: Any) -> Any:
        asked.append(options["split"])
        return load_data(str(squares), seed=3).test, ()

    monkeypatch.setattr("robustaug.experiment.subject.load_images", load)
    assert load_subject(checkpoint, "mnist5k")[2] == "test"
    assert asked == ["test"]


def test_an_explicit_part_is_obeyed(checkpoint: Checkpoint, squares: Path) -> None:
    data = load_data(str(squares), seed=3)
    assert load_subject(checkpoint, str(squares), split="train")[0].keys == data.train.keys
    assert load_subject(checkpoint, str(squares), split="validation")[0].keys == data.validation.keys
    assert len(load_subject(checkpoint, str(squares), split="all")[0]) == 30


def test_images_come_in_the_size_of_the_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    large = coloured_squares(tmp_path / "large", per_class=2, size=(40, 30))
    assert load_subject(checkpoint, str(large))[0].images.shape[2:] == (16, 16)


def test_data_that_does_not_fit(checkpoint: Checkpoint, tmp_path: Path) -> None:
    wide = dataclasses.replace(checkpoint, model=build_model("small_cnn", 3, (16, 24)), image_size=(16, 24), extra={})
    square = coloured_squares(tmp_path / "square", per_class=2, size=(20, 20))
    with pytest.raises(RobustAugError, match="takes 3x16x24 images, these are 3x20x20; load the data at 16x24 px"):
        load_subject(wide, str(square))
    shutil.rmtree(square / "red")
    with pytest.raises(RobustAugError, match="knows 3 classes, the data has 2"):
        load_subject(checkpoint, str(square))
    (square / "green").rename(square / "pink")
    shutil.copytree(square / "blue", square / "aqua")
    with pytest.raises(RobustAugError, match="has class 'blue' where the data has 'aqua'"):
        load_subject(checkpoint, str(square))


def test_training_images_are_found_in_any_folder(checkpoint: Checkpoint, squares: Path) -> None:
    data = load_data(str(squares), seed=3)
    known = dataclasses.replace(checkpoint, extra={"data": {"training_images": pixel_hashes(data.train)}})
    (clean,) = check_subject(known, data.test)
    assert clean.passed
    (leaking,) = check_subject(known, load_images(str(squares))[0])
    assert not leaking.passed
    assert leaking.detail.startswith(f"{len(data.train)} of ")
    assert check_subject(dataclasses.replace(checkpoint, extra={}), data.test) == []


def test_the_threat_is_the_trained_one_unless_named(checkpoint: Checkpoint) -> None:
    trained_for = dataclasses.replace(checkpoint, extra={"threat": {"norm": "linf", "eps": 0.2, "bounds": [0, 1]}})
    assert threat_of(trained_for, None, None) == ThreatModel("linf", 0.2)
    assert threat_of(trained_for, "linf", "4/255") == ThreatModel("linf", 4 / 255)
    assert threat_of(trained_for, "l2", "1.5") == ThreatModel("l2", 1.5)
    with pytest.raises(RobustAugError, match=r"--norm l2 needs an --eps: .* was trained for linf"):
        threat_of(trained_for, "l2", None)
