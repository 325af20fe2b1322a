"""Composing: the parts stay, variants join training alone, every file says where it comes from."""

import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

import pytest
import torch
from compose_cases import darker, decide, variants
from experiment_cases import coloured_squares, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from robustaug.data import DataSplits, ImageSet, load_data, write_png
from robustaug.data import read_image as read
from robustaug.data.content import folder_items
from robustaug.data.decisions import DecisionLog
from robustaug.data.splits import Source
from robustaug.evaluation.checks import pixel_hashes
from robustaug.experiment.compose import compose
from robustaug.experiment.compose.originals import below_class, class_folders
from robustaug.experiment.preserve_job import train_classifier
from robustaug.files import read_jsonl
from robustaug.randomness import derive_seed
from robustaug.training import TrainingSettings


@pytest.fixture
def data(squares: Path) -> DataSplits:
    return load_data(str(squares))


def parts(data: DataSplits) -> dict[str, ImageSet]:
    return {"train": data.train, "validation": data.validation, "test": data.test}


def originals_of(images: ImageSet) -> set[str]:
    """Keys below the part of those that are no variants."""
    return {key.partition("/")[2] for key in images.keys if key.count("/") == 2}


def test_the_parts_are_those_of_the_originals_and_training_has_the_variants(
    squares: Path, data: DataSplits, tmp_path: Path
) -> None:
    made = variants(tmp_path / "made", data.train)
    compose(str(squares), tmp_path / "out", [made])
    for seed in (0, 1):  # whatever the seed: nothing is cut again
        read_back = load_data(str(tmp_path / "out"), seed=seed)
        for part, images in parts(read_back).items():
            assert originals_of(images) == set(parts(data)[part].keys)
        assert read_back.skipped == ()
        assert len(read_back.validation) == len(data.validation)
        assert len(read_back.test) == len(data.test)
        assert len(read_back.train) == 2 * len(data.train)
    joined = {key for key in read_back.train.keys if "/stylised-1/" in key}
    assert {(key.split("/")[1], Path(key).name) for key in joined} == {
        (Path(key).parent.name, f"{Path(key).stem}__night.png") for key in data.train.keys
    }


def test_originals_are_copied_byte_for_byte(squares: Path, data: DataSplits, tmp_path: Path) -> None:
    photo = tmp_path / "photos"
    for number, (key, content) in enumerate(tree(squares).items()):
        path = (photo / key).with_suffix(".jpg" if number % 2 else ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(io.BytesIO(content)).save(path, exif=Image.Exif(), quality=90)
    loaded = load_data(str(photo))
    compose(str(photo), tmp_path / "out", [variants(tmp_path / "made", loaded.train)])
    for row in read_jsonl(tmp_path / "out" / "manifest.jsonl"):
        copy = (tmp_path / "out" / row["path"]).read_bytes()
        origin = (
            photo / row["source"] if row["kind"] == "original" else tmp_path / row["variants"] / row["variant_path"]
        )
        assert copy == origin.read_bytes()
        assert row["sha256"] == hashlib.sha256(copy).hexdigest()


def test_every_file_has_a_line_that_says_where_it_comes_from(squares: Path, data: DataSplits, tmp_path: Path) -> None:
    made = [
        variants(tmp_path / kind, data.train, kind, change=lambda image, n=n: image // (n + 2))
        for n, kind in enumerate(("stylised", "classical", "adversarial"))
    ]
    out = tmp_path / "out"
    compose(str(squares), out, made)
    rows = read_jsonl(out / "manifest.jsonl")
    assert [row["path"] for row in rows] == sorted(tree(out))
    assert Counter(row["kind"] for row in rows) == {
        "original": 30, **dict.fromkeys(("stylised", "classical", "adversarial"), len(data.train)),
    }  # fmt: skip
    hashes = dict(zip(data.train.keys, data.train.sha256, strict=True))
    for row in rows:
        assert row["path"].split("/")[:2] == [row["part"], row["label"]]
        if row["kind"] != "original":
            assert row["part"] == "train"
            assert row["source_sha256"] == hashes[row["source"]]
            assert row["label"] == row["source"].split("/")[0]
    (classical,) = [row for row in rows if row["kind"] == "classical" and row["source"] == data.train.keys[0]]
    assert classical["operations"] == [{"name": "flip"}, {"name": "blur", "sigma": [0.1, 2.0]}]
    assert classical["technique"] == "flip+blur"
    assert set(load_data(str(out)).train.keys) == {row["path"] for row in rows if row["part"] == "train"}


def test_two_variants_with_one_name_both_join(squares: Path, data: DataSplits, tmp_path: Path) -> None:
    first = variants(tmp_path / "a" / "made", data.train)
    second = variants(tmp_path / "b" / "made", data.train, change=lambda image: image // 3)
    assert sorted(tree(first)) == sorted(tree(second))
    out = tmp_path / "out"
    compose(str(squares), out, [first, second])
    for number, folder in ((1, first), (2, second)):
        found = {p.parent.parent.name + "/" + p.name: p.read_bytes() for p in out.glob(f"train/*/stylised-{number}/*")}
        assert found == tree(folder)


def test_composing_again_on_a_composed_data_set_takes_no_file_s_place(
    squares: Path, data: DataSplits, tmp_path: Path
) -> None:
    compose(str(squares), tmp_path / "one", [variants(tmp_path / "a", data.train)])
    once = load_data(str(tmp_path / "one"))
    again = variants(tmp_path / "b", once.train, change=lambda image: image // 3)
    compose(str(tmp_path / "one"), tmp_path / "two", [again])
    twice = load_data(str(tmp_path / "two"))
    assert len(twice.train) == 4 * len(data.train)
    assert set(once.train.keys) <= set(twice.train.keys)
    assert len({key for key in twice.train.keys if "/stylised-2/" in key}) == 2 * len(data.train)
    made = {row["path"]: row["made"] for row in read_jsonl(tmp_path / "two" / "manifest.jsonl") if "made" in row}
    first = read_jsonl(tmp_path / "one" / "manifest.jsonl")
    assert made == {row["path"]: row for row in first if row["kind"] != "original"}
    card = (tmp_path / "two" / "DATACARD.md").read_text()
    assert f"{len(data.train)} of the originals are variants that an earlier composition added" in card
    items, not_images = folder_items(tmp_path / "two")  # augment and stylize take it as it is
    assert (len(items), not_images) == (len(twice.train) + len(twice.validation) + len(twice.test), [])


def test_variants_of_held_out_images_are_left_out_and_counted(squares: Path, data: DataSplits, tmp_path: Path) -> None:
    everything = ImageSet(
        torch.cat([images.images for images in parts(data).values()]),
        torch.cat([images.labels for images in parts(data).values()]),
        tuple(key for images in parts(data).values() for key in images.keys),
        tuple(digest for images in parts(data).values() for digest in images.sha256),
        data.class_names,
    )
    made = variants(tmp_path / "made", everything)
    (origin,) = compose(str(squares), tmp_path / "out", [made]).origins
    assert origin.added == len(data.train)
    assert origin.left_out == {
        "its source is a validation image": len(data.validation),
        "its source is a test image": len(data.test),
    }
    held_out = {*data.validation.keys, *data.test.keys}
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert not [row for row in rows if row["kind"] != "original" and row["source"] in held_out]


def test_variants_of_a_twin_of_a_held_out_image_are_left_out(tmp_path: Path) -> None:
    """DATA's own parts may hold one image twice; and a variant may happen to equal a held-out image."""
    root = tmp_path / "photos"
    for part, count in (("train", 4), ("validation", 2), ("test", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                generator = torch.Generator().manual_seed(derive_seed(part, name, number))
                write_png(root / part / name / f"{number}.png", torch.rand(3, 16, 16, generator=generator))
    twin = read(root / "test" / "cat" / "0.png")
    write_png(root / "train" / "cat" / "0.png", twin)
    write_png(root / "validation" / "dog" / "1.png", darker(read(root / "train" / "dog" / "2.png")))
    data = load_data(str(root))
    (origin,) = compose(str(root), tmp_path / "out", [variants(tmp_path / "made", data.train)]).origins
    assert origin.added == 6
    assert origin.left_out == {
        "its source equals a validation or test image": 1,
        "it equals a validation or test image": 1,
    }
    joined = {row["source"] for row in read_jsonl(tmp_path / "out" / "manifest.jsonl") if row["kind"] == "stylised"}
    assert joined == set(data.train.keys) - {"train/cat/0.png", "train/dog/2.png"}
    assert "- 1 training images equal a validation or test image" in (tmp_path / "out" / "DATACARD.md").read_text()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), other=st.integers(0, 10**6), copies=st.integers(0, 6))
def test_whatever_the_seeds_no_image_and_no_source_straddles(
    tmp_path_factory: pytest.TempPathFactory, seed: int, other: int, copies: int
) -> None:
    folder = tmp_path_factory.mktemp("straddle")
    source = coloured_squares(folder / "data", per_class=6)
    for number in range(copies):  # copies of one image under several names
        for name in ("red", "blue"):
            (source / name / f"copy{number}.png").write_bytes((source / name / f"0{number % 3}.png").read_bytes())
    made = variants(folder / "made", load_data(str(source), seed=other).train)  # of another cut than composing makes
    compose(str(source), folder / "out", [made], seed=seed)
    rows = read_jsonl(folder / "out" / "manifest.jsonl")
    part_of: dict[str, set[str]] = {}
    for row in rows:
        part_of.setdefault(row["source_sha256"], set()).add(row["part"])
    assert all(len(found) == 1 for found in part_of.values())
    read_back = load_data(str(folder / "out"))
    hashes = [set(pixel_hashes(images)) for images in parts(read_back).values()]
    assert len(set().union(*hashes)) == sum(map(len, hashes))


def test_the_review_is_obeyed(squares: Path, tmp_path: Path) -> None:
    data = load_data(str(squares))
    made = variants(tmp_path / "made", data.train)
    by_class = {name: sorted(key for key in data.train.keys if key.startswith(f"{name}/")) for name in data.class_names}
    stem = {name: [f"{name}_{Path(key).stem}" for key in keys] for name, keys in by_class.items()}
    decide(
        made,
        **{stem["red"][0]: "reject", stem["red"][1]: "accept", stem["blue"][0]: "green", stem["blue"][1]: None},
    )
    (origin,) = compose(str(squares), tmp_path / "out", [made]).origins
    assert origin.left_out == {"rejected in the review": 1, "marked for relabelling without a new label": 1}
    assert origin.decided == {"accept": 1, "reject": 1, "relabel": 2, "undecided": len(data.train) - 4}
    rows = {row["source"]: row for row in read_jsonl(tmp_path / "out" / "manifest.jsonl") if row["kind"] != "original"}
    assert set(data.train.keys) - set(rows) == {by_class["red"][0], by_class["blue"][1]}
    moved = rows[by_class["blue"][0]]
    assert (moved["label"], moved["label_before"], moved["decision"]) == ("green", "blue", "relabel")
    assert moved["path"] == f"train/green/relabelled-1/{moved['variant_path']}"
    assert rows[by_class["red"][1]]["decision"] == "accept"
    assert rows[by_class["red"][2]]["decision"] is None
    card = (tmp_path / "out" / "DATACARD.md").read_text()
    count = len(data.train)
    assert f"| {count - 2} | 2 | 1 | 1 | 2 | {count - 4} |" in card


def test_a_file_that_changed_after_it_was_accepted_does_not_join(
    squares: Path, data: DataSplits, tmp_path: Path
) -> None:
    made = variants(tmp_path / "made", data.train)
    path = sorted(tree(made))[0]
    log = DecisionLog(made)
    log.decide(path, "accept", sha256=hashlib.sha256((made / path).read_bytes()).hexdigest())
    log.close()
    write_png(made / path, torch.zeros(3, 16, 16))
    (origin,) = compose(str(squares), tmp_path / "out", [made]).origins
    assert origin.left_out == {"its file has changed since the review": 1}


def test_a_named_set_is_written_as_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = torch.randint(0, 256, (20, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = ImageSet(
        grey.repeat(1, 3, 1, 1),
        torch.arange(20) % 2,
        tuple(f"mnist5k/{number:05d}" for number in range(20)),
        tuple(hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in grey),
        ("T-shirt/top", "Bag"),  # Fashion-MNIST's names
    )
    monkeypatch.setattr("robustaug.data.sources.read_named", lambda name, **_: Source(name, images))
    data = load_data("mnist5k")
    compose("mnist5k", tmp_path / "out", [variants(tmp_path / "made", data.train)])
    read_back = load_data(str(tmp_path / "out"))
    assert read_back.class_names == ("Bag", "T-shirt_top")
    assert len(read_back.train) == 2 * len(data.train)
    for part, expected in parts(data).items():
        composed = parts(read_back)[part]
        pixels = {Path(key).name: image for key, image in zip(composed.keys, composed.images, strict=True)}
        for key, image in zip(expected.keys, expected.images, strict=True):
            assert torch.equal(pixels[f"{key.split('/')[1]}.png"], image)


def test_variants_of_the_train_folder_alone_are_found(squares: Path, data: DataSplits, tmp_path: Path) -> None:
    """``stylize photos/train`` names its sources without ``train/``."""
    compose(str(squares), tmp_path / "parts", [variants(tmp_path / "first", data.train)])
    inner = load_data(str(tmp_path / "parts" / "train"), test_share=0.2)
    made = variants(tmp_path / "made", inner.train, "classical")
    compose(str(tmp_path / "parts"), tmp_path / "out", [made])
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert {row["source"] for row in rows if row["kind"] == "classical"} == {f"train/{key}" for key in inner.train.keys}


def test_a_killed_call_goes_on_and_ends_with_the_same_files(
    squares: Path, data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = variants(tmp_path / "made", data.train)
    for layout in ("folder", "imagefolder", "webdataset"):
        monkeypatch.setattr("robustaug.experiment.compose.layouts.PER_SHARD", 7)
        whole, torn = tmp_path / layout / "whole", tmp_path / layout / "torn"
        compose(str(squares), whole, [made], layout=layout)  # type: ignore[arg-type]
        with monkeypatch.context() as patch:
            original, calls = Path.replace, [0]

            def failing(self: Path, target: Path, original=original, calls=calls) -> Path:  # type: ignore[no-untyped-def]
                calls[0] += self.suffix in (".png", ".tar")
                if calls[0] == 4:
                    raise KeyboardInterrupt
                return original(self, target)

            patch.setattr(Path, "replace", failing)
            with pytest.raises(KeyboardInterrupt):
                compose(str(squares), torn, [made], layout=layout)  # type: ignore[arg-type]
        assert not (torn / "DATACARD.md").exists()
        kept = {path: path.stat().st_mtime_ns for path in torn.rglob("*") if path.suffix in (".png", ".tar")}
        assert kept
        compose(str(squares), torn, [made], layout=layout)  # type: ignore[arg-type]
        assert {path: path.stat().st_mtime_ns for path in kept} == kept
        assert tree(torn, "**/*.*") == tree(whole, "**/*.*")


def test_attributes_are_counted_before_and_after_and_inherited(squares: Path, data: DataSplits, tmp_path: Path) -> None:
    table = tmp_path / "cameras.csv"
    keys = [key for images in parts(data).values() for key in images.keys]
    camera = {key: "phone" if key.startswith("red/") else "scanner" for key in keys}
    table.write_text("path,camera\n" + "".join(f"{key},{camera[key]}\n" for key in keys))
    red = [index for index, key in enumerate(data.train.keys) if key.startswith("red/")]
    made = variants(tmp_path / "made", data.train.select(red))
    out = tmp_path / "out"
    compose(str(squares), out, [made], attributes=table)
    n, k = len(data.train), len(red)
    card = (out / "DATACARD.md").read_text()
    assert f"| phone | {k} ({k / n:.1%}) | {2 * k} ({2 * k / (n + k):.1%}) |" in card
    assert f"| scanner | {n - k} ({1 - k / n:.1%}) | {n - k} ({(n - k) / (n + k):.1%}) |" in card
    assert f"| red | {k} | {2 * k} |" in card
    assert "Largest class to smallest in training: 1.00 before, 2.00 after" in card
    assert "0% (`blue`) to 50% (`red`)" in card
    with (out / "attributes.csv").open() as file:
        inherited = {row["path"]: row["camera"] for row in csv.DictReader(file)}
    assert inherited == {
        row["path"]: camera[row["source"]] for row in read_jsonl(out / "manifest.jsonl")
    }  # the table of a run on the composed data set


def test_the_card_tells_what_made_the_variants(squares: Path, data: DataSplits, tmp_path: Path) -> None:
    embedded = "440bb2b78a92dff8ae6da7421467f8e552034f0069f9a74dacf6b0fe3dd99001"
    made = [
        variants(tmp_path / "known", data.train, style="wave", style_sha256=embedded),
        variants(tmp_path / "own|x", data.train, style="mine", style_sha256="f" * 64),
        variants(tmp_path / "attacked", data.train, "adversarial"),
        variants(tmp_path / "classical", data.train, "classical"),
    ]
    compose(str(squares), tmp_path / "out", made, seed=0)
    card = (tmp_path / "out" / "DATACARD.md").read_text()
    n = len(data.train)
    assert f"| wave | {embedded[:12]} | {n} | public domain, embedded in robustaug |" in card
    assert f"| mine | {'f' * 12} | {n} | not known to robustaug: name both before you publish the data |" in card
    assert f"| attacked | adversarial | PGD, linf eps 0.03137 | {n} |" in card
    assert f"| own\\|x | stylised | gatys | {n} |" in card
    assert f"| **all** | {n} | {5 * n} | {len(data.validation)} | {len(data.test)} |" in card
    assert f"| classical | classical | blur | {n} |\n| classical | classical | flip | {n} |" in card
    assert '"job": "adversarial"' in card
    assert f"robustaug compose {squares} OUT --variants" in card


def test_a_classifier_trains_on_a_composed_data_set(squares: Path, data: DataSplits, tmp_path: Path) -> None:
    made = variants(tmp_path / "made", data.train, "classical", change=lambda image: image.flip(2))
    compose(str(squares), tmp_path / "out", [made])
    composed = load_data(str(tmp_path / "out"))
    settings = TrainingSettings(steps=40, batch_size=16, validate_every=40)
    model = train_classifier(composed, tmp_path / "model", settings, seed=0).model.eval()
    with torch.no_grad():
        correct = model(composed.test.float_images()).argmax(1) == composed.test.labels
    assert correct.all()


def test_folders_of_classes_whose_names_no_folder_can_have() -> None:
    assert class_folders(["T-shirt/top", "Bag", ".x"]) == {"T-shirt/top": "T-shirt_top", "Bag": "Bag", ".x": "x"}


@pytest.mark.parametrize(
    ("key", "label", "below"),
    [
        ("shirt/001.jpg", "shirt", "001.jpg"),
        ("train/shirt/old/001.jpg", "shirt", "old/001.jpg"),
        ("001.jpg", "shirt", "001.jpg"),
        ("shop/shirt/001.jpg", "shirt", "shop/shirt/001.jpg"),  # the table tells the class, not the folder
    ],
)
def test_what_comes_below_a_class(key: str, label: str, below: str) -> None:
    assert below_class(key, label) == below
