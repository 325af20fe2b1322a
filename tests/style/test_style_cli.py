"""``robustaug stylize``: what it prints, its exit codes, and every bad argument's line."""

from pathlib import Path

import pytest
import typer
from click.testing import Result
from style_cases import TINY, photos
from typer.testing import CliRunner

from robustaug.cli.stylize import stylize
from robustaug.data.images import read_image, write_png
from robustaug.errors import RobustAugError
from robustaug.files import read_json, read_jsonl
from robustaug.models import build_model, save_checkpoint


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
        (["content", "content/out"], "lies inside the image folder"),
        (["content", "content"], "lies inside the image folder"),
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strength", "half"], "--strength 'half' is neither a number nor LOW:HIGH"),
        (["--strength", "0.2:1.5"], r"strength 0.2 to 1.5 is outside \[0, 1\]"),
        (["--size", "big"], "--size 'big' is not keep, PX or longest:PX"),
        (["--size", "longest:2000"], "--size longest:2000 is outside 16 to 1024"),
        (["--style-scale", "0:1"], r"style_scale \(0.0, 1.0\) is outside"),
        (["--blend", "13"], "cannot make 1 variants an image with 13 paintings each from 12 paintings"),
        (["--leave", "dog"], "there is no class 'dog' to leave alone in content; it has cat"),
        (["--leave", "cat"], "content folder content holds no images"),
        (["--keep-label-above", "0.5"], "--keep-label-above and --classifier go together"),
        (["--keep-label-above", "1", "--classifier", "none"], r"--keep-label-above 1.0 is outside \[0, 1\)"),
        (["--keep-label-above", "0.5", "--classifier", "none"], "checkpoint none does not exist"),
        (["--set", "steps=3"], "--set needs a fixed --size PX"),
        (["--size", "16", "--set", "stpes=3"], "--set stpes: there is no such setting; use one of working_size, "),
        (["--size", "16", "--set", "steps=many"], "--set steps=many: this setting is of type int"),
        (["--size", "16", "--set", "style_layers=['conv9_1']"], "the embedded weights hold no layer 'conv9_1'"),
        (["--size", "16", "--set", "steps=3", "--method", "adain"], "--set goes with --method gatys"),
        (["--decoder", "d.safetensors"], "--decoder goes with --method adain"),
        (["--weights", "none.pth"], "there is no weights file none.pth"),
        (["--styles", "other-class"], "styles of another class need images of two classes or more"),
    ],
)
def test_options_that_mean_nothing_are_one_line(
    content: Path, tmp_path: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("content", "out", *options)
    assert isinstance(result.exception, RobustAugError), result.exception
    with pytest.raises(RobustAugError, match=message) as caught:
        raise result.exception
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_every_choice_reaches_the_manifest(content: Path, tmp_path: Path) -> None:
    write_png(content / "dog" / "0.png", photos(1, 24, 18)[0])
    write_png(content / "cow" / "0.png", photos(1, 24, 18)[0])
    options = ["--strength", "0.3:0.9", "--blend", 2, "--per-image", 2, "--style-scale", "0.5:0.9", "--size", "16"]
    settings = ["--set", "steps=1", "--set", "style_layers=['conv1_2']", "--set", "content_layers=['conv1_1']"]
    result = run(content, tmp_path / "out", *options, *settings, "--leave", "cat", "--color", "statistics")
    assert (result.exit_code, result.stdout) == (0, f"4 stylised images written to {tmp_path / 'out'}.\n")
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert sorted({row["label"] for row in rows}) == ["cow", "dog"]
    for row in rows:
        assert 0.3 <= row["strength"] <= 0.9
        assert row["color"] == "statistics"
        assert row["size"] == [16, 16]
        assert len(row["style"].split("+")) == len(row["style_sha256"]) == len(row["style_boxes"]) == 2
        assert sum(row["style_weights"]) == pytest.approx(1)
    assert len({row["strength"] for row in rows}) == 4
    assert read_json(tmp_path / "out" / "job.json")["settings"]["style_layers"] == ["conv1_2"]


def test_another_job_needs_overwrite(content: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(content, out).exit_code == 0
    (out / "cat" / "mine.png").write_bytes(b"mine")
    before = {path.name for path in (out / "cat").iterdir()}
    refused = run(content, out, "--strength", 0.5)
    assert "strength differ" in str(refused.exception)
    assert str(refused.exception).endswith("or delete this one with --overwrite")
    assert {path.name for path in (out / "cat").iterdir()} == before
    again = run(content, out, "--strength", 0.5, "--seed", 9, "--overwrite")
    assert again.stdout == f"3 stylised images written to {out}.\n"
    rows = read_jsonl(out / "manifest.jsonl")
    assert {path.name for path in (out / "cat").iterdir()} == {Path(row["path"]).name for row in rows} | {"mine.png"}
    assert (out / "cat" / "mine.png").read_bytes() == b"mine"
    assert run(content, out, "--strength", 0.5, "--seed", 9, "--overwrite").stdout.startswith("Nothing to do")


def test_textures_and_own_images_as_styles(content: Path, tmp_path: Path) -> None:
    write_png(content / "dog" / "0.png", photos(1, 24, 18, seed=7)[0])
    for word in ("textures", "own", "other-class"):
        assert run(content, tmp_path / word, "--styles", word).exit_code == 0
    for word in ("own", "other-class"):
        for row in read_jsonl(tmp_path / word / "manifest.jsonl"):
            source = row["source"].replace("/", "_").removesuffix(".png")
            assert not row["style"].startswith(source)
            if word == "other-class":
                assert row["style"].startswith("dog" if row["label"] == "cat" else "cat")


def test_a_classifier_drops_what_it_does_not_recognise(content: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_png(content / "dog" / f"{number}.png", photos(1, 16, 16, seed=10 + number)[0])
    model = build_model("small_cnn", 2, (16, 16), seed=4)
    save_checkpoint(tmp_path / "model.safetensors", model, class_names=("cat", "dog"), extra={})
    options = [
        "--size",
        16,
        "--per-image",
        3,
        "--classifier",
        tmp_path / "model.safetensors",
        "--keep-label-above",
        0.5,
    ]
    result = run(content, tmp_path / "out", *options)
    rows, dropped = (read_jsonl(tmp_path / "out" / f"{name}.jsonl") for name in ("manifest", "dropped"))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{len(rows)} stylised images written to {tmp_path / 'out'}.",
        f"{len(dropped)} were dropped because they no longer show their label: see dropped.jsonl.",
    ]
    assert 0 < len(rows) == 18 - len(dropped) < 18
    for row in rows:
        image = read_image(tmp_path / "out" / row["path"])[None].float() / 255
        share = model.eval()(image).detach().softmax(1)[0, ["cat", "dog"].index(row["label"])]
        assert row["label_probability"] == pytest.approx(float(share), abs=2e-4)
        assert row["label_probability"] > 0.5
    assert all(row["label_probability"] <= 0.5 for row in dropped)
    assert run(content, tmp_path / "out", *options).stdout.startswith("Nothing to do: all 18 variants")


def test_names_that_would_break_a_line(content: Path, tmp_path: Path) -> None:
    (content / "cat" / "two\nlines\x1b[31m.png").write_bytes(b"broken")
    result = run(content, tmp_path / "out")
    assert result.stderr.splitlines()[1].startswith("  cat/two\\nlines\\x1b[31m.png: ")
    assert len(result.stderr.splitlines()) == 2


def test_help_names_every_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = run("--help").stdout
    for word in ("gatys", "adain", "luminance", "statistics", "longest:PX", "--overwrite", "ray"):
        assert word in text
