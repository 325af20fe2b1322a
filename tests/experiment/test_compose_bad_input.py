"""What cannot be composed is refused in one line, before a file is written."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from compose_cases import decide, variants
from experiment_cases import coloured_squares
from PIL import Image

from robustaug.data import DataSplits, ImageSet, load_data
from robustaug.data.jobs import JobFolder
from robustaug.errors import RobustAugError
from robustaug.experiment.compose import compose
from robustaug.experiment.compose.originals import class_folders
from robustaug.files import read_jsonl, write_jsonl


@pytest.fixture
def data(squares: Path) -> DataSplits:
    return load_data(str(squares))


@pytest.fixture
def made(data: DataSplits, tmp_path: Path) -> Path:
    return variants(tmp_path / "made", data.train)


def refused(message: str, source: Path, out: Path, folders: list[Path], **options: object) -> None:
    """The call raises one line that says this, and leaves no output folder."""
    was_there = out.exists()
    with pytest.raises(RobustAugError, match=message) as error:
        compose(str(source), out, folders, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert out.exists() == was_there


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("data", "the output folder .*data and the image folder .*data are one"),
        ("data/inner", "lie inside each other"),
        (".", "lie inside each other"),
        ("made/out", "the output folder .* and the folder of variants .* lie inside each other"),
        ("made", "are one"),
    ],
)
def test_overlapping_folders(squares: Path, data: DataSplits, tmp_path: Path, out: str, message: str) -> None:
    coloured_squares(tmp_path / "data")
    refused(message, tmp_path / "data", tmp_path / out, [variants(tmp_path / "made", data.train)])


def test_one_folder_of_variants_twice(squares: Path, made: Path, tmp_path: Path) -> None:
    refused("are one", squares, tmp_path / "out", [made, tmp_path / "x" / ".." / "made"])


def edit(folder: Path, **changes: str) -> None:
    first, *rest = read_jsonl(folder / "manifest.jsonl")
    write_jsonl(folder / "manifest.jsonl", [{**first, **changes}, *rest])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"path": "../outside.png"},
            r"\.\./outside\.png lies outside the folder or goes there; only files inside it are",
        ),
        ({"path": "blue/../../made/blue/01__night.png"}, "lies outside the folder or goes there"),
        ({"path": "blue/../blue/01__night.png"}, "lies outside the folder or goes there"),
        ({"path": "blue/\0.png"}, "lies outside the folder or goes there"),
        ({"path": "./blue/01__night.png"}, "lies outside the folder or goes there"),
        ({"path": "/etc/hostname"}, "/etc/hostname lies outside the folder"),
        ({"source": "red/99.png"}, "the source red/99.png of .* is no image of .*; name the data set that"),
        ({"source_sha256": "0" * 64}, r"is not the image that .* was made of \(its SHA-256 differs\)"),
        ({"label": "green"}, "has label 'green', its source .* has 'blue'; a variant keeps its source's label"),
        ({"kind": "original"}, "is of kind 'original'; variants are stylised, classical, adversarial"),
        ({"kind": 3}, "a line has no text under 'kind'; make the variants again"),
    ],
)
def test_an_edited_manifest(squares: Path, made: Path, tmp_path: Path, changes: dict[str, str], message: str) -> None:
    (tmp_path / "outside.png").write_bytes(next(squares.glob("red/*.png")).read_bytes())
    edit(made, **changes)
    refused(message, squares, tmp_path / "out", [made])


def test_a_link_that_leads_out_of_the_folder(squares: Path, made: Path, tmp_path: Path) -> None:
    row = read_jsonl(made / "manifest.jsonl")[0]
    secret = tmp_path / "secret.png"
    (made / row["path"]).rename(secret)
    (made / row["path"]).symlink_to(secret)
    refused("lies outside the folder", squares, tmp_path / "out", [made])


def test_variants_of_another_data_set(squares: Path, tmp_path: Path) -> None:
    other = load_data(str(coloured_squares(tmp_path / "other", seed=1)))  # the same names, other pixels
    refused("its SHA-256 differs", squares, tmp_path / "out", [variants(tmp_path / "made", other.train)])


def test_decisions_about_another_manifest(squares: Path, data: DataSplits, made: Path, tmp_path: Path) -> None:
    decide(made, **{data.train.keys[0].replace("/", "_").removesuffix(".png"): "reject"})
    edit(made, strength="0.1")
    refused("decisions about another manifest.jsonl", squares, tmp_path / "out", [made])


def test_a_folder_without_variants(squares: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(
        "no variants in .*empty: manifest.jsonl is missing or empty", squares, tmp_path / "out", [tmp_path / "empty"]
    )


def stems(images: ImageSet) -> list[str]:
    return [key.replace("/", "_").removesuffix(".png") for key in images.keys]


def test_nothing_left_after_the_review(squares: Path, data: DataSplits, made: Path, tmp_path: Path) -> None:
    decide(made, **dict.fromkeys(stems(data.train), "reject"))
    message = rf"no variant of .*made is left to add \({len(data.train)}: rejected in the review\); make others"
    refused(message, squares, tmp_path / "out", [made])


def test_variants_of_test_images_alone(squares: Path, data: DataSplits, tmp_path: Path) -> None:
    made = variants(tmp_path / "made", data.test)
    refused(r"6: its source is a test image\); .* --seed that the variants'", squares, tmp_path / "out", [made])


def test_a_new_label_that_is_no_class(squares: Path, data: DataSplits, made: Path, tmp_path: Path) -> None:
    decide(made, **{stems(data.train)[0]: "pink"})
    refused("the label 'pink', which is no class of .*; it has blue, green, red", squares, tmp_path / "out", [made])


def test_classes_that_differ_only_in_case(squares: Path, made: Path, tmp_path: Path) -> None:
    source = coloured_squares(tmp_path / "data")
    (source / "red").rename(source / "RED")
    coloured_squares(source.parent / "more")
    (source.parent / "more" / "red").rename(source / "red")
    if len(list(source.iterdir())) == 4:  # a file system that tells them apart
        refused("differ only in case", source, tmp_path / "out", [made])


@pytest.mark.parametrize("names", [("cat", "Cat"), ("a/b", "a_b"), ("STRASSE", "straße")])
def test_class_names_that_would_share_a_folder(names: tuple[str, str]) -> None:
    with pytest.raises(RobustAugError, match=f"'{names[0]}' and '{names[1]}' differ only in case or in signs"):
        class_folders(["dog", *names])


def test_a_missing_library(squares: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    message = re.escape('needs the package webdataset; install it: pip install "robustaug[webdataset]"')
    refused(message, squares, tmp_path / "out", [made], layout="webdataset")


def test_a_size_for_files_that_are_copied(squares: Path, made: Path, tmp_path: Path) -> None:
    refused("copied as they are; --size is for named sets", squares, tmp_path / "out", [made], size=32)


def test_attributes_that_miss_files(squares: Path, data: DataSplits, made: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"path,camera\n{data.train.keys[0]},phone\n")
    refused("has no row for 29 of 30 images", squares, tmp_path / "out", [made], attributes=table)


def test_another_selection_into_the_same_folder(squares: Path, data: DataSplits, made: Path, tmp_path: Path) -> None:
    compose(str(squares), tmp_path / "out", [made])
    decide(made, **{stems(data.train)[0]: "reject"})
    refused("holds another job .*content", squares, tmp_path / "out", [made])
    with pytest.raises(RobustAugError, match=r"holds another job .*layout"):
        compose(str(squares), tmp_path / "out", [made], layout="webdataset")


def test_a_folder_of_something_else(squares: Path, made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("all of it")
    refused("holds other files", squares, tmp_path / "out", [made])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


SPOILS: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (Path.unlink, "cannot be read: No such file"),
    "damaged": (truncate, "the image is damaged"),
    "empty": (lambda path: path.write_bytes(b"") and None, "the file is empty"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_variants_that_cannot_be_used_are_listed(
    squares: Path, data: DataSplits, made: Path, tmp_path: Path, spoil: str
) -> None:
    change, reason = SPOILS[spoil]
    path = made / read_jsonl(made / "manifest.jsonl")[0]["path"]
    change(path)
    composition = compose(str(squares), tmp_path / "out", [made])
    assert [item.path for item in composition.skipped] == [str(path)]
    assert reason in composition.skipped[0].reason
    assert composition.origins[0].left_out == {"its file cannot be used": 1}
    assert composition.origins[0].added == len(data.train) - 1
    card = (tmp_path / "out" / "DATACARD.md").read_text()
    assert f"| {path.relative_to(made.parent)} | " in card  # from the folder's name on, whatever machine this is


def test_originals_that_cannot_be_used_are_listed_and_not_copied(
    squares: Path, data: DataSplits, made: Path, tmp_path: Path
) -> None:
    source = coloured_squares(tmp_path / "data")
    (source / "red" / "note.txt").write_text("to do")
    Image.new("RGB", (2, 2)).save(source / "red" / "dot.png")
    composition = compose(str(source), tmp_path / "out", [made])
    assert {Path(item.path).name for item in composition.skipped} == {"note.txt", "dot.png"}
    assert not list((tmp_path / "out").rglob("dot.png"))


def test_an_original_that_changes_meanwhile(
    squares: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = coloured_squares(tmp_path / "data")
    held = list(source.rglob("*.png"))

    def swapped(*_: object, **__: object) -> None:
        for path in held:
            path.write_bytes(path.read_bytes() + b" ")

    monkeypatch.setattr("robustaug.experiment.compose.job.JobFolder", _after(swapped))
    with pytest.raises(RobustAugError, match="has changed while it was copied; call the command again"):
        compose(str(source), tmp_path / "out", [made])


def _after(change: Callable[[], None]) -> Callable[..., object]:
    def build(*arguments: object, **options: object) -> object:
        change()
        return JobFolder(*arguments, **options)  # type: ignore[arg-type]

    return build
