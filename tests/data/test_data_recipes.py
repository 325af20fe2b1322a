"""The recipes that come along, the table of the documentation, and names with parameters as they are written down."""

import re
import tomllib
from pathlib import Path

import pytest

from robustaug.data.augmentation import TECHNIQUES, build_techniques, read_recipe
from robustaug.data.augmenter import ClassicalAugmenter
from robustaug.errors import RobustAugError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("augment_*.toml")), ids=lambda path: path.stem)
def test_the_recipes_are_recipes(path: Path) -> None:
    techniques = read_recipe(path)
    assert len(techniques) > 4
    ClassicalAugmenter(techniques)
    commands = re.findall(r"--recipe (\S+)", path.read_text(encoding="utf-8"))
    assert commands == [path.relative_to(ROOT).as_posix()]


def test_the_documented_table_is_the_code() -> None:
    page = (ROOT / "docs" / "augmentation.md").read_text(encoding="utf-8")
    documented = {}
    for name, probability, parameters in re.findall(r"^\| `(\w+)` \| `([\d.]+)` \|(.*?)\|", page, re.MULTILINE):
        given = tomllib.loads("\n".join(re.findall(r"`([^`]+)`", parameters)))
        documented[name] = {"name": name, "probability": float(probability), **given}
    assert documented == {name: kind().describe() for name, kind in TECHNIQUES.items()}


def test_a_name_a_table_and_several_are_the_same_thing() -> None:
    (alone,) = build_techniques("hue", "x")
    (table,) = build_techniques({"name": "hue", "shift": (-0.05, 0.05)}, "x")
    listed = build_techniques(["hue", {"name": "hue", "probability": 1}], "x")
    assert (alone, table) == listed
    (own,) = build_techniques({"name": "affine", "translate": [0, 0.2]}, "x")
    assert own.describe()["translate"] == [0.0, 0.2]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("huw", "x: there is no technique 'huw'; did you mean 'hue'?"),
        ({"name": "hue", "shft": [0, 0]}, "x: hue has no parameter 'shft'; did you mean 'shift'?"),
        (["crop", {"name": "affine", "translate": [0.1, 2]}], r"x\[2\]: affine: 'translate.1' = 2: "),
        ([{"name": ["hue"]}], r"x\[1\]: there is no technique \['hue'\]"),
        ([], "x is empty; name a technique"),
    ],
)
def test_errors_tell_the_place(entries: object, message: str) -> None:
    with pytest.raises(RobustAugError, match=message) as caught:
        build_techniques(entries, "x")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
