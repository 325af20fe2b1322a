"""Image folders as people have them: what is used, what is listed, what is refused."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from robustaug import hardware
from robustaug.data.images import read_image, resize
from robustaug.data.sources import load_data, load_images
from robustaug.errors import RobustAugError

MakeFolder = Callable[..., Path]


def test_flat_folder(make_folder: MakeFolder) -> None:
    root = make_folder({"dog": 10, "cat": 20})
    splits = load_data(str(root))
    assert splits.class_names == ("cat", "dog")
    assert splits.image_size == (10, 12)  # equal and small: kept
    assert [torch.bincount(part.labels).tolist() for part in (splits.train, splits.validation, splits.test)] == [
        [14, 7],
        [2, 1],
        [4, 2],
    ]
    everything, skipped = load_images(str(root))
    assert skipped == splits.skipped == ()
    assert everything.keys == (*(f"cat/{n:02d}.png" for n in range(20)), *(f"dog/{n:02d}.png" for n in range(10)))
    for key, digest, image in zip(everything.keys, everything.sha256, everything.images, strict=True):
        assert digest == hashlib.sha256((root / key).read_bytes()).hexdigest()
        assert torch.equal(image, read_image(root / key))


def test_bad_files_are_listed_and_the_rest_goes_on(make_folder: MakeFolder) -> None:
    root = make_folder({"dog": 4, "cat": 4, "cat/nested/deep": 1})
    (root / "cat" / "empty.jpg").write_bytes(b"")
    (root / "cat" / "text.png").write_text("no image")
    (root / "cat" / "notes.txt").write_text("about cats")
    (root / "dog" / "half.png").write_bytes((root / "dog" / "00.png").read_bytes()[:200])
    Image.new("RGB", (1, 1)).save(root / "dog" / "dot.png")
    Image.new("1", (20_000, 10)).save(root / "dog" / "wide.png")
    Image.new("RGB", (9, 9)).save(root / "loose.png")
    for ignored in (".hidden.png", "Thumbs.db", "desktop.ini"):
        (root / "cat" / ignored).write_bytes(b"x")
    (root / ".git").mkdir()
    Path(os.fsdecode(os.fsencode(root) + b"/dog/\xff.png")).write_bytes((root / "dog" / "00.png").read_bytes())
    images, skipped = load_images(str(root), size=8)
    assert len(images) == 9
    assert "cat/nested/deep/00.png" in images.keys
    reasons = {Path(item.path).relative_to(root).as_posix(): item.reason for item in skipped}
    assert {path: reason.split(" (")[0] for path, reason in reasons.items()} == {
        "cat/empty.jpg": "the file is empty",
        "cat/text.png": "not an image, or of a format that is not supported",
        "cat/notes.txt": "not an image file",
        "dog/half.png": "the image is damaged",
        "dog/dot.png": "1x1 px is too small; at least 8 px a side are needed",
        "dog/wide.png": "20000x10 px is too large; make it smaller first",
        "loose.png": "not in a class folder",
        "dog/\\udcff.png": "its name is not valid UTF-8; rename it",
    }


def test_sizes(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3}, size=(16, 20))
    assert load_data(str(root)).image_size == (16, 20)
    asked = load_data(str(root), size=8)
    assert asked.image_size == (8, 8)
    for key, image in zip(asked.train.keys, asked.train.images, strict=True):
        assert torch.equal(image, resize(read_image(root / key), 8))
    Image.new("RGB", (20, 17)).save(root / "a" / "other.png")
    assert load_data(str(root)).image_size == (64, 64)
    large = make_folder({"a": 3, "b": 3}, size=(129, 20), root=root.parent / "large")
    assert load_data(str(large)).image_size == (64, 64)


def test_split_tree_keeps_its_parts(make_folder: MakeFolder) -> None:
    root = make_folder({f"{part}/{name}": 4 for part in ("train", "valid", "test") for name in ("a", "b")})
    splits = load_data(str(root))
    assert set(splits.train.keys) == {f"train/{name}/0{n}.png" for name in "ab" for n in range(4)}
    assert set(splits.validation.keys) == {f"valid/{name}/0{n}.png" for name in "ab" for n in range(4)}
    assert set(splits.test.keys) == {f"test/{name}/0{n}.png" for name in "ab" for n in range(4)}
    for part in ("train", "validation", "test"):
        assert load_images(str(root), split=part)[0].keys == getattr(splits, part).keys  # type: ignore[arg-type]
    assert len(load_images(str(root))[0]) == 24


def test_missing_parts_are_cut_from_training(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 10, "train/b": 10, "test/a": 2, "test/b": 2})
    splits = load_data(str(root))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 2, 4]
    assert all(key.startswith("train/") for key in (*splits.train.keys, *splits.validation.keys))
    assert load_images(str(root), split="train")[0].keys == splits.train.keys
    alone = make_folder({"train/a": 10, "train/b": 10}, root=root.parent / "alone")
    assert [len(part) for part in (load_data(str(alone)).train, load_data(str(alone)).test)] == [14, 4]


def test_a_class_may_be_called_train(make_folder: MakeFolder) -> None:
    root = make_folder({"car": 3, "train": 3})
    assert load_data(str(root)).class_names == ("car", "train")
    both = make_folder({"test": 3, "train": 3}, root=root.parent / "both")
    assert load_data(str(both)).class_names == ("test", "train")


def test_a_test_part_alone_can_be_read(make_folder: MakeFolder) -> None:
    root = make_folder({"test/a": 2, "test/b": 1})
    assert len(load_images(str(root), split="test")[0]) == 3
    with pytest.raises(RobustAugError, match="no train part"):
        load_data(str(root))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_test_part_from_both_doors(make_folder: MakeFolder, seed: int) -> None:
    root = make_folder({"a": 12, "b": 9})
    splits = load_data(str(root), seed=seed, limit=6)
    images, _ = load_images(str(root), split="test", seed=seed, limit=6)
    assert images.keys == splits.test.keys
    full = load_data(str(root), seed=seed)
    assert set(splits.test.keys) <= set(full.test.keys)
    assert set(splits.train.keys) <= set(full.train.keys)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 12


def test_identical_files_stay_together(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 12, "b": 12})
    for copy in range(12):
        image = Image.open(root / "a" / f"{copy:02d}.png")
        image.save(root / "a" / f"{copy:02d}_copy.bmp")  # other bytes, same pixels
    for seed in range(3):
        splits = load_data(str(root), seed=seed)
        for part in (splits.train, splits.validation, splits.test):
            keys = {key for key in part.keys if key.startswith("a/")}
            assert {key.replace("_copy.bmp", ".png") for key in keys} <= keys


def _flat_without_classes(root: Path, make: MakeFolder) -> None:
    make({"": 3})


def _class_missing_from_train(root: Path, make: MakeFolder) -> None:
    make({"train/a": 3, "train/b": 3, "test/a": 1, "test/b": 1, "test/c": 1})


def _class_missing_from_test(root: Path, make: MakeFolder) -> None:
    make({"train/a": 3, "train/b": 3, "test/a": 1})


def _only_broken(root: Path, make: MakeFolder) -> None:
    for name in ("a", "b"):
        make({name: 0})
        (root / name / "x.png").write_bytes(b"")


def _test_class_without_images(root: Path, make: MakeFolder) -> None:
    make({"train/a": 3, "train/b": 3, "test/a": 1, "test/b": 0})


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root, make: None, "does not exist"),
        (lambda root, make: root.write_text("x"), "is a file"),
        (lambda root, make: root.mkdir(), "is empty"),
        (_flat_without_classes, "has images but no class folders"),
        (lambda root, make: make({"a": 0, "b": 0}), "no images in the class folders"),
        (lambda root, make: make({"a": 9}), r"only one class \(a\)"),
        (lambda root, make: make({"a": 9, "b": 1}), "class 'b' has 1 usable image, where at least 3 must be"),
        (lambda root, make: make({"a": 9, "b": 0}), "class 'b' has 0 usable images, where at least 3 must be"),
        (_class_missing_from_train, "class 'c' is in test/ but not in train/"),
        (_class_missing_from_test, "class 'b' is in train/ but not in test/"),
        (_test_class_without_images, "class 'b' has 0 usable images in test, where at least 1 must be"),
        (lambda root, make: make({"train/a": 3, "val/a": 3, "valid/a": 3}), "both val/ and valid/; keep one"),
        (_only_broken, r"none of the 2 images .* can be used, for example .*x.png: the file is empty"),
    ],
)
def test_unusable_folders_give_one_line(
    tmp_path: Path, make_folder: MakeFolder, prepare: Callable[[Path, MakeFolder], None], message: str
) -> None:
    root = tmp_path / "images"
    prepare(root, make_folder)
    with pytest.raises(RobustAugError, match=message) as caught:
        load_data(str(root))
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value)


def test_too_little_memory_is_said_before_reading(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder({"a": 5, "b": 5})
    monkeypatch.setattr(hardware, "total_memory", lambda: 2 * 10 * 3 * 32 * 32)
    with pytest.raises(RobustAugError, match=r"10 images of 64x64 px .* set size to at most 28, or set a limit"):
        load_data(str(root), size=64)
    assert load_data(str(root), size=28).image_size == (28, 28)  # the advice holds


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 4}, "size 4 is too small"), ({"limit": 0}, "limit 0"), ({"limit": 2}, "raise the limit")],
)
def test_bad_options(make_folder: MakeFolder, options: dict[str, int], message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        load_data(str(make_folder({"a": 5, "b": 5})), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("cifar-10", "did you mean 'cifar10'"),
        ("FashionMNIST", "did you mean 'fashion-mnist'"),
        ("zzz", "known sets: mnist5k, fashion-mnist"),
        ("./cifar10", "does not exist"),
    ],
)
def test_unknown_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RobustAugError, match=message):
        load_data(source)


@pytest.mark.parametrize("twins", [("Cat", "cat"), ("train/Cat", "test/cat")])
def test_classes_that_differ_only_in_case_are_refused(make_folder: MakeFolder, twins: tuple[str, str]) -> None:
    folder = make_folder(
        {twins[0]: 1, twins[1]: 1, "train/dog": 1, "test/dog": 1} if "/" in twins[0] else {twins[0]: 1, twins[1]: 1}
    )
    with pytest.raises(RobustAugError, match="'Cat' and 'cat' differ only in case; rename or merge them"):
        load_data(str(folder))
