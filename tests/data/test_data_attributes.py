"""Columns of a CSV: read as they stand, held against the images, every mistake one line."""

from pathlib import Path

import pytest
import torch

from robustaug.data import ImageSet
from robustaug.data.attributes import MOST_VALUES, read_attributes
from robustaug.errors import RobustAugError

KEYS = ("cat/1.png", "cat/2.png", "dog/1.png")
GOOD = "path,camera,site\ncat/1.png,A,north\ncat/2.png,B,\ndog/1.png,A,south\n"


def images() -> ImageSet:
    return ImageSet(
        torch.zeros(3, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 0, 1]), KEYS, ("",) * 3, ("cat", "dog")
    )


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "attributes.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_values_stand_in_the_order_of_the_images(tmp_path: Path) -> None:
    attributes = read_attributes(written(tmp_path, GOOD))
    assert attributes.check(KEYS) == ()
    assert attributes.of(images()) == {"camera": ("A", "B", "A"), "site": ("north", "", "south")}
    assert attributes.of(images().select([2, 0])) == {"camera": ("A", "A"), "site": ("south", "north")}


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("path,", "source,"),
        GOOD.replace("\n", "\r\n"),
        GOOD.encode("utf-8-sig"),
        GOOD.replace("cat/1.png", "./cat/1.png").replace("dog/1.png", "dog\\1.png"),
        GOOD.replace(",A,", ', "A" ,').replace(', "A" ,', ",A ,") + "\n,,\n",
        "camera,path,site\nA,cat/1.png,north\nB,cat/2.png,\nA,dog/1.png,south\n",
    ],
)
def test_ways_to_write_the_same(tmp_path: Path, text: str | bytes) -> None:
    attributes = read_attributes(written(tmp_path, text))
    assert attributes.of(images()) == {"camera": ("A", "B", "A"), "site": ("north", "", "south")}


def test_a_backslash_in_a_name_stays(tmp_path: Path) -> None:
    attributes = read_attributes(written(tmp_path, "path,camera\ncat/a\\b.png,A\n"))
    assert attributes.values == {"cat/a\\b.png": ("A",)}


def test_rows_of_no_image_are_named(tmp_path: Path) -> None:
    attributes = read_attributes(written(tmp_path, GOOD + "cat/9.png,A,north\n"))
    assert attributes.check(KEYS) == ("cat/9.png",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("path,camera\n", "has no rows"),
        ("file,camera\na,b\n", "no column path or source"),
        ("path,source\na,b\n", "both a column path and a column source"),
        ("path\ncat/1.png\n", "no column beside path"),
        ("path,camera,camera\na,b,c\n", "the column 'camera' stands twice"),
        ("path,camera,\na,b,c\n", "has no name"),
        ("path,class\na,b\n", "'class' is known from the data"),
        ("path,camera\ncat/1.png\n", "line 2 has 1 cells, the head has 2"),
        ("path,camera\ncat/1.png,A\n./cat/1.png,B\n", "line 3: there are two rows for cat/1.png"),
        (b"path,camera\ncat/1.png,\xff\n", "is no CSV in UTF-8"),
        ('path,camera\n"cat/1.png,A\n', "is no CSV in UTF-8"),
    ],
)
def test_bad_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(RobustAugError) as error:
        read_attributes(written(tmp_path, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match=r"cannot read the attributes .*: No such file"):
        read_attributes(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,camera\ncat/1.png,A\ncat/9.png,B\n", "no row for 2 of 3 images, the first is cat/2.png"),
        (GOOD.replace(",B,", ",A,"), r"attribute 'camera' has one value \('A'\) for all images"),
        (GOOD.replace("north", "").replace("south", ""), "attribute 'site' has no value for all images"),
    ],
)
def test_files_that_do_not_fit_the_images(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        read_attributes(written(tmp_path, text)).check(KEYS)


def test_numbers_are_no_groups(tmp_path: Path) -> None:
    keys = [f"cat/{number}.png" for number in range(MOST_VALUES + 1)]
    text = "path,age\n" + "".join(f"{key},{number}\n" for number, key in enumerate(keys))
    attributes = read_attributes(written(tmp_path, text))
    with pytest.raises(RobustAugError, match=f"'age' has {MOST_VALUES + 1} values"):
        attributes.check(keys)
    assert attributes.check(keys[:-1]) == (keys[-1],)
