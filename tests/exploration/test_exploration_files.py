"""Files as they come: everything odd is listed with its reason, nothing odd is fatal."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from robustaug.errors import RobustAugError
from robustaug.exploration import explore, facts_of
from robustaug.exploration.listing import list_folder
from robustaug.exploration.scan import scan_folder

Photos = Callable[..., list[Image.Image]]
WriteFolder = Callable[..., Path]


def test_every_planted_fault_is_listed_and_no_other(photos: Photos, write_folder: WriteFolder, tmp_path: Path) -> None:
    images = photos(40, side=40)
    root = write_folder({"cat": images[:20], "dog": images[20:]})
    sound = (root / "cat" / "000.png").read_bytes()
    outside = tmp_path / "outside.png"
    images[0].rotate(90).save(outside)
    planted = {
        "cat/cut.png": "unreadable",
        "cat/empty.jpg": "unreadable",
        "cat/text.png": "unreadable",
        "dog/nowhere.png": "unreadable",
        "cat/jpeg.png": "wrong suffix",
        "cat/white.png": "blank",
        "cat/tiny.png": "tiny",
        "dog/notes.txt": "not an image",
        "loose.png": "misplaced",
    }
    (root / "cat" / "cut.png").write_bytes(sound[: len(sound) // 2])
    (root / "cat" / "empty.jpg").write_bytes(b"")
    (root / "cat" / "text.png").write_text("<html>404</html>")
    images[1].rotate(90).save(root / "cat" / "jpeg.png", format="JPEG")
    Image.new("RGB", (40, 40), "white").save(root / "cat" / "white.png")
    images[2].rotate(90).resize((9, 9)).save(root / "cat" / "tiny.png")
    (root / "dog" / "notes.txt").write_text("x")
    images[3].save(root / "loose.png")
    (root / "dog" / "out.png").symlink_to(outside)
    (root / "dog" / "inside.png").symlink_to(root / "dog" / "000.png")
    (root / "dog" / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (root / "dog" / "folder").symlink_to(tmp_path)
    links = {"dog/out.png": "leads out of the folder", "dog/nowhere.png": "nowhere", "dog/folder": "to a folder"}
    scan = scan_folder(root, list_folder(root))
    assert {each.path: each.kind for each in scan.findings if each.kind != "link"} == planted
    found = {each.path: each.reason for each in scan.findings if each.kind == "link"}
    assert found.keys() == links.keys()
    assert all(links[path] in reason for path, reason in found.items())
    assert len(scan) == 40 + 5  # the odd that can be read, with the link out and the one inside
    assert scan.listed == 40 + 11


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"Cat": 1, "cat": 1}, "'Cat' and 'cat' differ only in case; rename or merge them"),
        ({"train/Cat": 1, "test/cat": 1}, "'Cat' and 'cat' differ only in case; rename or merge them"),
        ({"cat": 0, "dog": 0}, "no images in the class folders of"),
        ({}, "no class folders in .* lay it out as ROOT/CLASS/image.png"),
    ],
    ids=["case", "case across parts", "no images", "nothing"],
)
def test_folders_that_are_no_data_set(
    photos: Photos, write_folder: WriteFolder, tmp_path: Path, classes: dict[str, int], message: str
) -> None:
    (tmp_path / "data").mkdir()
    root = write_folder({name: photos(count) if count else [] for name, count in classes.items()})
    with pytest.raises(RobustAugError, match=message):
        list_folder(root)


def test_a_folder_of_nothing_but_broken_files_is_refused_with_an_example(write_folder: WriteFolder) -> None:
    root = write_folder({"cat": []})
    (root / "cat" / "a.png").write_bytes(b"x")
    with pytest.raises(RobustAugError, match=r"none of the 1 images .* for example cat/a.png: not an image"):
        explore(str(root))


def test_a_class_that_a_part_lacks_is_told(photos: Photos, write_folder: WriteFolder) -> None:
    images = photos(9)
    root = write_folder({"train/cat": images[:4], "train/dog": images[4:8], "test/cat": images[8:]})
    facts = facts_of(explore(str(root)))
    assert facts["counts"]["missing"] == [{"class": "dog", "part": "test"}]
    assert facts["counts"]["by_class"] == {"cat": {"train": 4, "test": 1}, "dog": {"train": 4, "test": 0}}
    assert facts["labels"] is None  # nine images are too few for any classifier


def test_numbers_of_known_images(write_folder: WriteFolder) -> None:
    """Two halves, black and white: mean one half, deviation one half, no saturation; a red one is saturated."""
    halves = Image.new("L", (64, 32))
    halves.paste(255, (0, 0, 32, 32))
    red = Image.new("RGB", (64, 32), (255, 0, 0))
    root = write_folder({"grey": [halves], "red": [red]})
    facts = facts_of(explore(str(root)))
    assert facts["looks_by_class"]["grey"]["brightness"] == pytest.approx(0.5, abs=0.01)
    assert facts["looks_by_class"]["grey"]["contrast"] == pytest.approx(0.5, abs=0.02)
    assert facts["looks_by_class"]["grey"]["saturation"] == 0
    assert facts["looks_by_class"]["red"] == {
        "brightness": pytest.approx(0.299), "contrast": pytest.approx(0, abs=1e-6), "saturation": 1, "sharpness": 0,
    }  # fmt: skip
    assert facts["looks"]["channel_mean"] == pytest.approx([0.75, 0.25, 0.25], abs=0.01)
    assert facts["looks"]["grey"] == 0.5
    assert facts["files"]["modes"] == {"L": 1, "RGB": 1}
    assert facts["files"]["sizes"] == {"64x32": 2}
    assert facts["files"]["aspect"]["median"] == 2


def test_nothing_but_blank_images(write_folder: WriteFolder) -> None:
    blank = [Image.new("RGB", (16, 16), (level, 0, 0)) for level in range(0, 240, 20)]
    facts = facts_of(explore(str(write_folder({"cat": blank, "dog": blank[::-1]}))))
    assert facts["labels"] is None
    assert facts["findings"]["counts"]["blank"] == 24


def test_a_name_that_is_no_utf8_is_written_out(photos: Photos, write_folder: WriteFolder) -> None:
    root = write_folder({"cat": photos(1)})
    Path(os.fsdecode(os.fsencode(root / "cat") + b"/\xff.png")).write_bytes(b"x")
    assert [each.path for each in scan_folder(root, list_folder(root)).findings] == ["cat/\\udcff.png"]


def test_a_class_whose_name_is_no_utf8_is_refused(photos: Photos, write_folder: WriteFolder) -> None:
    root = write_folder({"cat": photos(1)})
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).mkdir()
    with pytest.raises(RobustAugError, match=r"the name of the class folder \\udcff is not valid UTF-8; rename it"):
        list_folder(root)
