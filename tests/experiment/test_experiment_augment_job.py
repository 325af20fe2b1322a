"""The job behind ``robustaug augment``: what it writes, resumed and in shards to the same bytes, and in balance."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustaug.attacks import PGD, AdversarialAugmenter, ThreatModel
from robustaug.data.augmentation import build_techniques
from robustaug.data.augmenter import ClassicalAugmenter
from robustaug.data.content import Item, folder_items, items_of
from robustaug.data.images import read_image, write_png
from robustaug.data.imageset import ImageSet
from robustaug.data.variants import load_variants
from robustaug.errors import RobustAugError
from robustaug.experiment.augment_job import AugmentSettings, augment_images
from robustaug.files import read_jsonl, sha256
from robustaug.randomness import derive_seed
from robustaug.review.gallery import read_gallery

SIZES = [(16, 16), (20, 16), (16, 16), (17, 17), (16, 16), (20, 16)]
RECIPE = [
    {"name": "horizontal_flip", "probability": 0.5},
    {"name": "affine", "probability": 0.5},
    {"name": "contrast", "probability": 0.7},
    {"name": "trivialaugment", "probability": 0.3},
]


def classical(*entries: object) -> ClassicalAugmenter:
    return ClassicalAugmenter(build_techniques(entries, "techniques"))  # type: ignore[arg-type]


def noise(height: int, width: int, seed: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """Images of three sizes in two classes."""
    for number, size in enumerate(SIZES):
        write_png(tmp_path / "content" / f"class{number % 2}" / f"{number}.png", noise(*size, number))
    return tmp_path / "content"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_files_and_manifest(content: Path, tmp_path: Path) -> None:
    items, _ = folder_items(content)
    result = augment_images(items, tmp_path / "out", classical(*RECIPE), AugmentSettings(3, seed=5))
    assert (result.written, result.already_done, result.skipped) == (18, 0, ())
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    expected = sorted(f"class{n % 2}/{n}__augmented-{variant}.png" for n in range(6) for variant in (1, 2, 3))
    assert [row["path"] for row in rows] == expected
    assert set(tree(tmp_path / "out")) == {*expected, "manifest.jsonl", "job.json"}
    augmenter, redrawn = classical(*RECIPE), 0
    for row in rows:
        source = content / row["source"]
        assert (row["kind"], row["label"], row["seed"]) == ("classical", source.parent.name, 5)
        assert row["source_sha256"] == sha256(source.read_bytes())
        for attempt in range(100):
            seed = derive_seed(5, row["source"], row["variant"], "augment", attempt)
            drawn = augmenter.drawn(seed)
            if drawn["operations"]:
                break
        redrawn += attempt > 0
        assert {key: row[key] for key in drawn} == drawn
        assert row["technique"] == "+".join(operation["name"] for operation in row["operations"]) != ""
        alone = augmenter.augment(read_image(source)[None] / 255, torch.zeros(1), torch.tensor([seed]))[0]
        assert torch.equal(read_image(tmp_path / "out" / row["path"]), (alone * 255).round().to(torch.uint8))
    assert redrawn > 0  # 0.5 * 0.5 * 0.3 * 0.7 of the first draws change nothing


def test_training_reads_what_the_job_writes(tmp_path: Path) -> None:
    images = torch.stack([noise(16, 16, number) for number in range(4)])
    keys = tuple(f"digits/{number:05d}" for number in range(4))
    originals = ImageSet(images, torch.tensor([0, 1, 1, 0]), keys, ("a", "b", "c", "d"), ("nought", "one"))
    augment_images(items_of(originals), tmp_path, classical("vertical_flip"), AugmentSettings(2))
    variants = load_variants(tmp_path, originals, kinds=("classical",))
    assert sorted(variants.sources) == sorted(keys * 2)
    for image, label, source in zip(variants.images, variants.labels, variants.sources, strict=True):
        number = keys.index(source)
        assert label == originals.labels[number]
        assert torch.equal(image, originals.images[number].flip(1))


def test_an_attack_is_an_augmenter_of_the_job(tmp_path: Path) -> None:
    """Classes brighter and darker: every value moves by eps, against the class; review and composing read the lines."""
    images = torch.stack([noise(16, 16, number) for number in range(4)])
    keys = tuple(f"light/{number}" for number in range(4))
    originals = ImageSet(images, torch.tensor([0, 1, 1, 0]), keys, ("a", "b", "c", "d"), ("dark", "bright"))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2, bias=False))
    nn.init.constant_(model[1].weight[0], -0.01)
    nn.init.constant_(model[1].weight[1], 0.01)
    augmenter = AdversarialAugmenter(PGD(ThreatModel("linf", "8/255"), steps=4), model)
    names = originals.class_names  # not in the order of the alphabet
    assert augment_images(items_of(originals), tmp_path, augmenter, classes=names).written == 4
    variants = load_variants(tmp_path, originals, kinds=("adversarial",))
    for image, label, source in zip(variants.images, variants.labels, variants.sources, strict=True):
        moved = originals.images[keys.index(source)].int() + (8 if label == 0 else -8)
        assert torch.equal(image.int(), moved.clamp(0, 255))
    listed = read_gallery(tmp_path).variants
    assert {(each.kind, each.techniques) for each in listed} == {("adversarial", ("PGD",))}
    assert augment_images(items_of(originals), tmp_path, augmenter, classes=names).written == 0
    with pytest.raises(RobustAugError, match="'bright' is none of the classes dark, dim; name it, or leave it"):
        augment_images(items_of(originals), tmp_path / "other", augmenter, classes=("dark", "dim"))


def test_order_shards_and_sizes_of_batches_give_the_same_files(
    content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, augmenter, settings = folder_items(content)[0], classical(*RECIPE), AugmentSettings(4, balance=1.0)
    augment_images(items, tmp_path / "whole", augmenter, settings)
    whole = tree(tmp_path / "whole")
    monkeypatch.setattr("robustaug.experiment.augment_job._BATCH", 1)
    augment_images(items[::-1], tmp_path / "single", augmenter, settings)
    assert tree(tmp_path / "single") == whole
    monkeypatch.setattr("robustaug.experiment.augment_job._BATCH", 3)
    for index in (1, 2, 0):
        assert not (tmp_path / "shards" / "manifest.jsonl").exists()
        augment_images(items, tmp_path / "shards", augmenter, settings, shard=(index, 3))
    shards = tree(tmp_path / "shards")
    assert sorted(set(shards) - set(whole)) == [f"manifest-{i}-of-3.jsonl" for i in (1, 2, 3)]
    assert all(shards[name] == value for name, value in whole.items())
    again = augment_images(items, tmp_path / "shards", augmenter, settings)
    assert (again.written, again.already_done) == (0, 24)


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from robustaug.data.augmentation import build_techniques
from robustaug.data.augmenter import ClassicalAugmenter
from robustaug.data.content import folder_items
from robustaug.experiment.augment_job import AugmentSettings, augment_images

content, out = map(Path, sys.argv[1:3])
augmenter = ClassicalAugmenter(build_techniques(["horizontal_flip", "hue"], "techniques"))

def run(folder, delay):
    "A job in a process of its own, killed after a while; whether it was."
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # torch renews its pool after a fork, which two threads must not ask for at once
        try:
            augment_images(folder_items(content)[0], folder, augmenter, AugmentSettings(20))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code == -signal.SIGKILL

began = time.monotonic()
assert not run(out / "whole", None)
seconds, kills, rounds, chance = time.monotonic() - began, 0, 0, random.Random(3)
while kills < 4:
    folder = out / f"killed-{rounds}"
    for _ in range(2):
        kills += run(folder, chance.uniform(0, seconds))
    assert not run(folder, None)
    rounds += 1
    assert rounds < 20
"""


def test_killed_at_random_moments_and_resumed_the_tree_is_the_same(content: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLER, content, tmp_path / "out"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, *others = [tree(folder) for folder in sorted((tmp_path / "out").iterdir(), reverse=True)]
    assert len(whole) == 120 + 2
    assert len(others) >= 2
    assert all(other == whole for other in others)


def test_changed_sources_and_lost_files_are_made_again(content: Path, tmp_path: Path) -> None:
    out, augmenter = tmp_path / "out", classical("hue")
    augment_images(folder_items(content)[0], out, augmenter)
    whole = tree(out)
    (out / "class1" / "1__augmented-1.png").unlink()
    assert augment_images(folder_items(content)[0], out, augmenter).written == 1
    assert tree(out) == whole
    write_png(content / "class0" / "0.png", noise(16, 16, 99))
    assert augment_images(folder_items(content)[0], out, augmenter).written == 1
    changed = [path for path, value in tree(out).items() if value != whole[path]]
    assert changed == ["class0/0__augmented-1.png", "manifest.jsonl"]
    (content / "class0" / "0.png").write_bytes(b"broken")
    (skipped,) = augment_images(folder_items(content)[0], out, augmenter).skipped
    assert skipped.path == "class0/0.png"
    assert set(tree(out)) == set(whole) - {"class0/0__augmented-1.png"}


def items_with(**sizes: int) -> list[Item]:
    image = noise(8, 8, 0)
    return [
        Item(f"{label}/{number:02}.png", label, lambda: image, sha256(b"x"))
        for label, count in sizes.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("per_image", "ratio", "expected"),
    [(0, 1.0, {"b": 7, "c": 8}), (0, 0.5, {"b": 2, "c": 3}), (2, 0.9, {"a": 20, "b": 24, "c": 25}), (0, 0.1, {})],
)
def test_a_balance_brings_each_class_to_its_share_of_the_largest(
    tmp_path: Path, per_image: int, ratio: float, expected: dict[str, int]
) -> None:
    items = items_with(a=10, b=3, c=2)
    augment_images(items, tmp_path / "out", classical("vertical_flip"), AugmentSettings(per_image, ratio))
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert Counter(row["label"] for row in rows) == expected
    for label in expected:  # no image is used more than once more often than another of its class
        uses = Counter(row["source"] for row in rows if row["label"] == label)
        every = [uses[item.key] for item in items if item.label == label]
        assert max(every) - min(every) <= 1


def test_which_images_of_a_class_get_one_more_is_drawn() -> None:
    items = items_with(a=40, b=30)
    drawn = [AugmentSettings(1, 1.0, seed).counts(items)[40:] for seed in (0, 1)]
    assert [sum(each) for each in drawn] == [50, 50]
    assert drawn[0] != drawn[1]


def test_what_cannot_be(content: Path, tmp_path: Path) -> None:
    items, out = folder_items(content)[0], tmp_path / "out"
    for arguments, message in (
        ((0,), "cannot make 0 variants an image; take 1 or more"),
        ((-1, 0.5), "cannot make -1 variants an image; take 0 or more"),
        ((1, 0.0), "balance is 0; it is a share of the largest class, above 0 and up to 1"),
        ((1, float("nan")), "balance is nan"),
    ):
        with pytest.raises(RobustAugError, match=message):
            AugmentSettings(*arguments)
    with pytest.raises(RobustAugError, match="there are no images to augment"):
        augment_images([], out, classical("hue"))
    assert not out.exists()
    augment_images(items, out, classical("hue"))
    before = tree(out)
    for other, settings, name in (
        (classical("crop"), AugmentSettings(), "techniques"),
        (classical("hue"), AugmentSettings(2), "per_image"),
        (classical("hue"), AugmentSettings(seed=1), "seed"),
    ):
        with pytest.raises(RobustAugError, match=rf"holds another job \(its {name} differ\).*--overwrite"):
            augment_images(items, out, other, settings)
        assert tree(out) == before
    augment_images(items, out, classical("crop"), overwrite=True)
    augment_images(items, tmp_path / "fresh", classical("crop"))
    assert tree(out) == tree(tmp_path / "fresh")
    with pytest.raises(RobustAugError, match="mixup mixes the labels of a batch, for a training loop alone"):
        classical("hue", "mixup")


def test_a_name_as_long_as_a_file_system_takes(tmp_path: Path) -> None:
    names = ["x" * 250, "x" * 251]
    items = [Item(f"a/{name}", "a", lambda: noise(8, 8, 0), sha256(b"x")) for name in names]
    augment_images(items, tmp_path / "out", classical("vertical_flip"), AugmentSettings(2))
    paths = [row["path"] for row in read_jsonl(tmp_path / "out" / "manifest.jsonl")]
    assert len(set(paths)) == 4
    assert all((tmp_path / "out" / path).is_file() for path in paths)
