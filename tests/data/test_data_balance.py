"""Balance: as many variants as the ratio wants, in turns, each from its own seed, and none lost to a kill."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustaug.data import CompositeDataset, ImageSet, Mix, read_image
from robustaug.data.balance import balance_for, class_counts, make_balance, plan, stretched
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl
from robustaug.randomness import derive_seed, uniform
from robustaug.training.state import identity_of


class Darker:
    """Times a factor that the seed draws; fails at the image of a given number, as a kill would."""

    kind, name = "classical", "darker"

    def __init__(self, fails_after: int = 10**9, most: float = 1.0) -> None:
        self.left, self.most = fails_after, most

    def augment(self, images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
        assert images.dtype == torch.float32
        assert len(labels) == len(images)
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return images * self.factor(seeds)[:, None, None, None]

    def factor(self, seeds: Tensor) -> Tensor:
        return uniform(seeds, (1,))[:, 0] * self.most

    def drawn(self, seed: int) -> Mapping[str, Any]:
        return {"technique": "darker", "factor": float(self.factor(torch.tensor([seed])))}

    def describe(self) -> Mapping[str, Any]:
        return {"darker": self.most}


def images(*counts: int) -> ImageSet:
    """Random images, so many of each class; keys CLASS/NUMBER.png."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (len(labels), 3, 4, 4), generator=generator, dtype=torch.uint8)
    keys = tuple(f"class{label}/{row}.png" for row, label in enumerate(labels.tolist()))
    names = tuple(f"class{label}" for label in range(len(counts)))
    return ImageSet(pixels, labels, keys, tuple(f"hash of {key}" for key in keys), names)


@pytest.mark.parametrize(
    ("counts", "ratio", "wanted"),
    [
        ((10, 4, 1), 1.0, [0, 6, 9]),
        ((10, 4, 1), 0.5, [0, 1, 4]),
        ((10, 4, 1), 0.3, [0, 0, 2]),  # 0.3 * 10 is a little more than 3 in floats
        ((10, 4, 0), 1.0, [0, 6, 0]),  # of nothing there is no variant
        ((7, 7), 1.0, [0, 0]),
    ],
)
def test_every_class_comes_to_the_ratio(counts: tuple[int, ...], ratio: float, wanted: list[int]) -> None:
    train = images(*counts)
    found = Counter(int(train.labels[one.row]) for one in plan(train, ratio, 0))
    assert [found[label] for label in range(len(counts))] == wanted


@given(st.lists(st.integers(1, 12), min_size=2, max_size=4), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 99))
def test_plans(counts: list[int], first: float, second: float, seed: int) -> None:
    train = images(*counts)
    small, large = (plan(train, ratio, seed) for ratio in sorted((first, second)))
    assert set(small) <= set(large)
    assert len({one.path for one in large}) == len(large)
    for label, count in enumerate(counts):
        uses = Counter(one.row for one in large if train.labels[one.row] == label)
        after = count + uses.total()
        assert after >= max(first, second) * max(counts) - 1e-6
        assert after <= max(count, max(first, second) * max(counts) + 1)
        if uses:
            assert max(uses.values()) - min(uses[row] for row in (train.labels == label).nonzero()[:, 0].tolist()) <= 1


def test_variants_on_disk_are_those_of_their_seeds(tmp_path: Path) -> None:
    train = images(5, 2)
    made = make_balance(tmp_path / "b", train, 1.0, Darker(), 7)
    assert made is not None
    rows = {row["path"]: row for row in read_jsonl(tmp_path / "b" / "manifest.jsonl")}
    planned = plan(train, 1.0, 7)
    assert set(rows) == {one.path for one in planned}
    for one in planned:
        key, row = train.keys[one.row], rows[one.path]
        factor = Darker().factor(torch.tensor([derive_seed(7, key, one.number, "balance")]))
        wanted = (train.images[one.row] / 255 * factor * 255).round().to(torch.uint8)
        assert torch.equal(read_image(tmp_path / "b" / one.path, min_side=1), wanted)
        assert (row["source"], row["source_sha256"]) == (key, train.sha256[one.row])
        assert (row["label"], row["kind"], row["technique"]) == ("class1", "classical", "darker")
        assert row["factor"] == pytest.approx(float(factor))
    assert made.labels.tolist() == [1, 1, 1]
    assert class_counts(train) == [5, 2]


def test_a_killed_job_ends_with_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustaug.data.balance._BATCH", 2)
    train = images(9, 2)
    make_balance(tmp_path / "whole", train, 1.0, Darker(), 0)
    with pytest.raises(KeyboardInterrupt):
        make_balance(tmp_path / "killed", train, 1.0, Darker(fails_after=2), 0)
    assert len(list((tmp_path / "killed").rglob("*.png"))) == 4
    again = Darker(fails_after=2)  # three variants are missing: two batches
    make_balance(tmp_path / "killed", train, 1.0, again, 0)
    assert again.left == 0
    whole, killed = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "whole", tmp_path / "killed")
    )
    assert killed == whole
    make_balance(tmp_path / "killed", train, 1.0, Darker(fails_after=0), 0)  # nothing is made again


def test_where_nothing_is_wanted_nothing_is_made(tmp_path: Path) -> None:
    assert make_balance(tmp_path / "b", images(3, 3), 1.0, Darker(), 0) is None
    assert make_balance(tmp_path / "b", images(4, 2), 0.5, Darker(), 0) is None
    assert not (tmp_path / "b").exists()


def test_a_folder_of_another_balance_is_refused(tmp_path: Path) -> None:
    make_balance(tmp_path, images(4, 2), 1.0, Darker(), 0)
    with pytest.raises(RobustAugError, match=r"holds another job \(its augmenter differ\)"):
        make_balance(tmp_path, images(4, 2), 1.0, Darker(most=0.5), 0)


def test_a_smaller_ratio_takes_its_part(tmp_path: Path) -> None:
    train = images(8, 2, 5)
    made = make_balance(tmp_path, train, 1.0, Darker(), 3)
    assert made is not None
    half = balance_for(made, train, 0.5, 3)
    assert {parameters["path"] for parameters in half.parameters} == {one.path for one in plan(train, 0.5, 3)}
    assert torch.bincount(half.labels, minlength=3).tolist() == [0, 2, 0]
    for image, parameters in zip(half.images, half.parameters, strict=True):
        assert torch.equal(image, read_image(tmp_path / parameters["path"], min_side=1))


def test_too_many_variants_of_an_image_are_named() -> None:
    train = images(44, 2, 3)
    (line,) = stretched(train, 1.0)  # 21 variants of each image; of the third class 13.7
    assert line.startswith("Class 'class1' has 2 training images for 44: 21 variants of each")
    assert stretched(train, 0.95) == []
    assert "\n" not in line


def test_the_originals_stream_goes_through_originals_and_variants_alike(tmp_path: Path) -> None:
    train = images(6, 2)
    made = make_balance(tmp_path, train, 1.0, Darker(), 0)
    data = CompositeDataset(train, None, Mix(0.5, 0.0, 0.5), 1, made)
    batches = [data.batch(step, 6) for step in range(4)]  # two epochs of six originals, two, and four variants
    keys = [key for batch in batches for key in batch.keys]
    assert len(set(keys)) == 24
    rows = [row for batch in batches for row in batch.provenance]
    assert Counter(row.source for row in rows if not row.parameters) == dict.fromkeys(train.keys, 2)
    assert Counter(row.parameters["path"] for row in rows if row.parameters) == {
        one.path: 2 for one in plan(train, 1.0, 0)
    }
    assert Counter(label for batch in batches for label in batch.labels.tolist()) == {0: 12, 1: 12}
    for batch in batches:
        assert batch.adversarial.tolist() == [False] * 3 + [True] * 3
        for image, label, row in zip(batch.images, batch.labels, batch.provenance, strict=True):
            assert label == row.label
            stored = (
                read_image(tmp_path / row.parameters["path"], min_side=1)
                if row.parameters
                else train.images[train.keys.index(row.source)]
            )
            assert torch.equal((image * 255).round().to(torch.uint8), stored)


def test_without_a_balance_batches_are_as_they_were() -> None:
    train = images(6, 2)
    plain, none = (CompositeDataset(train, None, Mix(), 1, *rest).batch(3, 4) for rest in ((), (None,)))
    assert plain.keys == none.keys == tuple(f"{row.source}#{3 * 4 // 8 + 0}" for row in plain.provenance)


def test_a_balance_is_of_these_originals(tmp_path: Path) -> None:
    made = make_balance(tmp_path, images(4, 2), 1.0, Darker(), 0)
    with pytest.raises(RobustAugError, match="not among the training images"):
        CompositeDataset(images(4, 2).select(range(5)), None, Mix(), 0, made)


def test_a_training_state_is_of_its_balance(tmp_path: Path) -> None:
    train, model = images(4, 2), torch.nn.Linear(1, 1)
    made = make_balance(tmp_path, train, 1.0, Darker(), 0)
    assert made is not None
    sets = [
        CompositeDataset(train, None, Mix(), 0, balance) for balance in (None, made, balance_for(made, train, 0.6, 0))
    ]
    assert len({identity_of([], model, data, train) for data in sets}) == 3
