"""``robustaug stylize``: what it prints, its exit codes, and every bad argument's line."""

from pathlib import Path

import pytest
import typer
from click.testing import Result
from style_cases import TINY, photos
from typer.testing import CliRunner

from robustaug.cli.stylize import stylize
from robustaug.data.images import write_png
from robustaug.errors import RobustAugError
from robustaug.files import read_json, read_jsonl


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("robustaug.style.gatys.settings_for", lambda height, width: TINY)
    for number in range(3):
        write_png(tmp_path / "content" / "cat" / f"{number}.png", photos(1, 16, 18, seed=number)[0])
    return tmp_path / "content"


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(stylize)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_run_and_a_second_one(content: Path, tmp_path: Path) -> None:
    arguments = (
        content,
        tmp_path / "out",
        "--per-image",
        2,
        "--strength",
        0.7,
        "--size",
        20,
        "--seed",
        3,
        "--preserve-color",
    )
    result = run(*arguments)
    assert result.exit_code == 0
    assert result.stdout == f"6 stylised images written to {tmp_path / 'out'}.\n"
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert len(rows) == 6
    assert all(
        (row["strength"], row["seed"], row["size"], row["color"]) == (0.7, 3, [20, 20], "luminance") for row in rows
    )
    assert len(read_json(tmp_path / "out" / "job.json")["paintings"]) == 12
    assert run(*arguments).stdout == f"Nothing to do: all 6 variants are in {tmp_path / 'out'}.\n"


def test_own_paintings_and_shards(content: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "art" / "One.png", photos(1, 64, 64)[0])
    for shard, written in (("2/2", 1), ("1/2", 2)):
        result = run(content, tmp_path / "out", "--styles", tmp_path / "art", "--shard", shard)
        assert result.stdout.startswith(f"{written} stylised images written")
    assert [row["style"] for row in read_jsonl(tmp_path / "out" / "manifest.jsonl")] == ["one"] * 3


def test_skipped_files_are_listed_and_the_exit_code_is_one(content: Path, tmp_path: Path) -> None:
    (content / "cat" / "broken.png").write_bytes(b"\x89PNG nothing")
    (content / "notes.txt").write_text("")
    result = run(content, tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout == f"3 stylised images written to {tmp_path / 'out'}.\n"
    lines = result.stderr.splitlines()
    assert lines[:2] == ["2 files could not be used:", "  notes.txt: not an image file (.txt)"]
    assert lines[2].startswith("  cat/broken.png: ")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["content", "content/out"], "lies inside the content folder"),
        (["content", "content"], "lies inside the content folder"),
        (["none", "out"], "content folder .*none does not exist"),
        (["content", "out", "--styles", "none"], "there is no folder of paintings"),
        (["content", "out", "--per-image", "13"], "cannot make 13 variants an image from 12 paintings"),
        (["content", "out", "--strength", "-0.1"], r"strength -0.1 is outside \[0, 1\]"),
        (["content", "out", "--size", "8"], "--size 8 is outside 16 to 1024"),
        (["content", "out", "--shard", "3/2"], "--shard '3/2' is not I/N"),
        (["content", "out", "--shard", "half"], "--shard 'half' is not I/N"),
        (["content", "."], "holds other files and no job.json"),
    ],
)
def test_bad_arguments_are_one_line(
    content: Path, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert isinstance(result.exception, RobustAugError)
    with pytest.raises(RobustAugError, match=message) as caught:
        raise result.exception
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_help_names_only_what_exists() -> None:
    text = run("--help").stdout
    assert "gatys" in text
    assert "adain" not in text
    assert "ray" not in text.replace("array", "")
