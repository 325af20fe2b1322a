"""Differences of two ways of training over images and seeds: numbers by hand, and intervals that hold what they say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from robustaug.errors import RobustAugError
from robustaug.evaluation.seeds import SeedVerdicts, difference_over_seeds
from robustaug.evaluation.statistics import paired_difference


def seed(before: str, after: str, keys: str = "abcd") -> SeedVerdicts:
    """Verdicts from texts of 0 and 1."""
    return SeedVerdicts(
        tuple(keys[: len(before)]),
        torch.tensor([letter == "1" for letter in before]),
        torch.tensor([letter == "1" for letter in after]),
    )


def test_two_seeds_by_hand() -> None:
    """Gains of a to d: +1 0 0 0 under the first seed, +1 +1 0 0 under the second."""
    found = difference_over_seeds([seed("0000", "1000"), seed("0000", "1100")])
    assert found.value == pytest.approx((1 / 4 + 2 / 4) / 2)
    # Deviations from the seed's own mean, summed by image, over 4 images x 2 seeds.
    clusters = [(0.75 + 0.5) / 8, (-0.25 + 0.5) / 8, (-0.25 - 0.5) / 8, (-0.25 - 0.5) / 8]
    of_samples = 4 / 3 * sum(each**2 for each in clusters) + 1 / 4**2
    of_seeds = (0.125**2 + 0.125**2) / 1 / 2
    whole = of_samples + of_seeds
    freedom = whole**2 / (of_samples**2 / 3 + of_seeds**2 / 1)
    reach = float(t.ppf(0.975, freedom)) * math.sqrt(whole)
    assert (found.low, found.high) == pytest.approx((0.375 - reach, min(1, 0.375 + reach)))
    assert found.n == 4
    assert found.by_seed == tuple(
        paired_difference(each.before, each.after) for each in (seed("0000", "1000"), seed("0000", "1100"))
    )


def test_the_order_of_the_images_does_not_matter() -> None:
    one = difference_over_seeds([seed("0010", "1000"), seed("0000", "1100")])
    other = difference_over_seeds([seed("0010", "1000"), seed("0000", "0011", keys="dcba")])
    assert (one.value, one.low, one.high, one.n) == pytest.approx((other.value, other.low, other.high, other.n))


def test_images_that_seeds_share_count_once() -> None:
    """The same gains on the same images tell less than on others: there the luck of the images averages out."""
    first = seed("0" * 8, "11110000", keys="abcdefgh")
    shared = difference_over_seeds([first, first])
    apart = difference_over_seeds([first, seed("0" * 8, "11110000", keys="ijklmnop")])
    assert (shared.n, apart.n) == (8, 16)
    assert shared.value == apart.value == 0.5
    assert shared.high - shared.low > 1.2 * (apart.high - apart.low)


def test_one_seed_is_the_paired_difference() -> None:
    only = seed("0101", "1100")
    assert difference_over_seeds([only]).to_dict() == {
        **paired_difference(only.before, only.after)._asdict(),
        "by_seed": [paired_difference(only.before, only.after)._asdict()],
    }


def test_seeds_that_disagree_widen_the_interval() -> None:
    """Both have gained a quarter in the mean; what differs is whether each seed has."""
    keys = "abcdefghijklmnop"
    agreed = difference_over_seeds([seed("0" * 16, "1111" + "0" * 12, keys)] * 2)
    one, other = seed("0" * 16, "1" * 8 + "0" * 8, keys), seed("0" * 16, "0" * 16, keys)
    disagreed = difference_over_seeds([one, other])
    assert agreed.value == disagreed.value == 0.25
    assert agreed.low > disagreed.low


def test_those_that_never_differ_still_get_a_width() -> None:
    found = difference_over_seeds([seed("0101", "0101"), seed("1101", "1101")])
    assert found.value == 0
    assert -1 < found.low < 0 < found.high < 1


def test_several_verdicts_a_sample() -> None:
    """Corruptions: shares of a sample's verdicts, not single ones."""
    before, after = torch.zeros(2, 3, 2, dtype=torch.bool), torch.zeros(2, 3, 2, dtype=torch.bool)
    after[0, :, 0] = True  # half of the first sample's
    found = difference_over_seeds([SeedVerdicts(("a", "b"), before, after)] * 2)
    assert found.value == pytest.approx(0.25)
    whole = 2 / 1 * (0.125**2 * 2) + 1 / 4
    assert found.high == pytest.approx(min(1.0, 0.25 + float(t.ppf(0.975, 1)) * math.sqrt(whole)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=20), st.integers(1, 4))
def test_sign_and_bounds(verdicts: list[tuple[bool, bool]], seeds: int) -> None:
    keys = tuple(map(str, range(len(verdicts))))
    before, after = (torch.tensor(column) for column in zip(*verdicts, strict=True))
    there = difference_over_seeds([SeedVerdicts(keys, before, after)] * seeds)
    back = difference_over_seeds([SeedVerdicts(keys, after, before)] * seeds)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


@pytest.mark.parametrize("of_seeds", [0.0, 0.05])
def test_the_interval_holds_the_truth(of_seeds: float) -> None:
    """Three seeds, 200 images; the luck of an image, of a seed, and of both together, as trainings have it."""
    random, held, trials = np.random.default_rng(0), 0, 300
    keys = tuple(map(str, range(200)))
    for _ in range(trials):
        difficulty = random.normal(0, 0.2, 200)
        gain = random.normal(0.06, 0.1, 200)
        runs = []
        for _ in range(3):
            luck = random.normal(0, of_seeds)
            before = torch.from_numpy(random.random(200) < 0.5 + difficulty)
            after = torch.from_numpy(random.random(200) < 0.5 + difficulty + gain + luck)
            runs.append(SeedVerdicts(keys, before, after))
        found = difference_over_seeds(runs)
        held += found.low <= 0.06 <= found.high
    assert held / trials >= 0.94


def test_what_is_refused() -> None:
    with pytest.raises(RobustAugError, match="at least one seed"):
        difference_over_seeds([])
    with pytest.raises(RobustAugError, match="the same samples on both sides"):
        difference_over_seeds([SeedVerdicts(("a",), torch.ones(1).bool(), torch.ones(2).bool())])
