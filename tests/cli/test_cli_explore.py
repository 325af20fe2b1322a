"""``robustaug explore`` on the command line."""

import re
from pathlib import Path

from cli_cases import CommandLine


def test_it_tells_what_it_found_and_broken_files_are_no_failure(cli: CommandLine, work: Path) -> None:
    (work / "images" / "red" / "cut.png").write_bytes(b"x")
    answer = cli("explore", "images", "--out", "seen")
    assert (answer.code, answer.err) == (0, "")
    assert "24 images in 3 classes (24 all); all classes are of one size." in answer.out
    assert "Files to look at: 1 cannot be used." in answer.out
    assert re.search(r"Border colour alone predicts the class of \d+\.\d% of the images", answer.out)
    assert "Break the link between class and border colour" in answer.out
    for name in ("explore.html", "explore.json", "recipe.toml"):
        assert (work / "seen" / name).is_file()


def test_the_page_lies_in_a_folder_of_the_datas_name(cli: CommandLine, work: Path) -> None:
    assert cli("explore", "images", "--limit", 2).code == 0
    assert (work / "explored" / "images" / "explore.html").is_file()


def test_what_cannot_be_explored_is_one_line(cli: CommandLine, work: Path) -> None:
    (work / "images" / "Red").mkdir()
    assert "'Red' and 'red' differ only in case; rename or merge them" in cli("explore", "images").line()
    assert "does not exist" in cli("explore", "nowhere").line()
    (work / "empty").mkdir()
    assert "no class folders in empty; lay it out as" in cli("explore", "empty").line()
    assert not (work / "explored").exists()
