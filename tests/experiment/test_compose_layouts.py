"""The three layouts: the same files, read back by those who will read them."""

import json
from collections import Counter
from pathlib import Path

import pytest
import webdataset
import yaml
from compose_cases import variants
from experiment_cases import tree
from PIL import Image

from robustaug.data import DataSplits, load_data
from robustaug.experiment.compose import compose
from robustaug.experiment.compose.card import _size_category
from robustaug.files import read_json, read_jsonl


@pytest.fixture
def data(squares: Path) -> DataSplits:
    return load_data(str(squares))


@pytest.fixture
def made(data: DataSplits, tmp_path: Path) -> list[Path]:
    """Variants whose lines have different columns, and columns of different types."""
    styled = variants(tmp_path / "stylised", data.train, strength=0.5)
    mixed = variants(tmp_path / "mixed", data.train, strength=1, style=["a", "b"], change=lambda image: image // 4)
    return [styled, mixed, variants(tmp_path / "classical", data.train, "classical", change=lambda image: image // 3)]


def test_shards_hold_every_file_once_under_its_class(
    squares: Path, made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustaug.experiment.compose.layouts.PER_SHARD", 10)
    compose(str(squares), tmp_path / "folder", made)
    compose(str(squares), tmp_path / "shards", made, layout="webdataset")
    expected = {row["path"]: row for row in read_jsonl(tmp_path / "folder" / "manifest.jsonl")}
    classes = read_json(tmp_path / "shards" / "classes.json")
    assert classes == ["blue", "green", "red"]
    seen = {}
    for shard in sorted((tmp_path / "shards").glob("*.tar")):
        samples = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode())
        assert len(samples) <= 10
        for sample in samples:
            row = sample["json"]
            assert row == expected[row["path"]]
            assert sample["cls"] == classes.index(row["label"])
            assert shard.name.startswith(row["part"])
            seen[sample["__key__"]] = row["path"], shard.name
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False):  # without a decoder: the bytes
            path = seen[sample["__key__"]][0]
            assert sample["png"] == (tmp_path / "folder" / path).read_bytes()
    assert Counter(path for path, _ in seen.values()) == Counter(list(expected))
    rows = read_jsonl(tmp_path / "shards" / "manifest.jsonl")
    assert {(row["key"], row["path"], row["shard"]) for row in rows} == {(key, *at) for key, at in seen.items()}
    card = (tmp_path / "shards" / "DATACARD.md").read_text()
    assert "`train-{000000..000008}.tar`, `validation-{000000..000000}.tar`, `test-{000000..000000}.tar`" in card
    first = [row["label"] for row in rows if row["shard"] == "train-000000.tar"]
    assert len(set(first)) == 3  # a reader from front to back meets all classes


def test_shards_keep_the_suffix_of_a_photograph(squares: Path, tmp_path: Path) -> None:
    for path in sorted(squares.glob("red/*.png")):
        target = tmp_path / "photos" / "red" / f"{path.stem}.v1.JPG"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(target, format="JPEG")
    (tmp_path / "photos" / "blue").mkdir()
    for path in squares.glob("blue/*.png"):
        (tmp_path / "photos" / "blue" / path.name).write_bytes(path.read_bytes())
    data = load_data(str(tmp_path / "photos"))
    compose(str(tmp_path / "photos"), tmp_path / "out", [variants(tmp_path / "made", data.train)], layout="webdataset")
    shard = tmp_path / "out" / "test-000000.tar"
    found = {}
    for sample in webdataset.WebDataset(str(shard), shardshuffle=False):
        (suffix,) = set(sample) & {"jpg", "png"}
        found[json.loads(sample["json"])["source"]] = suffix, sample[suffix]
    for key in data.test.keys:
        assert found[key] == ("jpg" if "red" in key else "png", (tmp_path / "photos" / key).read_bytes())


def test_imagefolder_has_the_columns_that_the_hub_s_loader_takes(
    squares: Path, data: DataSplits, made: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    compose(str(squares), out, made, layout="imagefolder")
    columns = set()
    for part in ("train", "validation", "test"):
        rows = read_jsonl(out / part / "metadata.jsonl")
        assert sorted(row["file_name"] for row in rows) == sorted(tree(out / part))
        for row in rows:
            columns.add(tuple(row))
            assert all(isinstance(value, str) for value in row.values())  # one type a column in every part
            assert row["label"] == row["file_name"].split("/")[0]
            json.loads(row["parameters"])
    assert len(columns) == 1
    mixed = [row for row in read_jsonl(out / "train" / "metadata.jsonl") if row["variants"] == "mixed"]
    assert {json.dumps(json.loads(row["parameters"])["style"]) for row in mixed} == {'["a", "b"]'}
    _, head, card = (out / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(head)
    assert told["task_categories"] == ["image-classification"]
    assert told["size_categories"] == ["n<1K"]
    assert [entry["split"] for entry in told["configs"][0]["data_files"]] == ["train", "validation", "test"]
    assert card.strip() == (out / "DATACARD.md").read_text().strip()
    read_back = load_data(str(out))
    assert read_back.skipped == ()
    assert len(read_back.train) == 4 * len(data.train)


@pytest.mark.parametrize(
    ("count", "name"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "1M<n<10M")]
)
def test_size_categories_are_those_of_the_hub(count: int, name: str) -> None:
    assert _size_category(count) == name
