"""The batch job: what it writes, that it resumes to the same bytes, and what it refuses."""

import dataclasses
import json
import threading
from pathlib import Path

import pytest
import torch
from job_cases import tree
from style_cases import photos, with_settings

from robustaug.data.images import read_image, write_png
from robustaug.data.imageset import ImageSet
from robustaug.data.variants import load_variants
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl, sha256
from robustaug.style import Gatys, Painting, StyleBank, folder_items
from robustaug.style.job import Item, JobSettings, items_of, stylize


@pytest.fixture(scope="session")
def bank(stripes: Painting, dots: Painting) -> StyleBank:
    return StyleBank((dots, stripes))


def test_files_and_manifest(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, _ = folder_items(content)
    result = stylize(items, tmp_path / "out", bank, tiny, JobSettings(per_image=2, seed=5, strength=0.8))
    assert (result.written, result.already_done, result.skipped) == (12, 0, ())
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert [row["path"] for row in rows] == sorted(
        f"class{number % 2}/{number}__{painting.name}.png" for number in range(6) for painting in bank.paintings
    )
    closing = {"manifest.jsonl", "job.json", "contact_sheet.png"}
    assert set(tree(tmp_path / "out")) == {row["path"] for row in rows} | closing
    paintings = {painting.name: painting for painting in bank.paintings}
    for row in rows:
        source = content / row["source"]
        painting = paintings[row["style"]]
        image = read_image(source).float()[None] / 255
        expected = tiny(image, painting, strength=0.8)[0]  # alone: the same bytes as in the job's batches
        assert torch.equal(read_image(tmp_path / "out" / row["path"]), (expected * 255).round().to(torch.uint8))
        assert row["source_sha256"] == sha256(source.read_bytes())
        assert row["label"] == source.parent.name
        assert row["style_sha256"] == painting.sha256
        assert row["kind"] == "stylised"
        assert (row["strength"], row["seed"], row["size"]) == (0.8, 5, list(expected.shape[1:]))
        assert 0 < row["style_loss"] < row["first_style_loss"]


def test_the_composite_data_set_reads_what_the_job_writes(tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    images = (photos(4, 16, 16) * 255).to(torch.uint8)
    keys = tuple(f"digits/{number:05d}" for number in range(4))
    originals = ImageSet(images, torch.tensor([0, 1, 1, 0]), keys, ("a", "b", "c", "d"), ("nought", "one"))
    stylize(items_of(originals), tmp_path, bank, tiny, JobSettings(strength=1.0))
    assert (tmp_path / "one").is_dir()  # class folders, although the keys have none
    variants = load_variants(tmp_path, originals)
    assert sorted(variants.sources) == list(keys)
    for image, label, source in zip(variants.images, variants.labels, variants.sources, strict=True):
        number = keys.index(source)
        assert label == originals.labels[number]
        style = bank.choose(0, source)[0]
        alone = tiny(images[number : number + 1].float() / 255, style)[0]
        assert torch.equal(image, (alone * 255).round().to(torch.uint8))


def test_order_batches_and_shards_give_the_same_files(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys
) -> None:
    items, _ = folder_items(content)
    stylize(items, tmp_path / "whole", bank, tiny)
    stylize(items[::-1], tmp_path / "reversed", bank, dataclasses.replace(tiny, batch_size=1))
    assert tree(tmp_path / "reversed") == tree(tmp_path / "whole")
    for index in (1, 2, 0):
        assert not (tmp_path / "shards" / "manifest.jsonl").exists()
        assert stylize(items, tmp_path / "shards", bank, tiny, shard=(index, 3)).written == 2
    shards = tree(tmp_path / "shards")
    assert sorted(set(shards) - set(tree(tmp_path / "whole"))) == [f"manifest-{i}-of-3.jsonl" for i in (1, 2, 3)]
    assert all(shards[name] == value for name, value in tree(tmp_path / "whole").items())
    assert stylize(items, tmp_path / "shards", bank, tiny).already_done == 6


def test_a_second_run_does_nothing(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, _ = folder_items(content)
    out = tmp_path / "out"
    stylize(items, out, bank, tiny)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    result = stylize(items, out, bank, tiny)
    assert (result.written, result.already_done) == (0, 6)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_changed_sources_and_lost_files_are_made_again(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys
) -> None:
    out = tmp_path / "out"
    stylize(folder_items(content)[0], out, bank, tiny)
    whole = tree(out)
    lost = next(path for path in whole if path.endswith(".png"))
    (out / lost).unlink()
    assert stylize(folder_items(content)[0], out, bank, tiny).written == 1
    assert tree(out) == whole
    write_png(content / "class0" / "0.png", photos(1, 16, 16, seed=99)[0])
    assert stylize(folder_items(content)[0], out, bank, tiny).written == 1
    changed = [path for path, value in tree(out).items() if value != whole[path]]
    made = f"class0/0__{bank.choose(0, 'class0/0.png')[0].name}.png"
    assert changed == [made, "contact_sheet.png", "manifest.jsonl"]  # all three tell of the new image
    (content / "class0" / "0.png").write_bytes(b"broken")
    assert stylize(folder_items(content)[0], out, bank, tiny).skipped
    assert set(tree(out)) == set(whole) - {made}  # nothing is left of an image that cannot be used any more
    assert made not in [row["path"] for row in read_jsonl(out / "manifest.jsonl")]


def test_what_is_read_ahead_and_waits_has_a_bound(tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    """Every image has a size of its own, so that no batch ever fills."""
    out, lock, most = tmp_path / "out", threading.Lock(), [0, 0]
    style = dataclasses.replace(tiny, batch_size=2)

    def item(number: int) -> Item:
        def read() -> torch.Tensor:
            with lock:
                most[0] += 1
                most[1] = max(most[1], most[0] - len(list(out.rglob("*.png"))))  # read and not yet written
            return (photos(1, 16, 16 + number, seed=number)[0] * 255).byte()

        return Item(f"{number:02}.png", "", read, sha256(b"%d" % number))

    assert stylize([item(number) for number in range(60)], out, bank, style).written == 60
    assert most[0] == 60 + 12  # once more for the contact sheet
    assert most[1] <= 30, most  # 4 read ahead, 4 that wait, 8 threads and what they hold; never all


def test_size_cuts_squares(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, _ = folder_items(content)
    stylize(items[:3], tmp_path / "out", bank, tiny, JobSettings(size=24))
    assert [row["size"] for row in read_jsonl(tmp_path / "out" / "manifest.jsonl")] == [[24, 24]] * 3
    with pytest.raises(RobustAugError, match=r"holds another job \(its size differ"):
        stylize(items[:3], tmp_path / "out", bank, tiny)


def test_another_job_or_foreign_files_are_refused(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, _ = folder_items(content)
    out = tmp_path / "out"
    stylize(items, out, bank, tiny)
    before = tree(out)
    other = with_settings(tiny, steps=3)
    for arguments, name in (
        ((items, out, bank, other), "settings"),
        ((items[:-1], out, bank, tiny), "content"),
        ((items, out, StyleBank(bank.paintings[:1]), tiny), "paintings"),
        ((items, out, bank, dataclasses.replace(tiny, color="luminance")), "color"),
    ):
        with pytest.raises(RobustAugError, match=rf"holds another job \(its {name} differ\); choose another output"):
            stylize(*arguments)
    with pytest.raises(RobustAugError, match=r"its per_image, seed, strength differ"):
        stylize(items, out, bank, tiny, JobSettings(per_image=2, strength=0.5, seed=1))
    assert tree(out) == before
    with pytest.raises(RobustAugError, match=r"holds other files and no job\.json"):
        stylize(items, content, bank, tiny)
    (out / "job.json").write_text("{")
    with pytest.raises(RobustAugError, match="not valid JSON"):
        stylize(items, out, bank, tiny)


def test_bad_arguments(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, _ = folder_items(content)
    (tmp_path / "file").write_text("")
    for out, options, message in (
        ("out", {"per_image": 3}, "cannot make 3 variants an image from 2 paintings; take 1 to 2"),
        ("out", {"per_image": 0}, "cannot make 0 variants"),
        ("out", {"per_image": 2, "blend": 2}, "cannot make 2 variants an image with 2 paintings each from 2 .* 1 to 1"),
        ("out", {"blend": 0}, "cannot make 1 variants"),
        ("out", {"strength": 1.1}, "strength 1.1 is outside"),
        ("out", {"strength": (0.5, 0.2)}, "strength 0.5 to 0.2 is outside"),
        ("out", {"size": 15}, "size 15 is outside 16 to 1024 px"),
        ("out", {"longest": 1025}, "size 1025 is outside 16 to 1024 px"),
        ("out", {"longest": 20, "size": 20}, "not both"),
        ("out", {"style_scale": (0.0, 0.5)}, r"style_scale \(0.0, 0.5\) is outside \(0, 1\]"),
        ("file", {}, "cannot write to .*file: File exists"),
        ("file/below", {}, "cannot write to .*below: Not a directory"),
    ):
        with pytest.raises(RobustAugError, match=message):
            stylize(items, tmp_path / out, bank, tiny, JobSettings(**options))  # type: ignore[arg-type]
    with pytest.raises(RobustAugError, match="shard 5 of 4 does not exist"):
        stylize(items, tmp_path / "out", bank, tiny, shard=(4, 4))
    assert not (tmp_path / "out").exists()
    with pytest.raises(RobustAugError, match="there are no images to stylise"):
        stylize([], tmp_path / "out", bank, tiny)
    with pytest.raises(RobustAugError, match=r"content folder .*none does not exist"):
        folder_items(tmp_path / "none")
    with pytest.raises(RobustAugError, match=r"content folder .*file is a file"):
        folder_items(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RobustAugError, match="holds no images"):
        folder_items(tmp_path / "empty")


def test_names_that_would_collide(tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    items = [Item(key, "", lambda: image) for key in ("a.jpg", "a.png", "a.jpg.png", "b.png")]
    stylize(items, tmp_path / "out", StyleBank(bank.paintings[:1]), tiny)
    rows = {row["source"]: row["path"] for row in read_jsonl(tmp_path / "out" / "manifest.jsonl")}
    assert rows == {
        "a.jpg": "a.jpg__dots.png",
        "a.png": "a.png__dots.png",
        "a.jpg.png": "a.jpg.png__dots.png",
        "b.png": "b__dots.png",
    }
    with pytest.raises(RobustAugError, match=r"two images would both become a\.jpg; rename"):
        stylize([items[0], items[0]], tmp_path / "other", StyleBank(bank.paintings[:1]), tiny)


def test_labels_of_a_folder_tree(tmp_path: Path) -> None:
    for key in ("x.png", "cat/x.png", "cat/young/x.png", "train/dog/x.png", "test/x.png"):
        write_png(tmp_path / key, torch.zeros(3, 8, 8, dtype=torch.uint8))
    labels = {item.key: item.label for item in folder_items(tmp_path)[0]}
    assert labels == {
        "x.png": "",
        "cat/x.png": "cat",
        "cat/young/x.png": "cat",
        "train/dog/x.png": "dog",
        "test/x.png": "test",
    }


def test_job_file_names_everything_that_matters(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    stylize(folder_items(content)[0], tmp_path / "out", bank, tiny)
    described = json.loads((tmp_path / "out" / "job.json").read_text())
    assert described["paintings"] == {painting.name: painting.sha256 for painting in bank.paintings}
    assert described["encoder"] == tiny.encoder.fingerprint
    assert described["settings"]["steps"] == 2
    assert described["precision"] == "float32"
