"""Labels as columns: every reader of image folders takes the same ones, and every mistake is one line."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from robustaug.data import ImageSet, load_data, load_images
from robustaug.data.content import folder_items
from robustaug.data.jobs import output_stems
from robustaug.data.labels import read_labels
from robustaug.data.sources import read_labels_for
from robustaug.errors import RobustAugError
from robustaug.exploration.listing import list_folder

MakeFolder = Callable[..., Path]


def flat(folders: Path, to: Path) -> dict[str, str]:
    """The files of class folders side by side under names that tell nothing; returns each one's class."""
    to.mkdir()
    label_of = {}
    for number, path in enumerate(sorted(folders.rglob("*.png"), key=lambda path: path.read_bytes())):
        label_of[f"{number:03}.png"] = path.parent.name
        path.rename(to / f"{number:03}.png")
    return label_of


def table(path: Path, label_of: Mapping[str, str], **columns: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["path", *columns, "label"])
        lines.writerows([key, *columns.values(), label] for key, label in label_of.items())
    return path


def named(images: ImageSet) -> dict[str, str]:
    return {key: images.class_names[label] for key, label in zip(images.keys, images.labels.tolist(), strict=True)}


@pytest.fixture
def photos(make_folder: MakeFolder, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A flat folder of 10 dogs and 20 cats, and the class of each file."""
    root = tmp_path / "photos"
    return root, flat(make_folder({"dog": 10, "cat": 20}), root)


def test_a_flat_folder_with_labels_is_what_class_folders_are(make_folder: MakeFolder, tmp_path: Path) -> None:
    by_folder, _ = load_images(str(make_folder({"dog": 10, "cat": 20})))
    label_of = flat(tmp_path / "images", tmp_path / "photos")
    labels = table(tmp_path / "photos" / "labels.csv", label_of, camera="A")
    images, skipped = load_images(str(tmp_path / "photos"), labels=labels)
    assert named(images) == label_of
    assert skipped == ()  # the table itself is no unusable file
    assert images.class_names == by_folder.class_names == ("cat", "dog")
    pairs = [Counter(zip(each.sha256, each.labels.tolist(), strict=True)) for each in (images, by_folder)]
    assert pairs[0] == pairs[1]
    splits = load_data(str(tmp_path / "photos"), labels=labels)
    assert [Counter(named(part).values()) for part in (splits.train, splits.validation, splits.test)] == [
        {"cat": 14, "dog": 7},
        {"cat": 2, "dog": 1},
        {"cat": 4, "dog": 2},
    ]
    limited, _ = load_images(str(tmp_path / "photos"), labels=labels, limit=3)
    assert Counter(named(limited).values()) == {"cat": 3, "dog": 3}


def test_exploring_and_jobs_read_the_same_labels(photos: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    root, label_of = photos
    labels = read_labels(table(root / "labels.csv", label_of))
    listing = list_folder(root, labels)
    assert {each.key: listing.class_names[each.label] for each in listing.candidates} == label_of
    assert listing.findings == ()
    items, skipped = folder_items(root, labels=labels)
    assert {item.key: item.label for item in items} == label_of
    assert skipped == []
    left, _ = folder_items(root, ["cat"], labels)
    assert {item.label for item in left} == {"dog"}


def test_folders_mean_nothing_beside_a_table(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"north/dog": 3, "south/dog": 3})
    label_of = {path.relative_to(root).as_posix(): ("cat", "dog")[n % 2] for n, path in enumerate(root.rglob("*.png"))}
    labels = table(tmp_path / "labels.csv", label_of)
    assert named(load_images(str(root), labels=labels)[0]) == label_of
    listing = list_folder(root, read_labels(labels))
    assert {each.key: listing.class_names[each.label] for each in listing.candidates} == label_of
    items, _ = folder_items(root, labels=read_labels(labels))
    assert {item.key: item.label for item in items} == label_of
    stems = [str(stem) for stem in output_stems([item.key for item in items], [item.label for item in items])]
    assert len(set(stems)) == 6
    assert all(stem.split("/")[0] == item.label for stem, item in zip(stems, items, strict=True))  # and nothing else


@pytest.mark.parametrize("by", ["folder", "column"])
def test_parts_of_labelled_files(make_folder: MakeFolder, tmp_path: Path, by: str) -> None:
    make_folder({"cat": 9, "dog": 9})
    root = tmp_path / "photos"
    label_of = flat(tmp_path / "images", root)
    part_of = {key: ("train", "Val", "test")[number % 3] for number, key in enumerate(label_of)}
    if by == "folder":
        for key, part in part_of.items():
            (root / part).mkdir(exist_ok=True)
            (root / key).rename(root / part / key)
        rows = [(f"{part_of[key]}/{key}", label, "") for key, label in label_of.items()]
    else:
        rows = [(key, label, part_of[key]) for key, label in label_of.items()]
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split" if by == "column" else "note"), *rows])
    splits = load_data(str(root), labels=root / "labels.csv")
    listing = list_folder(root, read_labels(root / "labels.csv"))
    for part, known in (("train", "train"), ("validation", "Val"), ("test", "test")):
        expected = {key for key, given in part_of.items() if given == known}
        assert {Path(key).name for key in getattr(splits, part).keys} == expected
        assert {Path(each.key).name for each in listing.candidates if each.part == part} == expected


def test_files_that_are_no_images_or_no_text(photos: tuple[Path, dict[str, str]]) -> None:
    root, label_of = photos
    (root / "README.md").write_text("about the photos")
    (root / ".hidden.png").write_bytes(b"x")
    (root / "notes.txt").write_text("a row, and no image")
    (root / "broken.png").write_bytes(b"no image")
    (root / os.fsdecode(b"\xff.png")).write_bytes((root / "000.png").read_bytes())
    labels = table(root / "labels.csv", label_of | {"notes.txt": "cat", "broken.png": "dog"})
    images, skipped = load_images(str(root), labels=labels)
    assert named(images) == label_of
    odd = {"notes.txt", "broken.png", "\\udcff.png"}
    assert {Path(each.path).name for each in skipped} == odd
    assert {each.path for each in folder_items(root, labels=read_labels(labels))[1]} == odd - {"broken.png"}
    listing = list_folder(root, read_labels(labels))
    assert {each.path: each.kind for each in listing.findings} == {
        "notes.txt": "not an image",
        "\\udcff.png": "unreadable",
    }


def test_the_fingerprint_knows_labels_that_keys_do_not_tell(photos: tuple[Path, dict[str, str]]) -> None:
    root, label_of = photos
    before = load_data(str(root), labels=table(root / "labels.csv", label_of))
    again = load_data(str(root), labels=table(root / "labels.csv", dict(reversed(label_of.items())), camera="A"))
    other = load_data(str(root), labels=table(root / "labels.csv", label_of | {"000.png": "dog", "001.png": "cat"}))
    assert before.fingerprint == again.fingerprint  # the order of rows and other columns are no matter
    assert before.fingerprint != other.fingerprint
    assert before.train.select([0]).identities == (f"{before.train.keys[0]}\t{label_of[before.train.keys[0]]}",)
    item = folder_items(root, labels=read_labels(root / "labels.csv"))[0][0]
    assert item.identity == "000.png\tdog"  # as the table is now


READERS: dict[str, Callable[[Path, Path], object]] = {
    "loading": lambda root, labels: load_images(str(root), labels=labels),
    "exploring": lambda root, labels: list_folder(root, read_labels(labels)),
    "jobs": lambda root, labels: folder_items(root, labels=read_labels(labels)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"003.png": None, "001.png": None}, "has no row for 2 of the 30 images in {root}, the first is 001.png"),
        ({"b.png": "cat", "a.png": "dog"}, "has 2 of 32 rows without a file in {root}, the first is a.png"),
        ({"../out.png": "cat"}, "has 1 of 31 rows without a file in {root}, the first is ../out.png"),
    ],
    ids=["no row", "no files", "outside"],
)
def test_labels_that_miss_files(
    photos: tuple[Path, dict[str, str]], reader: str, change: dict[str, str | None], message: str
) -> None:
    root, label_of = photos
    (root.parent / "out.png").write_bytes((root / "000.png").read_bytes())
    rows = {key: label for key, label in (label_of | change).items() if label is not None}
    labels = table(root / "labels.csv", rows)
    with pytest.raises(RobustAugError) as error:
        READERS[reader](root, labels)
    assert str(error.value).startswith(f"{labels} {message.format(root=root)};")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,class\na.png,cat\n", "has no column label, it has class; call the column with the classes label"),
        (
            "file,label\na.png,cat\n",
            "no column path or source, its head is file, label; name the images in one of them",
        ),
        ("path;label\na.png;cat\n", "no column path or source, its head is path;label; name"),
        ("path,label\na.png,cat\nb.png,\n", "b.png has no label"),
        ("path,label\na.png,cat\n./a.png,dog\n", "line 3: there are two rows for a.png ('cat' and 'dog'); keep one"),
        ("path,label\na.png,cat\na.png,cat\n", "line 3: there are two rows for a.png; keep one of them"),
        ("path,label\na.png,Cat\nb.png,cat\n", "the labels 'Cat' and 'cat' differ only in case; rename or merge them"),
        ("path,label\na.png,../cat\n", "a.png has the label '../cat', which cannot name a folder; change the label"),
        ("path,label\na.png,a/b\n", "'a/b', which cannot name a folder"),
        ("path,label\na.png,a\\b\n", "'a\\b', which cannot name a folder"),
        ("path,label\na.png,.cat\n", "'.cat', which cannot name a folder"),
        ('path,label\na.png,"c\x00t"\n', "which cannot name a folder"),
        ("path,label,split\na.png,cat,training\n", "a.png has the split 'training'; write train, validation or test"),
        ("path,label,split\na.png,cat,\n", "a.png has the split ''; write train, validation or test"),
        ("path,label\n", "has no rows; it needs a head with path and labels"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(RobustAugError) as error:
        read_labels(tmp_path / "labels.csv")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_one_class_and_no_table(photos: tuple[Path, dict[str, str]]) -> None:
    root, label_of = photos
    labels = table(root / "labels.csv", dict.fromkeys(label_of, "cat"))
    with pytest.raises(RobustAugError, match=r"photos has only one class \(cat\); a classifier needs at least two"):
        load_data(str(root), labels=labels)
    with pytest.raises(RobustAugError, match=r"cannot read the labels .*none.csv: No such file"):
        load_data(str(root), labels=root / "none.csv")
    with pytest.raises(RobustAugError, match=r"mnist5k brings its labels; .*labels.csv can label an image folder only"):
        read_labels_for("mnist5k", labels)


def test_stems_stay_below_the_class() -> None:
    assert [str(stem) for stem in output_stems(["a/1.png", "b/1.png", "b/2.png"], ["cat"] * 3)] == [
        "cat/a/1.png",
        "cat/b/1.png",
        "cat/2",
    ]
    assert [str(stem) for stem in output_stems(["x/cat/1.png", "train/cat/1.png"], ["cat"] * 2)] == [
        "cat/1",
        "train/cat/1",
    ]
