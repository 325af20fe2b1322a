"""The bank of paintings: what is embedded, splits without overlap, choices that belong to the sample."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustaug.data.images import write_png
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.style import Painting, StyleBank

SMALL = StyleBank(tuple(Painting(f"p{i}", f"sha{i}", torch.zeros(3, 64, 64, dtype=torch.uint8)) for i in range(12)))


def test_embedded_paintings_are_those_of_the_manifest() -> None:
    folder = files("robustaug.style") / "assets" / "paintings"
    listed = {row["file"]: row for row in json.loads((folder / "manifest.json").read_text())}
    bank = StyleBank.embedded()
    assert len(bank) == 12
    assert {painting.sha256 for painting in bank.paintings} == {row["sha256"] for row in listed.values()}
    for name, row in listed.items():
        assert sha256((folder / name).read_bytes()) == row["sha256"]
    for painting in bank.paintings:
        assert painting.image.dtype == torch.uint8
        assert min(painting.image.shape[1:]) == 288


@given(seed=st.integers(0, 10_000), held_out=st.integers(1, 11))
@settings(max_examples=30)
def test_split_shares_nothing_and_loses_nothing(seed: int, held_out: int) -> None:
    training, unseen = SMALL.split(held_out, seed)
    assert len(unseen) == held_out
    names = [painting.name for painting in (*training.paintings, *unseen.paintings)]
    assert sorted(names) == sorted(painting.name for painting in SMALL.paintings)
    again = SMALL.split(held_out, seed)
    assert [p.name for p in again[1].paintings] == [p.name for p in unseen.paintings]


@given(seed=st.integers(0, 99), key=st.text(max_size=8), count=st.integers(1, 12))
@settings(max_examples=30)
def test_choice_belongs_to_the_sample(seed: int, key: str, count: int) -> None:
    chosen = SMALL.choose(seed, key, count)
    assert len({painting.name for painting in chosen}) == count
    assert chosen == SMALL.choose(seed, key, 12)[:count]


def test_choices_use_every_painting_about_equally() -> None:
    counts = dict.fromkeys((painting.name for painting in SMALL.paintings), 0)
    for number in range(2400):
        counts[SMALL.choose(3, f"key{number}")[0].name] += 1
    assert min(counts.values()) > 140  # 200 expected, standard deviation 13.5
    assert max(counts.values()) < 260


def test_folder_of_paintings(tmp_path: Path) -> None:
    image = (torch.arange(64 * 70) % 251).view(1, 64, 70).expand(3, -1, -1).to(torch.uint8)
    write_png(tmp_path / "The Sower (1888).png", image)
    write_png(tmp_path / "big.png", torch.full((3, 600, 1100), 77, dtype=torch.uint8))
    (tmp_path / "manifest.json").write_text("[]")
    (tmp_path / ".hidden.png").write_text("no picture")
    bank = StyleBank.from_folder(tmp_path)
    assert [painting.name for painting in bank.paintings] == ["the_sower_1888", "big"]
    assert torch.equal(bank.paintings[0].image, image)
    assert bank.paintings[0].sha256 == sha256((tmp_path / "The Sower (1888).png").read_bytes())
    assert bank.paintings[1].image.shape == (3, 512, 939)  # reduced
    assert (bank.paintings[1].image == 77).all()


def test_bad_banks(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match="there is no folder of paintings"):
        StyleBank.from_folder(tmp_path / "none")
    with pytest.raises(RobustAugError, match="holds no pictures"):
        StyleBank.from_folder(tmp_path)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(RobustAugError, match="holds no pictures"):
        StyleBank.from_folder(tmp_path)
    write_png(tmp_path / "a.png", torch.zeros(3, 64, 63, dtype=torch.uint8))
    with pytest.raises(RobustAugError, match=r"a file, no folder of paintings, is .*a.png"):
        StyleBank.from_folder(tmp_path / "a.png")
    with pytest.raises(RobustAugError, match=r"cannot use the painting .*a.png: .*64 px a side"):
        StyleBank.from_folder(tmp_path)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(RobustAugError, match=r"cannot use the painting .*a.png: .*not an image"):
        StyleBank.from_folder(tmp_path)
    write_png(tmp_path / "a.png", torch.zeros(3, 64, 64, dtype=torch.uint8))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    with pytest.raises(RobustAugError, match="a and b are the same file"):
        StyleBank.from_folder(tmp_path)
    (tmp_path / "b.png").rename(tmp_path / "A.PNG")
    write_png(tmp_path / "A.PNG.png", torch.ones(3, 64, 64, dtype=torch.uint8))
    (tmp_path / "A.PNG").unlink()
    (tmp_path / "A.PNG.png").rename(tmp_path / "A_.png")
    with pytest.raises(RobustAugError, match="have one name"):
        StyleBank.from_folder(tmp_path)
    with pytest.raises(RobustAugError, match="cannot hold out 12 of 12"):
        SMALL.split(12)
    with pytest.raises(RobustAugError, match="cannot take 13 different paintings of 12"):
        SMALL.choose(0, "key", 13)
    with pytest.raises(RobustAugError, match="at least one painting"):
        StyleBank(())


@pytest.mark.parametrize("place", ["is_dir", "iterdir", "read_bytes"])
def test_what_the_system_forbids_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    write_png(tmp_path / "a.png", torch.zeros(3, 64, 64, dtype=torch.uint8))

    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, place, forbidden)
    with pytest.raises(RobustAugError, match=rf"^cannot read {tmp_path}.*: Permission denied$"):
        StyleBank.from_folder(tmp_path)


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(RobustAugError, match=r"cannot read .*lost.png: No such file"):
        StyleBank.from_folder(tmp_path)
