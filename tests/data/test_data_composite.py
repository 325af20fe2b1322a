"""The composite set: exact shares, each original once an epoch, nothing that does not belong."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustaug.data.composite import KINDS, CompositeDataset, Mix
from robustaug.data.imageset import ImageSet
from robustaug.data.variants import VariantSet
from robustaug.errors import RobustAugError


def originals(n: int) -> ImageSet:
    """Image i is filled with i, its label is i modulo 3."""
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 2, 2).contiguous()
    keys = tuple(f"k{index}" for index in range(n))
    return ImageSet(images, torch.arange(n) % 3, keys, keys, ("a", "b", "c"))


def variants(data: ImageSet, m: int) -> VariantSet:
    """Variant j is of original j modulo N and filled with 200 + j."""
    sources = [j % len(data) for j in range(m)]
    images = torch.arange(200, 200 + m).to(torch.uint8).view(m, 1, 1, 1).expand(m, 3, 2, 2).contiguous()
    return VariantSet(
        images, data.labels[sources], tuple(data.keys[i] for i in sources), tuple({"style": j} for j in range(m))
    )


@pytest.mark.parametrize(
    ("mix", "batch_size", "expected"),
    [
        (Mix(), 7, (7, 0, 0)),
        (Mix(0.5, 0.25, 0.25), 128, (64, 32, 32)),
        (Mix(0.5, 0.25, 0.25), 10, (5, 3, 2)),  # remainders tie: the first kind named gets the row
        (Mix(0.4, 0.3, 0.3), 8, (3, 3, 2)),
        (Mix(0.1, 0.2, 0.7), 10, (1, 2, 7)),
        (Mix(1 / 3, 1 / 3, 1 / 3), 3, (1, 1, 1)),
        (Mix(0, 0, 1), 5, (0, 0, 5)),
    ],
)
def test_counts_by_the_largest_remainder(mix: Mix, batch_size: int, expected: tuple[int, int, int]) -> None:
    assert tuple(mix.counts(batch_size)[kind] for kind in KINDS) == expected


@given(st.tuples(*[st.integers(0, 20)] * 3).filter(any), st.integers(1, 300))
def test_counts_are_within_one_of_the_share(parts: tuple[int, int, int], batch_size: int) -> None:
    mix = Mix(*(part / sum(parts) for part in parts))
    try:
        counts = mix.counts(batch_size)
    except RobustAugError as error:
        enough = int(str(error).split("batch_size to ")[1].split()[0])
        assert enough > batch_size
        assert all(mix.counts(enough)[kind] > 0 for kind, share in mix.shares().items() if share > 0)
        return
    assert sum(counts.values()) == batch_size
    for kind, share in mix.shares().items():
        assert abs(counts[kind] - share * batch_size) < 1 + 1e-6
        assert (counts[kind] > 0) == (share > 0)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((0.5, 0.2, 0.2), "sum to 0.9, not to 1"),
        ((1.2, -0.2, 0), "original share is 1.2; it must lie between 0 and 1"),
        ((float("nan"), 0.5, 0.5), "original share is nan"),
    ],
)
def test_bad_shares(shares: tuple[float, float, float], message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        Mix(*shares)


def test_a_batch_too_small_for_the_mix() -> None:
    with pytest.raises(
        RobustAugError, match=r"batch of 4 has no row for the stylised share of 0\.05; set batch_size to 20"
    ):
        Mix(0.95, 0.05, 0).counts(4)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 40), st.integers(3, 17), st.integers(1, 30), st.integers(0, 3))
def test_each_original_once_an_epoch_and_each_variant_too(n: int, batch_size: int, m: int, seed: int) -> None:
    data = originals(n)
    mix = Mix(0.4, 0.3, 0.3) if batch_size > 3 else Mix(1 / 3, 1 / 3, 1 / 3)
    composite = CompositeDataset(data, variants(data, m), mix, seed)
    counts = mix.counts(batch_size)
    plain, stylised, keys = [], [], []
    for step in range(math.ceil(2 * n / (counts["original"] + counts["adversarial"]))):
        batch = composite.batch(step, batch_size)
        keys += batch.keys
        assert Counter(origin.kind for origin in batch.provenance) == {k: v for k, v in counts.items() if v}
        assert batch.adversarial.tolist() == [origin.kind == "adversarial" for origin in batch.provenance]
        for image, label, origin, key in zip(batch.images, batch.labels, batch.provenance, batch.keys, strict=True):
            source = int(origin.source[1:])
            assert label == origin.label == data.labels[source]
            assert key.startswith(origin.source)
            value = round(float(image[0, 0, 0]) * 255)
            if origin.kind == "stylised":
                stylised.append(value - 200)
                assert origin.parameters == {"style": value - 200}
                assert (value - 200) % n == source
            else:
                plain.append(source)
                assert value == source
    assert len(set(keys)) == len(keys)
    for stream, size in ((plain, n), (stylised, m)):
        for start in range(0, len(stream) - size + 1, size):
            assert sorted(stream[start : start + size]) == list(range(size))


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    data = originals(20)

    def make(seed: int) -> CompositeDataset:
        return CompositeDataset(data, variants(data, 9), Mix(0.5, 0.25, 0.25), seed)

    used = make(0)
    for step in range(9):
        used.batch(step, 8)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    fresh, again = make(0).batch(7, 8), used.batch(7, 8)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(fresh.images, again.images)
    assert fresh.keys == again.keys
    assert list(fresh.provenance) == list(again.provenance)
    assert make(1).batch(7, 8).keys != fresh.keys


def test_originals_alone_are_plain_epochs() -> None:
    data = originals(10)
    composite = CompositeDataset(data, None, Mix(), 5)
    alone = [composite.batch(step, 5) for step in range(4)]
    for epoch in (alone[:2], alone[2:]):
        assert sorted(torch.cat([batch.images[:, 0, 0, 0] for batch in epoch]).mul(255).round().tolist()) == list(
            range(10)
        )
    assert alone[0].keys != alone[2].keys
    orders = [[origin.source for batch in epoch for origin in batch.provenance] for epoch in (alone[:2], alone[2:])]
    assert orders[0] != orders[1]  # shuffled anew
    assert not any(batch.adversarial.any() for batch in alone)
    # The stream of originals is the same whatever is mixed in: 5 plain rows a batch in both.
    mixed = CompositeDataset(data, variants(data, 4), Mix(0.5, 0.5, 0), 5)
    assert [mixed.batch(step, 10).keys[:5] for step in range(4)] == [batch.keys for batch in alone]


def test_images_are_float32_and_provenance_is_a_sequence() -> None:
    data = originals(6)
    batch = CompositeDataset(data, None, Mix(0.5, 0, 0.5), 0).batch(0, 4)
    assert batch.images.dtype == torch.float32
    assert batch.images.shape == (4, 3, 2, 2)
    assert len(batch.provenance) == 4
    assert batch.provenance[-1] == batch.provenance[3] == batch.provenance[2:][1]
    assert batch.provenance[-1].kind == "adversarial"
    with pytest.raises(IndexError):
        batch.provenance[4]


def test_variants_that_do_not_belong_are_refused() -> None:
    data = originals(6)
    good = variants(data, 4)
    with pytest.raises(RobustAugError, match=r"stylised share is 0.5, but there are no stylised variants"):
        CompositeDataset(data, None, Mix(0.5, 0.5, 0), 0)
    with pytest.raises(RobustAugError, match="k4 is not among the training images"):
        CompositeDataset(data.select([0, 1, 2, 3]), variants(data, 6), Mix(0.5, 0.5, 0), 0)
    wrong = VariantSet(good.images, (good.labels + 1) % 3, good.sources, good.parameters)
    with pytest.raises(RobustAugError, match="variant of k0 has label 1, its source has 0"):
        CompositeDataset(data, wrong, Mix(0.5, 0.5, 0), 0)
    small = VariantSet(good.images[:, :, :1], good.labels, good.sources, good.parameters)
    with pytest.raises(RobustAugError, match="make the variants again at the originals' size"):
        CompositeDataset(data, small, Mix(0.5, 0.5, 0), 0)
    with pytest.raises(RobustAugError, match="one label, source and mapping"):
        CompositeDataset(data, VariantSet(good.images, good.labels, good.sources[:1], good.parameters), Mix(), 0)
    with pytest.raises(RobustAugError, match="no originals"):
        CompositeDataset(data.select([]), None, Mix(), 0)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_parts_of_a_batch_are_the_batch(every: int) -> None:
    data = originals(20)
    batch = CompositeDataset(data, variants(data, 9), Mix(0.5, 0.25, 0.25), 0).batch(3, 12)
    parts = [batch.part(first, every) for first in range(every)]
    for first, part in enumerate(parts):
        rows = range(first, 12, every)
        assert part.keys == tuple(batch.keys[row] for row in rows)
        assert list(part.provenance) == [batch.provenance[row] for row in rows]
        assert part.provenance[-1] == batch.provenance[rows[-1]]
        for name in ("images", "labels", "adversarial", "unstyled"):
            assert torch.equal(getattr(part, name), getattr(batch, name)[list(rows)])
        assert 0 <= part.adversarial.sum() - batch.adversarial.sum() // every <= 1
