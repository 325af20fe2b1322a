"""``robustaug augment``: files in any form in, PNG files out; every mistake in one line."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from cli_cases import CommandLine
from PIL import Image

from robustaug.data.images import read_image
from robustaug.files import read_jsonl

RECIPE = """
[[techniques]]
name = "horizontal_flip"
probability = 1.0
"""


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """Two classes: files of many sizes, modes and formats."""
    folder = tmp_path / "in"
    for name, mode, size in (
        ("a/grey.png", "L", (9, 12)),
        ("a/alpha.png", "RGBA", (16, 16)),
        ("a/palette.gif", "P", (20, 10)),
        ("b/deep/photo.jpg", "RGB", (31, 17)),
        ("b/sixteen.tif", "I;16", (8, 8)),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = Image.effect_noise(size, 90)
        if mode == "RGBA":
            noise.putalpha(Image.effect_noise(size, 90))
        image = noise.convert("I").convert(mode) if mode == "I;16" else noise.convert(mode)
        image.save(folder / name)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return folder


def test_any_image_that_can_be_read_is_augmented(
    content: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(content.parent)
    answer = cli("augment", "in", "out", "--recipe", "recipe.toml", "--per-image", "2")
    assert (answer.code, answer.out.strip()) == (0, "10 variants written to out."), answer.err
    rows = read_jsonl(Path("out/manifest.jsonl"))
    assert Counter(row["label"] for row in rows) == {"a": 6, "b": 4}
    assert {row["path"] for row in rows} >= {"b/deep/photo__augmented-1.png", "a/grey__augmented-2.png"}
    for row in rows:
        source = read_image(Path("in") / row["source"])
        assert torch.equal(read_image(Path("out") / row["path"]), source.flip(2))
        assert row["operations"] == [{"name": "horizontal_flip"}]
    again = cli("augment", "in", "out", "--recipe", "recipe.toml", "--per-image", "2")
    assert again.out.strip() == "Nothing to do: all 10 variants are in out."


def test_a_balance_alone_adds_to_the_smaller_classes(
    content: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(content.parent)
    answer = cli("augment", "in", "out", "--recipe", "recipe.toml", "--balance", "1")
    assert answer.out.strip() == "1 variants written to out."
    assert [row["label"] for row in read_jsonl(Path("out/manifest.jsonl"))] == ["b"]


def test_what_cannot_be_read_is_listed(content: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(content.parent)
    (content / "a" / "broken.png").write_bytes(b"\x89PNG")
    (content / "a" / "notes.txt").write_text("")
    answer = cli("augment", "in", "out", "--recipe", "recipe.toml")
    assert (answer.code, answer.out.strip()) == (1, "5 variants written to out.")
    assert answer.err.splitlines()[0] == "2 files could not be used:"
    assert "broken.png" in answer.err
    assert "notes.txt: not an image file (.txt)" in answer.err


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("", "recipe.toml: techniques is empty; name a technique"),
        ("techniques = []", "recipe.toml: techniques is empty; name a technique"),
        ("[techniques]\nname = 'hue'", "'techniques' is no list; write a table [[techniques]] for each"),
        ("[data]\nsource = 'photos'", "recipe.toml is a configuration for robustaug run; here a recipe is wanted"),
        ("technique = ['hue']", "recipe.toml: unknown key 'technique'; a recipe has 'techniques' alone"),
        ("techniques = ['huw']", "techniques[1]: there is no technique 'huw'; did you mean 'hue'?"),
        ("techniques = [3]", "techniques[1] is 3; it is a technique's name, or a table with one"),
        ("[[techniques]]\nprobability = 0.5", "techniques[1] has no name; use one of crop, "),
        (
            "[[techniques]]\nname = 'hue'\n[[techniques]]\nname = 'crop'\npading = 3",
            "techniques[2]: crop has no parameter 'pading'; did you mean 'padding'?",
        ),
        (
            "[[techniques]]\nname = 'hue'\nprobability = 1.5",
            "techniques[1]: hue: 'probability' = 1.5: Input should be less than or equal to 1",
        ),
        (
            "[[techniques]]\nname = 'hue'\nprobability = -0.1",
            "techniques[1]: hue: 'probability' = -0.1: Input should be greater than or equal to 0",
        ),
        ("[[techniques]]\nname = 'hue'\nprobability = nan", "techniques[1]: hue: 'probability' = nan: "),
        ("[[techniques]]\nname = 'hue'\nprobability = 0", "techniques: every probability is 0"),
        (
            "[[techniques]]\nname = 'hue'\nshift = [-0.1, 0.7]",
            "techniques[1]: hue: shift = [-0.1, 0.7] is no range within [-0.5, 0.5]",
        ),
        (
            "[[techniques]]\nname = 'contrast'\nfactor = [1.2, 0.8]",
            "techniques[1]: contrast: factor = [1.2, 0.8] is no range within [0, 10]",
        ),
        ("[[techniques]]\nname = 'contrast'\nfactor = 0.3", "contrast: 'factor' = 0.3: Input should be a valid tuple"),
        ("[[techniques]]\nname = 'gaussian_blur'\nkernel_size = 4", "gaussian_blur: kernel_size is 4; it must be odd"),
        ("techniques = ['cutmix']", "cutmix mixes the labels of a batch, for a training loop alone"),
        ("[[techniques", "recipe.toml is not valid TOML"),
    ],
)
def test_recipes_that_cannot_be(
    recipe: str, message: str, content: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(content.parent)
    Path("recipe.toml").write_text(recipe)
    answer = cli("augment", "in", "out", "--recipe", "recipe.toml")
    assert answer.code == 2
    assert message in answer.line()
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("in", "in/a/out"), "output folder in/a/out lies inside the image folder in; choose one outside it"),
        (("none", "out"), "content folder none does not exist; name a folder with images in it"),
        (("in", "out", "--per-image", "0"), "cannot make 0 variants an image; take 1 or more"),
        (("in", "out", "--balance", "1.5"), "balance is 1.5; it is a share of the largest class, above 0 and up to 1"),
        (("in", "out", "--shard", "3/2"), "--shard '3/2' is not I/N with 1 <= I <= N, for example 1/4"),
        (("in", "out", "--leave", "c"), "there is no class 'c' to leave alone in in; it has a, b"),
        (("in", "full"), "full holds other files and no job.json; choose a new or empty output folder"),
        (("in", "out", "--recipe", "nowhere.toml"), "cannot read the recipe nowhere.toml: No such file or directory"),
    ],
)
def test_arguments_that_cannot_be(
    arguments: tuple[str, ...], message: str, content: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(content.parent)
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    answer = cli("augment", *(("--recipe", "recipe.toml") if "--recipe" not in arguments else ()), *arguments)
    assert answer.code == 2
    assert message in answer.line()
    assert Path("full/mine.txt").read_text() == "mine"
    assert not Path("out").exists()


def test_classes_that_differ_only_in_case_are_refused_by_the_jobs(cli: CommandLine, work: Path) -> None:
    (work / "images" / "Red").mkdir()
    Image.new("RGB", (16, 16)).save(work / "images" / "Red" / "00.png")  # red/00.png on another file system
    (work / "recipe.toml").write_text(RECIPE)
    line = "images: the class folders 'Red' and 'red' differ only in case; rename or merge them"
    assert cli("augment", "images", "out", "--recipe", "recipe.toml").line() == line
    assert cli("stylize", "images", "out").line() == line
    assert not (work / "out").exists()
