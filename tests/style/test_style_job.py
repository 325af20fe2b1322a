"""The batch job: what it writes, that it resumes to the same bytes, and what it refuses."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from style_cases import photos, with_settings

from robustaug.data import jobs
from robustaug.data.images import read_image, write_png
from robustaug.data.imageset import ImageSet
from robustaug.data.variants import load_variants
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl, sha256
from robustaug.style import Gatys, Item, Painting, StyleBank, folder_items, items_of, job, stylize


@pytest.fixture(scope="session")
def bank(stripes: Painting, dots: Painting) -> StyleBank:
    return StyleBank((dots, stripes))


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """Three sizes of images in two classes."""
    folder = tmp_path / "content"
    for number, size in enumerate([(16, 16), (20, 16), (16, 16), (17, 17), (16, 16), (20, 16)]):
        write_png(folder / f"class{number % 2}" / f"{number}.png", photos(1, *size, seed=number)[0])
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_files_and_manifest(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, _ = folder_items(content)
    result = stylize(items, tmp_path / "out", bank, tiny, per_image=2, seed=5, strength=0.8)
    assert (result.written, result.already_done, result.skipped) == (12, 0, ())
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert [row["path"] for row in rows] == sorted(
        f"class{number % 2}/{number}__{painting.name}.png" for number in range(6) for painting in bank.paintings
    )
    assert set(tree(tmp_path / "out")) == {row["path"] for row in rows} | {"manifest.jsonl", "job.json"}
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
    stylize(items_of(originals), tmp_path, bank, tiny)
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


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import robustaug.style.job as job
from robustaug.data import images
from robustaug.style import Painting, StyleBank, StyleSettings, Gatys, folder_items

content, out, paintings = map(Path, sys.argv[1:4])
save, saved = images.Image.Image.save, []
def save_or_die(self, path, *args, **options):
    saved.append(path)
    save(self, path, *args, **options)
    if len(saved) == 5:
        os.kill(os.getpid(), signal.SIGKILL)  # the fifth file lies there under its temporary name
images.Image.Image.save = save_or_die
style = Gatys(settings=StyleSettings(**eval(sys.argv[4])), precision="float32", batch_size=2)
job.stylize(folder_items(content)[0], out, StyleBank.from_folder(paintings), style, per_image=2)
"""


def test_a_killed_job_resumes_to_the_same_tree(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    for painting in bank.paintings:
        write_png(tmp_path / "paintings" / f"{painting.name}.png", painting.image)
    same_bank = StyleBank.from_folder(tmp_path / "paintings")
    out = tmp_path / "out"
    assert tiny.settings is not None
    arguments = [content, out, tmp_path / "paintings", dataclasses.asdict(tiny.settings)]
    child = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False, env=dict(os.environ))
    assert child.returncode == -signal.SIGKILL
    part = out / "manifest.part.jsonl"
    assert len(read_jsonl(part)) == 4
    assert not (out / "manifest.jsonl").exists()
    assert any(path.name.startswith(".tmp-") for path in out.rglob("*"))
    part.write_bytes(part.read_bytes()[:-20])  # and the last line was torn

    items, _ = folder_items(content)
    result = stylize(items, out, same_bank, tiny, per_image=2)
    assert (result.written, result.already_done) == (9, 3)
    stylize(items, tmp_path / "whole", same_bank, tiny, per_image=2)
    assert tree(out) == tree(tmp_path / "whole")


def test_two_interruptions_after_a_torn_line(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, _ = folder_items(content)
    out, part = tmp_path / "out", tmp_path / "out" / "manifest.part.jsonl"
    append = jobs.append_jsonl

    def append_and_stop(path: Path, row: dict[str, object]) -> None:
        append(path, row)
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "append_jsonl", append_and_stop)
    for is_torn in (True, False, False):
        with pytest.raises(KeyboardInterrupt):
            stylize(items, out, bank, tiny)
        if is_torn:
            part.write_bytes(part.read_bytes()[:-30])
    assert len(read_jsonl(part)) == 2
    monkeypatch.undo()
    stylize(items, out, bank, tiny)
    stylize(items, tmp_path / "whole", bank, tiny)
    assert tree(out) == tree(tmp_path / "whole")


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
    assert [path for path in changed if path.endswith(".png")] == [
        f"class0/0__{bank.choose(0, 'class0/0.png')[0].name}.png"
    ]


def test_unusable_images_are_listed_and_the_rest_goes_on(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys
) -> None:
    whole = (content / "class0" / "0.png").read_bytes()
    (content / "class0" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (content / "class0" / "text.jpg").write_text("no image")
    (content / "class0" / "empty.png").write_bytes(b"")
    (content / "class1" / "notes.md").write_text("no image either")
    (content / ".hidden.png").write_text("in silence")
    Image.new("RGB", (1, 1)).save(content / "class1" / "dot.png")
    Image.new("RGB", (2000, 20)).save(content / "class1" / "long.png")
    items, not_images = folder_items(content)
    assert [(item.path, item.reason) for item in not_images] == [("class1/notes.md", "not an image file (.md)")]
    defaults = dataclasses.replace(tiny, settings=None)
    small = [item for item in items if item.key.startswith("class1/") or "0.png" not in item.key]
    bad = [item for item in small if Path(item.key).stem in ("cut", "text", "empty", "dot", "long")]
    result = stylize([*bad, *items[:1]], tmp_path / "out", bank, defaults)
    assert result.written == 1
    reasons = {item.path: item.reason for item in result.skipped}
    assert sorted(reasons) == [
        "class0/cut.png",
        "class0/empty.png",
        "class0/text.jpg",
        "class1/dot.png",
        "class1/long.png",
    ]
    assert "2000x20 px is too large" in reasons["class1/long.png"]
    assert "1x1 px is too small" in reasons["class1/dot.png"]
    assert len(read_jsonl(tmp_path / "out" / "manifest.jsonl")) == 1


def test_images_of_ever_new_sizes_do_not_pile_up(
    tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_MOST_WAITING", 2)
    out, held = tmp_path / "out", list[int]()

    def item(number: int) -> Item:
        def load() -> torch.Tensor:
            held.append(len(held) + 1 - len(list(out.rglob("*.png"))))  # loaded and not yet written
            return (photos(1, 16, 16 + number, seed=number)[0] * 255).byte()

        return Item(f"{number}.png", "", sha256(b"%d" % number), load)

    assert stylize([item(number) for number in range(7)], out, bank, tiny).written == 7
    assert max(held) == 3  # two that wait, and the new one


def test_size_cuts_squares(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, _ = folder_items(content)
    stylize(items[:3], tmp_path / "out", bank, tiny, size=24)
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
    with pytest.raises(RobustAugError, match=r"its per_image, strength, seed differ"):
        stylize(items, out, bank, tiny, per_image=2, strength=0.5, seed=1)
    assert tree(out) == before
    with pytest.raises(RobustAugError, match=r"holds other files and no job\.json"):
        stylize(items, content, bank, tiny)
    (out / "job.json").write_text("{")
    with pytest.raises(RobustAugError, match="not valid JSON"):
        stylize(items, out, bank, tiny)


def test_a_full_disk_leaves_nothing_half_written(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, _ = folder_items(content)
    out = tmp_path / "out"
    save = Image.Image.save
    saved: list[object] = []

    def save_until_full(self: Image.Image, path: Path, **options: object) -> None:
        saved.append(path)
        if len(saved) > 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "save", save_until_full)
    with pytest.raises(RobustAugError, match=r"cannot write .*: No space left on device; free space"):
        stylize(items, out, bank, tiny)
    assert len([path for path in tree(out) if path.endswith(".png")]) == 2
    monkeypatch.undo()
    assert stylize(items, out, bank, tiny).already_done == 2
    stylize(items, tmp_path / "whole", bank, tiny)
    assert tree(out) == tree(tmp_path / "whole")


def test_bad_arguments(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, _ = folder_items(content)
    (tmp_path / "file").write_text("")
    for out, options, message in (
        ("out", {"per_image": 3}, "cannot make 3 variants an image from 2 paintings; take 1 to 2"),
        ("out", {"per_image": 0}, "cannot make 0 variants"),
        ("out", {"strength": 1.1}, "strength 1.1 is outside"),
        ("out", {"shard": (4, 4)}, "shard 5 of 4 does not exist"),
        ("file", {}, "cannot write to .*file: File exists"),
        ("file/below", {}, "cannot write to .*below: Not a directory"),
    ):
        with pytest.raises(RobustAugError, match=message):
            stylize(items, tmp_path / out, bank, tiny, **options)  # type: ignore[arg-type]
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
    items = [Item(key, "", "h", lambda: image) for key in ("a.jpg", "a.png", "b.png")]
    stylize(items, tmp_path / "out", StyleBank(bank.paintings[:1]), tiny)
    rows = {row["source"]: row["path"] for row in read_jsonl(tmp_path / "out" / "manifest.jsonl")}
    assert rows == {"a.jpg": "a.jpg__dots.png", "a.png": "a.png__dots.png", "b.png": "b__dots.png"}
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
