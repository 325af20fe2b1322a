"""Content and paintings that nobody should bring, and some that only look odd: a clear line each, nothing lost."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from job_cases import tree
from PIL import Image
from style_cases import photos

from robustaug.data.images import read_image, write_png
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl
from robustaug.style import Gatys, Painting, StyleBank, folder_items, stylize
from robustaug.style.job import Item, JobResult
from robustaug.style.own_styles import own_styles


@pytest.fixture
def bank(dots: Painting) -> StyleBank:
    return StyleBank((dots,))


@pytest.fixture
def content(tmp_path: Path) -> Path:
    write_png(tmp_path / "content" / "good" / "0.png", photos(1, 16, 16)[0])
    return tmp_path / "content"


def run(content: Path, out: Path, bank: StyleBank, tiny: Gatys) -> tuple[JobResult, dict[str, str]]:
    """The result, and the reasons of all that was not used."""
    items, not_images = folder_items(content)
    result = stylize(items, out, bank, tiny)
    return result, {item.path: item.reason for item in (*not_images, *result.skipped)}


def made(out: Path) -> dict[str, torch.Tensor]:
    return {row["source"]: read_image(out / row["path"], min_side=1) for row in read_jsonl(out / "manifest.jsonl")}


@pytest.mark.parametrize(
    "name",
    [
        "two words.png",
        "line\nbreak.png",
        "tab\tand \x07bell.png",
        "猫.png",
        "кошка.PNG",
        "قط.png",
        "é composed and e\u0301 not.png",
        "emoji 🐈.png",
        "quote'\"\\.png",
        "-rf.png",
        "a" * 251 + ".png",
        "猫" * 83 + ".png",
        "%s {0} $HOME.png",
    ],
)
def test_any_name_of_a_file_and_of_a_class(tmp_path: Path, bank: StyleBank, tiny: Gatys, name: str) -> None:
    folder = tmp_path / "content" / name.removesuffix(".png").removesuffix(".PNG")
    write_png(folder / "x.png", photos(1, 16, 16)[0])
    (folder / "x.png").rename(folder / name)
    result, reasons = run(tmp_path / "content", tmp_path / "out", bank, tiny)
    assert (result.written, reasons) == (1, {})
    (row,) = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert row["source"] == f"{folder.name}/{name}"
    assert row["label"] == folder.name
    assert (tmp_path / "out" / row["path"]).is_file()
    assert Path(row["path"]).parent.name == folder.name
    assert Path(row["path"]).name.endswith("__dots.png")
    if len(name.encode()) < 200:
        assert Path(row["path"]).name == f"{Path(name).stem}__dots.png"
    before = tree(tmp_path / "out")
    assert run(tmp_path / "content", tmp_path / "out", bank, tiny)[0].already_done == 1
    assert tree(tmp_path / "out") == before


def test_long_names_that_begin_alike_stay_apart(tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    for letter in "bc":
        write_png(tmp_path / "content" / "x.png", photos(1, 16, 16)[0])
        (tmp_path / "content" / "x.png").rename(tmp_path / "content" / ("a" * 250 + letter + ".png"))
    assert run(tmp_path / "content", tmp_path / "out", bank, tiny)[0].written == 2
    paths = [row["path"] for row in read_jsonl(tmp_path / "out" / "manifest.jsonl")]
    assert len(set(paths)) == 2
    assert all(len(path) == 255 for path in paths)


def test_a_name_that_is_no_text(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    (content / "good" / "0.png").rename(content / "good" / os.fsdecode(b"caf\xe9.png"))
    write_png(content / "good" / "1.png", photos(1, 16, 16)[0])
    result, reasons = run(content, tmp_path / "out", bank, tiny)
    assert result.written == 1
    assert reasons == {"good/caf\\udce9.png": "its name is not valid UTF-8; rename it"}


def test_links(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    """Links that lead somewhere are followed; loops and links to nowhere are listed."""
    elsewhere = tmp_path / "elsewhere"
    write_png(elsewhere / "deep" / "1.png", photos(1, 16, 16)[0])
    (content / "linked").symlink_to(elsewhere)
    (content / "file.png").symlink_to(elsewhere / "deep" / "1.png")
    (content / "good" / "back").symlink_to(content)
    (elsewhere / "deep" / "around").symlink_to(elsewhere)
    (content / "a.png").symlink_to(content / "b.png")
    (content / "b.png").symlink_to(content / "a.png")
    (content / "nowhere.png").symlink_to(tmp_path / "none")
    result, reasons = run(content, tmp_path / "out", bank, tiny)
    assert set(made(tmp_path / "out")) == {"good/0.png", "linked/deep/1.png", "file.png"}
    assert result.written == 3
    around, loop = "a link that leads back to a folder around it", "cannot be read: Too many levels of symbolic links"
    assert reasons == {
        "good/back": around,
        "linked/deep/around": around,
        "a.png": loop,
        "b.png": loop,
        "nowhere.png": "cannot be read: No such file or directory",
    }


def test_what_is_no_file(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    os.mkfifo(content / "pipe.png")  # to read it would wait for ever
    (content / "folder.png").mkdir()
    write_png(content / "folder.png" / "inside.png", photos(1, 16, 16)[0])
    result, reasons = run(content, tmp_path / "out", bank, tiny)
    assert result.written == 2
    assert reasons == {"pipe.png": "neither a file nor a folder"}


def test_a_folder_that_cannot_be_read_is_listed(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(content / "locked" / "1.png", photos(1, 16, 16)[0])
    scan = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("locked") or str(path) == str(tmp_path):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    result, reasons = run(content, tmp_path / "out", bank, tiny)
    assert result.written == 1
    assert reasons == {"locked": "cannot be read: Permission denied"}
    with pytest.raises(RobustAugError, match=r"content folder .* cannot be read: Permission denied; name a folder"):
        folder_items(tmp_path)


def test_kinds_of_images(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    """An animation gives its first frame, 16 bits become 8, and each is stylised as the plain picture of it is."""
    frames = [(photos(1, 16, 16, seed=number)[0] * 255).byte().permute(1, 2, 0).numpy() for number in range(3)]
    pictures = [Image.fromarray(frame).quantize(64) for frame in frames]
    pictures[0].save(content / "moves.gif", save_all=True, append_images=pictures[1:], duration=50)
    pictures[0].convert("RGB").save(content / "still.png")
    grey = frames[0][..., 0].astype(np.uint16)
    Image.fromarray(grey * 257).save(content / "deep.png")
    Image.fromarray(grey.astype(np.uint8)).save(content / "grey.png")
    result, reasons = run(content, tmp_path / "out", bank, tiny)
    assert (result.written, reasons) == (5, {})
    images = made(tmp_path / "out")
    assert torch.equal(images["moves.gif"], images["still.png"])
    assert torch.equal(images["deep.png"], images["grey.png"])
    assert not torch.equal(images["deep.png"], images["still.png"])


def test_images_of_no_use(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    """Too small, too large, and a few bytes that would become gigabytes."""
    for name, size in (("dot", (1, 1)), ("small", (16, 15)), ("long", (1025, 20)), ("vast", (9000, 8))):
        Image.new("RGB", size).save(content / f"{name}.png")
    Image.new("1", (16_000, 16_000)).save(content / "bomb.png")
    Image.new("1", (17_000, 20)).save(content / "strip.png")
    assert (content / "bomb.png").stat().st_size < 100_000
    items, _ = folder_items(content)
    result = stylize(items, tmp_path / "out", bank, Gatys(encoder=tiny.encoder))
    assert result.written == 1
    assert {item.path: item.reason for item in result.skipped} == {
        "dot.png": "1x1 px is too small; at least 8 px a side are needed",
        "small.png": "16x15 px is too small for style transfer; at least 16 px are needed",
        "long.png": "1025x20 px is too large for style transfer; make the image 1024 px or smaller first",
        "vast.png": "9000x8 px is too small for style transfer; at least 16 px are needed",
        "bomb.png": "more pixels than is safe to decode; make it smaller first",
        "strip.png": "17000x20 px is too large; make it smaller first",
    }


def test_paintings_of_no_use(tmp_path: Path) -> None:
    folder = tmp_path / "art"
    folder.mkdir()
    for content, message in (
        (None, r"the folder of paintings .*art holds no pictures; put some in or name another"),
        (b"no picture", r"cannot use the painting .*a\.png: not an image, .*; replace it or remove it"),
        (b"", r"cannot use the painting .*a\.png: the file is empty; replace it or remove it"),
    ):
        if content is not None:
            (folder / "a.png").write_bytes(content)
        with pytest.raises(RobustAugError, match=message) as caught:
            StyleBank.from_folder(folder)
        assert "\n" not in str(caught.value)
    Image.new("RGB", (63, 200)).save(folder / "a.png")
    with pytest.raises(RobustAugError, match=r"the painting .*a\.png: 63x200 px is too small; at least 64 px"):
        StyleBank.from_folder(folder)
    with pytest.raises(RobustAugError, match="there is no folder of paintings"):
        StyleBank.from_folder(tmp_path / "none")


def test_an_unreadable_folder_of_paintings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(self: Path) -> object:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(RobustAugError, match=f"cannot read {tmp_path}: Permission denied"):
        StyleBank.from_folder(tmp_path)


def test_paintings_that_would_share_a_file_name(content: Path, tmp_path: Path, tiny: Gatys, dots: Painting) -> None:
    twins = StyleBank(tuple(Painting.from_tensor(photos(1, 20, 20, seed=i)[0], name) for i, name in enumerate("Aa")))
    with pytest.raises(RobustAugError, match="the paintings A and a would share a file name"):
        run(content, tmp_path / "out", twins, tiny)


def test_classes_to_leave_alone(content: Path) -> None:
    write_png(content / "train" / "cat" / "1.png", photos(1, 16, 16)[0])
    (content / "train" / "cat" / "note.txt").write_text("")
    items, skipped = folder_items(content, ["cat"])
    assert [item.key for item in items] == ["good/0.png"]
    assert skipped == []
    with pytest.raises(RobustAugError, match=r"there is no class 'dog' to leave alone in .*; it has cat, good"):
        folder_items(content, ["dog"])


def test_the_images_themselves_as_styles(tmp_path: Path) -> None:
    for number in range(6):
        write_png(tmp_path / f"class{number % 2}" / f"{number}.png", photos(1, 20 + number, 30, seed=number)[0])
    Image.new("RGB", (10, 10)).save(tmp_path / "class0" / "small.png")
    (tmp_path / "class0" / "broken.png").write_bytes(b"")
    items, _ = folder_items(tmp_path)
    bank = own_styles(items)
    assert len(bank) == 6
    few = own_styles(items, most=4)
    assert {painting.sha256 for painting in few.paintings} < {painting.sha256 for painting in bank.paintings}
    for item in items:
        for painting in own_styles(items, other_class=True).choose(0, item.key, 3, label=item.label):
            assert item.label not in painting.labels
    with pytest.raises(RobustAugError, match="none of the images can serve as a style"):
        own_styles([item for item in items if "broken" in item.key])


def test_an_items_own_hash_and_that_of_its_pixels(tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    stylize([Item("a", "", lambda: image), Item("b", "", lambda: image, "given")], tmp_path, bank, tiny)
    hashes = {row["source"]: row["source_sha256"] for row in read_jsonl(tmp_path / "manifest.jsonl")}
    assert hashes["b"] == "given"
    assert hashes["a"] == "ef115a0e0c15cdc41958ca46b5b14b456115f4baec5e3ca68599d2a8f435e3b8"  # of 768 zeros


def test_an_image_that_vanishes_is_listed(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    write_png(content / "good" / "1.png", photos(1, 16, 16)[0])
    items, _ = folder_items(content)
    (content / "good" / "1.png").unlink()
    result = stylize(items, tmp_path / "out", bank, tiny)
    assert [(item.path, item.reason) for item in result.skipped] == [
        ("good/1.png", "cannot be read: No such file or directory")
    ]
    assert result.written == 1
