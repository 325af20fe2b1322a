"""The page and what lies beside it: one file, no network, names as text; and what the command line says."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from robustaug.errors import RobustAugError
from robustaug.experiment.config import load_config
from robustaug.experiment.explore import explore_into
from robustaug.experiment.explore.page import summary

Photos = Callable[..., list[Image.Image]]
WriteFolder = Callable[..., Path]
SCRIPT = "<script>alert(1)<" + "script>"  # a slash cannot stand in a name


@pytest.fixture
def planted(photos: Photos, write_folder: WriteFolder) -> Path:
    """Two parts, a class called like a script, a broken file, a copy across the parts under another label."""
    images = photos(48)
    root = write_folder(
        {
            f"train/{SCRIPT}": images[:16],
            "train/dog": images[16:32],
            f"test/{SCRIPT}": images[32:40],
            "test/dog": [*images[40:], images[0]],
        }
    )
    (root / "train" / "dog" / "<img src=x onerror=alert(1)>.png").write_bytes(b"broken")
    return root


def test_the_page_holds_everything_and_runs_nothing_but_its_own_script(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    facts = explore_into(str(planted), out)
    page = (out / "explore.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page
    assert set(re.findall(r'(?:src|href)="(#|data:image/png;base64,|[^"]{0,20})', page)) == {
        "#",
        "data:image/png;base64,",
    }
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page).replace("http-equiv", "")
    for sentence in summary(facts):
        assert sentence in page
    for section in re.findall(r'<a href="#(\w+)"', page):
        assert f'<section id="{section}"' in page
    assert (out / "recipe.toml").read_text().splitlines()[-1] in page


def test_what_was_found_lies_beside_the_page(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    facts = explore_into(str(planted), out)
    assert json.loads((out / "explore.json").read_text()) == json.loads(json.dumps(facts))
    assert facts["schema_version"] == 1
    (group,) = facts["duplicates"]["groups"]
    assert (group["straddles"], group["contradicts"], group["exact"]) == (True, True, True)
    assert [each["kind"] for each in facts["findings"]["files"]] == ["unreadable"]
    assert load_config(out / "recipe.toml").data.source == str(planted)
    assert {path.name for path in (out / "figures").iterdir()} == {
        "counts.svg", "looks.svg", "shortcuts.svg", "class_000.png", "class_001.png",
    }  # fmt: skip
    assert Image.open(out / "figures" / "class_000.png").size == (8 * 68 - 4, 3 * 68 - 4)
    titles = [each["title"] for each in facts["advice"] if each["first"]]
    assert titles[:3] == [
        "Repair or remove the broken files", "Take duplicates out of the test part", "Settle the labels of duplicates",
    ]  # fmt: skip


def test_sheets_of_an_earlier_job_go_and_other_files_stay(
    photos: Photos, write_folder: WriteFolder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    for name in ("class_007.png", "mine.png"):
        (out / "figures" / name).write_bytes(b"")
    explore_into(str(write_folder({"cat": photos(3), "dog": photos(3, seed=1)})), out)
    names = {path.name for path in (out / "figures").iterdir()}
    assert names == {"counts.svg", "looks.svg", "class_000.png", "class_001.png", "mine.png"}


def test_the_page_may_not_lie_in_the_data(planted: Path) -> None:
    with pytest.raises(RobustAugError, match="lies inside the image folder"):
        explore_into(str(planted), planted / "explored")
    assert not (planted / "explored").exists()
