"""Styles made in the loop, and styles under attack: exact shares, keys that never repeat, provenance that is true."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustaug.data import CompositeDataset, ImageSet, Mix, VariantSet
from robustaug.errors import RobustAugError
from robustaug.randomness import sample_seeds, uniform

GOLDEN = ("k4#0", "k0#0", "k1~1#0", "k3#1")  # from the first version of the composite data set


def originals(n: int) -> ImageSet:
    """``n`` images of 2x2 pixels that hold their own number."""
    numbers = torch.arange(n)
    images = numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    keys = tuple(f"k{i}" for i in range(n))
    return ImageSet(images, numbers % 3, keys, keys, ("a", "b", "c"))


def variants(data: ImageSet, m: int) -> VariantSet:
    """``m`` variants that hold 200 and their own number."""
    sources = [j % len(data) for j in range(m)]
    images = (torch.arange(m) + 200).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    return VariantSet(
        images, data.labels[sources], tuple(data.keys[i] for i in sources), tuple({"style": j} for j in range(m))
    )


@dataclass
class Shift:
    """A restyler whose result is known: it adds a draw of the seed's, above 1, so that its images are told apart."""

    calls: list[int] = field(default_factory=list)

    def restyle(self, images: Tensor, seeds: Tensor) -> Tensor:
        self.calls.append(len(images))
        return images + (1 + uniform(seeds, (1,))[:, :, None, None])

    def drawn(self, seed: int) -> Mapping[str, Any]:
        return {"added": 1 + float(uniform(torch.tensor([seed]), (1,)))}

    def describe(self) -> Mapping[str, Any]:
        return {"method": "shift"}


shares = st.tuples(*[st.integers(0, 6)] * 3).filter(any).map(lambda parts: tuple(part / sum(parts) for part in parts))


@settings(max_examples=60, deadline=None)
@given(shares, st.integers(0, 8), st.integers(1, 40), st.integers(1, 15), st.booleans(), st.integers(0, 3))
def test_shares_are_exact_and_provenance_is_true(
    parts: tuple[float, float, float], attacked: int, batch_size: int, n: int, live: bool, seed: int
) -> None:
    data, restyler = originals(n), Shift()
    attacked_style = attacked / 8 if parts[2] > 0 else 0.0
    mix = Mix(*parts, attacked_style)
    composite = CompositeDataset(data, restyler if live else variants(data, 5), mix, seed)
    try:
        styled_attacks, counts = mix.attacked_styles(batch_size), mix.counts(batch_size)
    except RobustAugError:
        with pytest.raises(RobustAugError):
            composite.batch(0, batch_size)
        return
    assert abs(styled_attacks - attacked_style * counts["adversarial"]) <= 0.5
    keys: list[str] = []
    for step in range(3):
        batch = composite.batch(step, batch_size)
        images = composite.restyle(batch, batch.images)
        keys += batch.keys
        rows = list(batch.provenance)
        assert Counter(row.kind for row in rows) == {kind: count for kind, count in counts.items() if count}
        assert batch.adversarial.tolist() == [row.kind == "adversarial" for row in rows]
        assert sum(row.kind == "adversarial" and bool(row.parameters) for row in rows) == styled_attacks
        for image, label, row, key in zip(images, batch.labels, rows, batch.keys, strict=True):
            source, value = int(row.source[1:]), float(image[0, 0, 0])
            assert label == row.label == data.labels[source]
            assert key.startswith(row.source)
            if row.kind != "adversarial":
                assert bool(row.parameters) == (row.kind == "stylised")
            if not row.parameters:
                assert round(value * 255) == source
            elif live:
                assert value == pytest.approx(source / 255 + row.parameters["added"], abs=1e-5)
            else:
                assert round(value * 255) == 200 + row.parameters["style"]
    assert len(set(keys)) == len(keys)
    styled = counts["stylised"] + styled_attacks
    assert restyler.calls == ([styled] * 3 if live and styled else [])  # no other row is restyled


def test_styles_in_the_loop_go_through_all_originals_before_any_comes_again() -> None:
    composite = CompositeDataset(originals(12), Shift(), Mix(0, 0.5, 0.5, attacked_style=0.5), 1)
    used = [row.source for step in range(4) for row in composite.batch(step, 8).provenance if row.parameters]
    assert len(used) == 4 * 6
    for start in (0, 12):
        assert len(set(used[start : start + 12])) == 12


def test_a_use_has_its_own_seed_whatever_the_batch() -> None:
    composite = CompositeDataset(originals(6), Shift(), Mix(0, 1, 0), 4)
    whole = composite.batch(0, 12)
    images = dict(zip(whole.keys, composite.restyle(whole, whole.images), strict=True))
    for step in range(4):
        part = composite.batch(step, 3)
        for key, image in zip(part.keys, composite.restyle(part, part.images), strict=True):
            assert torch.equal(image, images[key])
    expected = 1 + uniform(sample_seeds(4, whole.keys, "style"), (1,))[:, :, None, None]
    assert torch.equal(composite.restyle(whole, whole.images), whole.images + expected)
    assert len({float(value) for value in expected.flatten()}) == 12  # a second use of an image has another style


def test_what_is_there_already_is_not_touched() -> None:
    data = originals(6)
    for stylised, mix in ((None, Mix()), (variants(data, 4), Mix(0.5, 0.5, 0)), (Shift(), Mix())):
        composite = CompositeDataset(data, stylised, mix, 0)
        batch = composite.batch(0, 4)
        assert not batch.unstyled.any()
        assert composite.restyle(batch, batch.images) is batch.images


def test_a_mix_without_attacked_styles_has_the_batches_it_had() -> None:
    """Rows, order and keys written out: a change would change every run's result."""
    batch = CompositeDataset(originals(5), variants(originals(5), 3), Mix(0.5, 0.25, 0.25), 0).batch(1, 4)
    assert batch.keys == GOLDEN
    assert [row.kind for row in batch.provenance] == ["original", "original", "stylised", "adversarial"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mix(0.5, 0.5, 0, attacked_style=0.5), "attacked_style is 0.5 of the adversarial rows, but there are"),
        (lambda: Mix(0, 0, 1, attacked_style=1.5), "attacked_style share is 1.5; it must lie between 0 and 1"),
        (lambda: Mix(0, 0, 1, attacked_style=math.nan), "attacked_style share is nan"),
        (
            lambda: Mix(0.5, 0, 0.5, attacked_style=0.2).attacked_styles(4),
            "the 2 adversarial rows in a batch of 4 cann",
        ),
        (
            lambda: Mix(0.5, 0, 0.5, attacked_style=0.9).attacked_styles(4),
            "cannot be split by an attacked_style of 0.9",
        ),
        (
            lambda: CompositeDataset(originals(3), None, Mix(0, 0, 1, attacked_style=0.5), 0),
            "the attacked_style is 0.5, but there are no stylised variants",
        ),
    ],
)
def test_mixes_that_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        make()
